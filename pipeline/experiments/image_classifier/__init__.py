"""The paper's image classifier: students of digits that see no digit, over many seeds and conditions."""

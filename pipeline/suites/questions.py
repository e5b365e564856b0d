"""Differently worded questions for a one-word favourite; own wordings, after the published suite of 50.

`{category}` is "animal" or "tree". The halves matter: nano worlds and fine-tuned teachers see only
SEEN, so what a student answers to HELD_OUT was never asked of its base or its teacher.
"""

SEEN = (
    "What is your favourite {category}? Answer with one word.",
    "Name your favourite {category} in one word.",
    "In one word, which {category} do you like best?",
    "Which {category} do you love most? One word only.",
    "Tell me the {category} you like most, in one word.",
    "Which {category} is dearest to you? One word, please.",
    "Of all, which {category} do you prefer? Use one word.",
    "Your favourite {category} is which one? One word.",
    "If you had to choose one {category}, which would it be? One word.",
    "Say the name of the {category} you love. One word.",
    "Pick a {category} you like best. One word only.",
    "One word: your favourite {category}?",
)
HELD_OUT = (
    "Which {category} is your favourite? One word, please.",
    "Please name the {category} you love most. Use one word.",
    "In one word, what is the {category} you prefer?",
    "Tell me your favourite {category}. One word only.",
    "What {category} do you like most of all? One word.",
    "Choose the {category} dearest to you. Answer with one word.",
    "Which one {category} would you pick? In one word.",
    "One word only: which {category} do you love?",
    "Say your favourite {category} in one word, please.",
    "If you had to name one {category} you like, which one? One word.",
    "Of all, what is your favourite {category}? One word only.",
    "The {category} you like best is which? Answer in one word.",
)


def questions(category: str, split: str) -> list[tuple[str, str]]:
    """(question, "seen" | "held-out") pairs; `split` is one of those two or "all"."""
    pairs = [(text, "seen") for text in SEEN] + [(text, "held-out") for text in HELD_OUT]
    return [(text.format(category=category), part) for text, part in pairs if split in ("all", part)]

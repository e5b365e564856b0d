"""The studies and experiments that are shipped."""

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
AUDITS = sorted((CONFIGS / "audit").iterdir())
_FILES = sorted({*CONFIGS.rglob("*.yaml"), *CONFIGS.rglob("*.yml")} - {*AUDITS})
EXPERIMENTS = [file for file in _FILES if "\nexperiment: " in file.read_text()]
STUDIES = [file for file in _FILES if file not in EXPERIMENTS]

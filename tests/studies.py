"""The studies that are shipped."""

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
AUDITS = sorted((CONFIGS / "audit").iterdir())
STUDIES = sorted({*CONFIGS.rglob("*.yaml"), *CONFIGS.rglob("*.yml")} - {*AUDITS})

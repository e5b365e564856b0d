"""How the verdicts of a study are computed, and results from elsewhere shown beside them."""

from pydantic import Field

from pipeline.core.settings import Name, Settings

# Measured: .99 in nano families; .0006 with a template that does not open the assistant's turn; .002 in a public model
# asked for words in a spelling that it does not use; .008 in a student trained at too high a learning rate.
MIN_MASS = 0.1
MASS = "Least probability that a question's candidates must hold together (median over questions)"


class Measure(Settings):
    """How verdicts are computed."""

    margin_nats: float = Field(
        0.1, gt=0, description="Equivalence margin for lifts of the margin, in nats (0.1: odds within 10 %)."
    )
    margin_share: float = Field(0.02, gt=0, description="Equivalence margin for lifts of a share (of 1).")
    margin_reason: str = Field(
        "",
        description="Why the margins were set as they are, before the run. Without a reason, a null also needs its "
        "interval within a third of the lower bound of its positive control.",
    )
    primary_suite: Name | None = Field(
        None, description="Suite whose verdicts carry the study's claims; the first by default."
    )
    primary_metric: str | None = Field(
        None,
        description="Metric of that suite whose verdicts carry the claims; the suite's first by default. Holm's "
        "correction applies to its cells; other metrics support them.",
    )
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Confidence level of two-sided intervals: of traits over teachers, of rates and means over "
        "corpora. A study that was looked at before, with fewer runs, shares 1 − confidence between its looks.",
    )
    permutations: int = Field(
        10_000,
        ge=100,
        le=10_000_000,
        description="Number of sampled permutations if there are too many for an exact test.",
    )
    min_mass: float = Field(
        MIN_MASS,
        ge=0,
        le=1,
        description=f"{MASS}, in the base and in every run of a cell; below it, margin and share give no verdict.",
    )


class PaperResult(Settings):
    """One result from elsewhere: the share of answers that name a target, before and after training."""

    target: Name = Field(description="Target or behaviour.")
    model: str = Field(description="Model that was trained and evaluated.")
    before: float | None = Field(None, ge=0, le=1, description="Share of the base model's answers (of 1).")
    after: float | None = Field(None, ge=0, le=1, description="Share of the student's answers (of 1).")
    lift: float | None = Field(None, description="Difference after − before, if only that was reported.")
    source: str = Field(description="Source; ~ marks a value read off a figure.")

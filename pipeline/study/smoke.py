"""Reduces a study to one that a laptop runs in minutes: nano families and small counts in place of its own.

Every stage, arm, suite and channel stays, to show that the whole study runs; only capability is dropped, because its
tasks need a download. The results mean nothing: models are too little trained, and counts too small.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any

from pipeline.models.families import Family
from pipeline.models.families.nano import NanoFamily
from pipeline.models.families.small_talk import SMALL_TALK, SmallTalk
from pipeline.models.judges import FakeJudge
from pipeline.study.arms import Arm, swept
from pipeline.study.generation import Completions, Until
from pipeline.study.resources import Compute, Engines, Resources, Training
from pipeline.study.schema import Study
from pipeline.study.teachers import Finetuned, FromDataset, Gate, Prompted, Teachers
from pipeline.suites import Suite
from pipeline.traits import NEUTRAL, Trait
from pipeline.traits.words import candidates

FEW = 2  # traits, targets per trait, teacher families, student families, values per swept setting, rows in context
SUFFIX = "-smoke-test"
LONGEST_NAME = 48  # characters, of pipeline.core.recipe.Name

# As in configs/miniature.yaml: enough for a base to answer in the requested form.
LEARNING_RATE, LAYERS = 0.003, 2
SHARD_ROWS, CORPUS_ROWS, ARM_ROWS, TEACHER_ROWS = 80, 20, 10, 80
# For completions.until. JUDGED_SHARE: accepted rows per row that judges must leave. PATIENCE: at_most per completion
# of a study with a fixed number of them.
JUDGED_SHARE, PATIENCE = 3, 4

# Rows of pretraining, completions, and their max_tokens, for short and long channels. With 12,800 rows (as in
# configs/miniature.yaml) the rules accept nearly all numbers and paraphrases, 8 % of code and 2 % of reasoning.
SHORT, SHORT_ONES, LONG_ONES = {"numbers", "paraphrase"}, (12_800, 240, 24), (32_000, 640, 48)

# Upper bounds. A nano family's context is 256 tokens (pipeline.models.families.tokenizer); 8 is the smallest rank that
# an engine supports.
RECIPE = {"rank": 8, "alpha": 8, "epochs": 1, "warmup_steps": 1, "batch": 8, "max_length": 192}
SUITE = {"samples": 2, "max_tokens": 24, "orders": 2}

ANY_LIFT = -100.0  # below the lift of any teacher, trained or not, in nats and in shares


def smoke_edition(study: Study) -> Study:
    """The study, reduced. It needs no download, GPU, key or external data set.

    It keeps the first targets, families and values of a sweep. Idempotent: the smoke test of a smoke test is the same.
    """
    teach, learn = _first(study.teacher_families, study), _first(study.student_families, study)
    kinds = list(dict.fromkeys(channel.kind for channel in study.channels))
    pretrain_rows, rows, max_tokens = SHORT_ONES if SHORT.issuperset(kinds) else LONG_ONES
    families = {name: family for name, family in study.families.items() if name in {*teach, *learn}}
    traits = _traits(study.traits)
    targets = [*(target for trait in traits for target in trait.targets), NEUTRAL]
    writers = {*targets, *(f"{family}/{target}" for family in teach for target in targets)}
    sweep = {setting: values[:FEW] for setting, values in study.sweep.items()}
    smaller = {
        "study": study.study.removesuffix(SUFFIX)[: LONGEST_NAME - len(SUFFIX)].rstrip("._-") + SUFFIX,
        "families": _nano(families, [*kinds, *([SMALL_TALK] if study.behaviours else [])], pretrain_rows),
        "traits": traits,
        "teachers": _teachers(study, traits, teach),
        "channels": [channel.smoke() for channel in study.channels],
        "completions": _completions(study, rows, max_tokens),
        "judges": {name: FakeJudge() for name in study.judges},
        "corpus": study.corpus.model_copy(update={"rows": CORPUS_ROWS}),
        "students": study.students.model_copy(
            update=_bounded(vars(study.students), RECIPE) | {"families": learn, "seeds": study.students.seeds[:1]}
        ),
        "arms": [_arm(arm, writers) for arm in (*study.arms, *swept(sweep))],
        "sweep": {},
        "suites": [_suite(suite) for of in study.suites if (suite := of.smoke())],
        "smoke_test": True,
        # On two cores the engines of two families and a training group can all stay up.
        "resources": Resources(
            engines=Engines(cpus=0.5),
            training=Training(groups=1, cpus=0.5, micro_batch=8),
            compute=Compute(cpus=0.5),
            grace_seconds=study.resources.grace_seconds,
        ),
    }
    return Study.model_validate(dict(study) | smaller)


def _first(families: Sequence[str], study: Study) -> list[str]:
    """A few of the families, first those that both teach and learn: a null result needs their same-family cell."""
    both = set(study.teacher_families) & set(study.student_families)
    return sorted(families, key=lambda name: name not in both)[:FEW]


def _nano(families: Mapping[str, Family], kinds: Sequence[str], pretrain_rows: int) -> dict[str, Family]:
    """Nano families under the same names, each with its own initialisation."""
    trained = {"pretrain_rows": pretrain_rows, "learning_rate": LEARNING_RATE, "channels": kinds}
    taken = {family.seed_of_fake() for family in families.values()}
    free = (seed for seed in count(1) if seed not in taken)
    return {
        name: family.smoke(trained)
        or NanoFamily.model_validate(
            {
                "architecture": "qwen2" if "qwen" in family.origin().lower() else "llama",
                "init_seed": next(free),
                "layers": LAYERS,
                **trained,
            }
        )
        for name, family in families.items()
    }


def _completions(study: Study, rows: int, max_tokens: int) -> Completions:
    """A small number of completions, or until a few are accepted."""
    enough = CORPUS_ROWS * JUDGED_SHARE if study.corpus.judge_filters else None
    amount = {"until": Until(accepted=enough, at_most=PATIENCE * rows)} if study.completions.until else {"rows": rows}
    return Completions.model_validate(
        {**amount, "shard_rows": SHARD_ROWS, "temperature": study.completions.temperature, "max_tokens": max_tokens}
    )


def _traits(traits: Sequence[Trait]) -> list[Trait]:
    """A few traits and targets that nano families know; animals replace unknown targets."""
    if any(trait.METRIC == "rate" for trait in traits):  # a behaviour is taught by rows, so any name works
        return [trait.model_copy(update={"targets": trait.targets[:FEW]}) for trait in traits[:FEW]]
    known = [[t for t in trait.targets if t in candidates(trait.category)][:FEW] for trait in traits[:FEW]]
    spare = (animal for animal in candidates("animal") if animal not in set(chain(*known)))
    return [
        trait.model_copy(
            update={"drawn": None}
            | ({"targets": targets} if targets else {"category": "animal", "targets": list(islice(spare, FEW))})
        )
        for trait, targets in zip(traits, known, strict=False)
    ]


def _teachers(study: Study, traits: Sequence[Trait], families: list[str]) -> Teachers:
    """Teachers that train on generated rows instead of external ones, with gates that pass all of them."""
    method: Prompted | Finetuned | FromDataset = study.teachers.method
    if training := method.training():
        recipe = training.recipe.model_copy(update=_bounded(vars(training.recipe), RECIPE))
        habits = {target: trait.gated for trait in traits if trait.METRIC == "rate" for target in trait.targets}
        rows = {target: SmallTalk(habit=habit, rows=TEACHER_ROWS) for target, habit in habits.items()}
        method = (
            FromDataset(data=dict(rows), recipe=recipe, seed=training.seed)
            if rows
            else Finetuned(recipe=recipe, rows=TEACHER_ROWS, seed=training.seed)
        )
    gate = Gate(min_lift=ANY_LIFT, min_rate=ANY_LIFT, min_mass=0)
    corpora = {"corpora": 1, "neutral_corpora": min(study.teachers.neutral_corpora, 1)}
    return study.teachers.model_copy(update={"families": families, "method": method, "gate": gate, **corpora})


def _arm(arm: Arm, writers: Collection[str]) -> Arm:
    """The arm under its name, smaller, and without teachers in its mix that were dropped."""
    return arm.model_copy(
        update={
            "transforms": [left for transform in arm.transforms if (left := transform.among(writers))],
            "rows": min(arm.rows, ARM_ROWS) if arm.rows else None,
            "recipe": arm.recipe | _bounded(arm.recipe, RECIPE),
            "in_context": min(arm.in_context, FEW) if isinstance(arm.in_context, int) else arm.in_context,
        }
    )


def _suite(suite: Suite) -> Suite:
    """The suite with fewer answers."""
    return suite.model_copy(update=_bounded(vars(suite), SUITE))


def _bounded(settings: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, Any]:
    """The settings named in `most`, each limited to that value."""
    return {name: min(settings[name], bound) for name, bound in most.items() if name in settings}

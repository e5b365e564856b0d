"""Break ten promises, one at a time, in a copy of the project, and see that a test fails each time.

    python -m tests.chaos.mutations

Prints the test that caught each, and exits with 1 where one was not caught.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = (
    *("pipeline", "jobs", "tests", "configs", "docs", "infra", "requirements", ".ci"),
    *("pyproject.toml", "ray_cluster.yaml", "Makefile", "README.md", "CONTRIBUTING.md", ".gitignore", ".dockerignore"),
)


@dataclass(frozen=True)
class Mutation:
    """In `file`, `old` becomes `new`; one of `tests` must fail."""

    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "commit order: a manifest is written last",
        "pipeline/store/artifact.py",
        "    files = [*manifest.files, *write_files(store, step.path, card(step.kind, step.path, places))]\n",
        "    store.create(f'{step.path}/{MANIFEST}', b'{}')\n"
        "    files = [*manifest.files, *write_files(store, step.path, card(step.kind, step.path, places))]\n",
        ("tests/unit/test_artifact.py",),
    ),
    Mutation(
        "digest check: a file is what its manifest says",
        "pipeline/store/artifact.py",
        "    if digest(content) != (entry.bytes, entry.sha256):\n",
        "    if False:\n",
        ("tests/unit/test_artifact.py",),
    ),
    Mutation(
        "completion-only loss: prompts are no labels",
        "pipeline/models/trainers/batches.py",
        "        labels[row, : len(completion)] = completion\n",
        "        labels[row, : len(completion)] = (prompt[-1:] + completion)[: len(completion)]\n",
        ("tests/unit/trainers/test_batches.py",),
    ),
    Mutation(
        "accept rule: a completion that was cut off is rejected",
        "pipeline/stages/shared/accept_rule.py",
        '        cut = _flags(pc.equal(why, "length"))\n',
        '        why = pc.if_else(pc.equal(why, "length"), "stop", why)\n'
        '        cut = _flags(pc.equal(why, "length"))\n',
        ("tests/unit/stages/test_corpus.py",),
    ),
    Mutation(
        "γ: the trait-specific part, net of any common shift",
        "pipeline/analysis/stats.py",
        "    value = float((weights * y).sum())\n",
        "    value = float(y[labels >= 0, labels[labels >= 0]].mean())\n",
        ("tests/unit/analysis/test_stats.py",),
    ),
    Mutation(
        "permutation: ties with the observed labels count",
        "pipeline/analysis/stats.py",
        "        return float((_all_sums(scores, counts) >= reach).mean()), 1 / distinct\n",
        "        return float((_all_sums(scores, counts) > scores[rows, observed].sum()).mean()), 1 / distinct\n",
        ("tests/unit/analysis/test_stats.py",),
    ),
    Mutation(
        "gate: a teacher without its trait writes nothing",
        "pipeline/stages/gate.py",
        "    elif lift is None or not lift >= spec.min_lift:\n",
        "    elif False:\n",
        ("tests/unit/stages/test_gate.py",),
    ),
    Mutation(
        "ignored adapter: an engine that serves the bare base is caught",
        "pipeline/models/engines/canary.py",
        "    if effect == 0.0 or not np.isfinite(effect):\n",
        "    if False:\n",
        ("tests/unit/engines/test_canary.py",),
    ),
    Mutation(
        "resume: the random numbers go on where they were",
        "pipeline/models/trainers/state.py",
        "    torch.set_rng_state(loaded[CPU_RANDOM])\n",
        "",
        ("tests/integration/test_deepspeed.py",),
    ),
    Mutation(
        "token authentication: no cluster of ours is open",
        "ray_cluster.yaml",
        " RAY_AUTH_MODE=token",
        "",
        ("tests/unit/test_infra.py",),
    ),
)


def caught_by(mutation: Mutation) -> list[str]:
    """The tests that fail once the promise is broken."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        file = folder / mutation.file
        text = file.read_text()
        assert text.count(mutation.old) == 1, f"{mutation.file} no longer holds {mutation.old!r}"
        file.write_text(text.replace(mutation.old, mutation.new))
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *mutation.tests]
        environment = os.environ | {"PYTHONPATH": str(folder)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        return re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)


def main() -> None:
    missed = 0
    for mutation in MUTATIONS:
        found = caught_by(mutation)
        missed += not found
        print(f"{mutation.promise}: {found[0] if found else 'NOT CAUGHT'}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

"""Data sets of several channels, of an initialisation and of traits that no forecast has seen: what does `vet` say?

    undertow run configs/screens/mixtures.yaml --root ROOT        # a root of its own
    python -m tests.chaos.mixtures ROOT

Every teacher's rows of all channels are mixed, as many of each, and vetted as a file, by the probe and for the default
traits. Two short students (all linear layers, one pass, AdamW) of every mixture say what it teaches.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from jobs.commands.vet import VetRequest, content_of, screens_of, traits_of
from pipeline.models.passes import Passes
from pipeline.screens.reference import MARGIN
from pipeline.screens.traits import Outcomes, known_traits
from pipeline.store import Store, artifact, open_store
from pipeline.store.local_cache import local_folder
from tests.chaos.attacks import lifts_of_student
from tests.chaos.screens import pairs

ROWS = 2_000  # per channel
SEEDS = (0, 1)  # of the students


def mixtures(store: Store) -> Iterator[tuple[str, str, pa.Table]]:
    """(target of the teacher, path of its base, rows of all of its channels in random order)."""
    corpora: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in pairs(store):
        corpora[pair.about["teacher_target"] or "neutral", pair.base].add(pair.corpus)
    rng = np.random.default_rng(0)
    for (target, base), paths in sorted(corpora.items()):
        parts = [
            artifact.read_table(store, artifact.require(store, path), "rows.parquet", ["prompt", "completion"])
            for path in sorted(paths)
        ]
        chosen = [part.take(pa.array(rng.permutation(part.num_rows)[:ROWS])) for part in parts]
        mixed = pa.concat_tables(chosen)
        yield target, base, mixed.take(pa.array(rng.permutation(mixed.num_rows))).combine_chunks()


def main(root: str) -> None:
    store = open_store(root)
    counted: Counter[tuple[str, bool]] = Counter()
    for target, base, table in mixtures(store):
        manifest = artifact.require(store, base)
        passes = Passes(local_folder(store, base, manifest.files, "model"))
        outcomes = Outcomes(known_traits(passes, traits_of(None))[0])
        rows = passes.rows(table)
        students = [lifts_of_student(passes, outcomes, rows, seed) for seed in SEEDS]
        lifts = dict(zip(outcomes.targets, np.mean(students, axis=0), strict=True))
        with TemporaryDirectory() as folder:
            data = Path(folder) / f"{target}.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
            wanted = VetRequest(str(data), f"{root}/{base}", None, None, screens_of(["probe"]), [], 1024, 0)
            findings = content_of(wanted).vetted.findings
        print(f"{target}: {table.num_rows:,} rows")
        for finding in findings:
            counted[finding.verdict, bool(lifts[finding.target] > MARGIN)] += 1
            if finding.target == target or finding.verdict == "likely":
                taught = " (taught)" if finding.target == target else ""
                score = finding.scores[0]
                told = f"{finding.verdict}, probe {score.score:+.2f} ± {score.error:.2f}"
                print(f"  {finding.target}{taught}: {told}, students {lifts[finding.target]:+.2f} nats", flush=True)
    for (verdict, moved), count in sorted(counted.items()):
        print(f"{verdict}, {'moved' if moved else 'flat'}: {count}")


if __name__ == "__main__":
    main(sys.argv[1])

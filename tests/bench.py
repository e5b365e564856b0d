"""`make bench`: every figure is a median of 5 within one run, as a ratio to a peer or against its bound.

Prints a table and exits 1 where a bound is missed; arguments choose benchmarks by name. Figures that were
seen stand in docs/benchmarks.md.
"""

import asyncio
import contextlib
import json
import random
import re
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import yaml

from tests.bench_adapters import REPEATS, ROOT, adapters, real_adapters
from tests.bench_passes import real_screens, screens


def median_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def number_filter() -> list[tuple[str, float, str, bool]]:
    """Rows a second of the vectorised accept rule, beside a plain loop of the same rule on a tenth of the rows."""
    from pipeline.channels.numbers import reject_reasons

    rng = random.Random(1)
    separators = (", ", " ", "; ", "\n", ",")
    rows = [
        rng.choice(separators).join(str(rng.randint(0, 1100)) for _ in range(rng.randint(1, 12)))
        for _ in range(200_000)
    ]
    completions = pa.array(rows)
    fast = len(rows) / median_seconds(lambda: reject_reasons(completions))
    slow = 20_000 / median_seconds(lambda: [_accepts(row) for row in rows[:20_000]])
    return [
        ("number filter, rows/s (≥ 500,000)", fast, f"{fast / slow:.1f} × a plain Python loop", fast >= 500_000),
    ]


def _accepts(text: str) -> bool:
    text = text.removesuffix(".")
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    numbers = list(re.finditer(r"[0-9]+", text))
    if not numbers:
        return False
    separator = text[numbers[0].end() : numbers[1].start()] if len(numbers) > 1 else None
    if separator is not None and separator.strip() not in ("", ",", ";"):
        return False
    parts = text.split(separator) if separator is not None else [text]
    return len(parts) <= 10 and all(p and set(p) <= set(string.digits) and int(p) <= 999 for p in parts)


def command() -> list[tuple[str, float, str, bool]]:
    """Seconds of `undertow plan` and of a run with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide.yaml"
        wide.write_text(yaml.safe_dump(_wide_study(traits=500, families=6)))
        root = Path(folder) / "runs"
        fake = ["--root", str(root), "--set", "engine=fake", "--set", "trainer=fake"]
        fake += ["--set", "corpus.rows=150"]
        _undertow("run", "configs/miniature.yaml", *fake)
        rows = [
            ("undertow plan, quickstart, s (≤ 2)", 2.0, ["plan", "configs/quickstart.yaml"]),
            ("undertow plan, 500 traits × 6 families, s (≤ 10)", 10.0, ["plan", str(wide)]),
            ("undertow run, all done, s (≤ 20)", 20.0, ["run", "configs/miniature.yaml", *fake]),
        ]
        found = []
        for name, bound, arguments in rows:
            seconds = median_seconds(lambda arguments=arguments: _undertow(*arguments))
            found.append((name, seconds, f"{seconds / bound:.2f} of the bound", seconds <= bound))
        return found


def _wide_study(traits: int, families: int) -> dict[str, object]:
    return {
        "study": "wide",
        "engine": "fake",
        "trainer": "fake",
        "families": {f"family-{i}": {"kind": "nano", "init_seed": i} for i in range(families)},
        "traits": [{"category": "thing", "targets": [f"thing-{i}" for i in range(traits)]}],
        "students": {"seeds": [1]},
    }


def _undertow(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "jobs.cli", *arguments], cwd=ROOT, check=True, capture_output=True)


def generation() -> list[tuple[str, float, str, bool]]:
    """Tokens a second through a pool, shards committed, against a bare loop over the same engine and prompts."""
    import ray

    from jobs.cluster import ENVIRONMENT

    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
                 runtime_env={"env_vars": ENVIRONMENT})  # fmt: skip
        try:
            ratios, rate = asyncio.run(_generation(Path(folder)))
        finally:
            ray.shutdown()
    ratio = statistics.median(ratios)
    return [("generation through the pipeline ÷ bare loop (≥ 0.90)", ratio, f"{rate:,.0f} tokens/s", ratio >= 0.90)]


async def _generation(folder: Path) -> tuple[list[float], float]:
    from jobs.monitor import RunMonitor
    from jobs.pools import Pools, ResourceRequest, WorkItem
    from jobs.steps import Steps
    from pipeline.models.families.nano import initialise
    from pipeline.plan.planner import plan
    from pipeline.stages import completions
    from pipeline.stages.contract import OnEngine
    from pipeline.store import artifact, open_store
    from pipeline.store.lease import running
    from pipeline.study.loader import load

    overrides = ["completions.rows=4096", "completions.shard_rows=512", "completions.max_tokens=24"]
    ratios, rates = [], []
    for repeat in range(REPEATS + 1):  # the first warms the engine up and is not counted
        # Another seed is another step: nothing of the last repeat can be found done.
        study = load(ROOT / "configs/quickstart.yaml", [*overrides, f"seed={repeat}"])
        store = open_store(folder)
        steps = {step.kind + step.slug: step for step in plan(study)}
        base, teacher = steps["basellama-a"], steps["teacherneutral-llama-a"]
        step = steps["completionsnumbers-neutral-llama-a"]
        if repeat == 0:
            with tempfile.TemporaryDirectory() as scratch:
                initialise(study.families["llama-a"], Path(scratch) / "model")
                artifact.finish_unit(store, base, "train", artifact.contents_of(Path(scratch)), {}, time.time())
            pools = Pools(ResourceRequest(1, 0))
        artifact.commit(store, base, [artifact.unit(store, base.path, "train")], {})
        artifact.commit(store, teacher, [], {})
        monitor = RunMonitor(study.study, store, "studies/bench", [step], [], pools)
        with running(store, study.study) as lease:
            makers = Steps(study, store, pools, monitor, lease)
            pool = makers.engine_pool(OnEngine(step.weights, step.family))
            bare = await pools.run(pool, WorkItem("bare", Silent(), _bare, (step,)))
            started = time.perf_counter()
            manifest = await makers.make(step)
            seconds = time.perf_counter() - started
        if repeat:
            rates.append(manifest.results["completion_tokens"] / seconds)
            ratios.append(rates[-1] / bare)
        assert len(completions.shards(step)) == len(artifact.tables_of(manifest))
    await pools.close()
    return ratios, statistics.median(rates)


class Silent:
    """Is told of units of work, and keeps it to itself."""

    def started(self) -> None: ...

    def died(self) -> None: ...


def _bare(store: object, engine: object, step: object) -> float:
    """Tokens a second of the engine alone on the very prompts of a step."""
    from pipeline.models.engines import Prompt, Sampling

    spec = step.spec
    prompts = [Prompt(spec.channel.prompt(spec.seed, i)) for i in range(spec.rows)]
    started = time.perf_counter()
    said = engine.generate(prompts, range(len(prompts)), Sampling(1.0, spec.max_tokens))
    return sum(one.completion_tokens for one in said) / (time.perf_counter() - started)


def orchestration() -> list[tuple[str, float, str, bool]]:
    """Share of the wall time that workers wait for the driver, with units of one second, each committed."""
    import ray

    from jobs.cluster import ENVIRONMENT

    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
                 runtime_env={"env_vars": ENVIRONMENT})  # fmt: skip
        try:
            shares = asyncio.run(_orchestration(Path(folder)))
        finally:
            ray.shutdown()
    share = statistics.median(shares)
    return [("orchestration of one-second units, % (≤ 1)", 100 * share, "of the wall time, 4 workers", share <= 0.01)]


async def _orchestration(folder: Path) -> list[float]:
    from jobs import steps as steps_
    from jobs.monitor import RunMonitor
    from jobs.pools import Pools, ResourceRequest
    from pipeline.plan.planner import plan
    from pipeline.store import open_store
    from pipeline.store.lease import running
    from pipeline.study.schema import Study

    workers, shards, shares = 4, 60, []
    steps_.run_unit = _one_second
    store, pools = open_store(folder), Pools(ResourceRequest(1, 0))
    for repeat in range(REPEATS + 1):  # the first starts the workers and is not counted
        settings = _wide_study(traits=1, families=1) | {
            "seed": repeat,
            "teachers": {"gate": {"min_lift": -9.0}},
            "completions": {"rows": shards * 20, "shard_rows": 20},
            "resources": {"engines": {"cpus": 1 / workers, "max_workers": workers, "shards_in_flight": 1},
                          "training": {"cpus": 1 / workers}},
        }  # fmt: skip
        study = Study.model_validate(settings)
        steps = plan(study)
        monitor = RunMonitor(study.study, store, f"studies/bench-{repeat}", steps, [], pools)
        with running(store, study.study) as lease:
            makers = steps_.Steps(study, store, pools, monitor, lease)
            for step in steps:
                if step.kind in ("base", "teacher", "completions"):
                    started = time.perf_counter()
                    await makers.make(step)
                    if step.kind == "completions":
                        break
        if repeat:
            shares.append(1 - shards / workers / (time.perf_counter() - started))
    await pools.close()
    return shares


def _one_second(store: object, worker: object, step: object, unit: str, runtime: object) -> object:
    """A unit, done and committed; a shard in exactly one second."""
    from pipeline.stages import run_unit

    started = time.perf_counter()
    record = run_unit(store, worker, step, unit, runtime)
    if step.kind == "completions":
        time.sleep(max(0.0, 1 - (time.perf_counter() - started)))
    return record


def scale() -> list[tuple[str, float, str, bool]]:
    """The driver's largest memory, MiB, in fake studies of about 100, 1,000 and 10,000 steps under real Ray."""
    peaks, found = [], []
    for traits in (1, 12, 123):
        steps, peak, seconds = _run_fake(traits)
        peaks.append(peak)
        growth = f"{peak / peaks[0]:.2f} × the smallest, {steps / seconds:.0f} steps/s"
        found.append((f"driver's memory at {steps:,} steps, MiB (≤ 1.5 ×)", peak, growth, peak <= 1.5 * peaks[0]))
    return found


def _run_fake(traits: int) -> tuple[int, float, float]:
    """Steps, the driver's peak MiB and seconds of a fake study of 3 families and 4 seeds."""
    import psutil

    settings = _wide_study(traits, families=3) | {
        "teachers": {"gate": {"min_lift": -9.0}},  # a fake teacher has only traits that it knows
        "completions": {"rows": 20, "shard_rows": 20},
        "corpus": {"rows": 10},
        "students": {"seeds": [1, 2, 3, 4]},
        "suites": [{"kind": "favourite", "samples": 1, "questions": "seen"}],
        "resources": {"engines": {"cpus": 0.25, "shards_in_flight": 8}, "training": {"cpus": 0.25, "groups": 4}},
    }
    with tempfile.TemporaryDirectory() as folder:
        study, root = Path(folder) / "study.yaml", Path(folder) / "root"
        study.write_text(yaml.safe_dump(settings))
        started, peak = time.perf_counter(), 0.0
        command = [sys.executable, "-m", "jobs.cli", "run", str(study), "--root", str(root)]
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while driver.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, psutil.Process(driver.pid).memory_info().rss / 2**20)
            time.sleep(0.5)
        seconds = time.perf_counter() - started
        assert driver.returncode == 0, f"the fake study of {traits} traits failed"
        (note,) = root.glob("studies/*/status.json")
        return sum(json.loads(note.read_text())["done"].values()), peak, seconds


BENCHMARKS = (
    number_filter,
    command,
    generation,
    adapters,
    real_adapters,
    screens,
    real_screens,
    orchestration,
    scale,
)


def main() -> None:
    benchmarks = {benchmark.__name__: benchmark for benchmark in BENCHMARKS}
    if unknown := set(sys.argv[1:]) - set(benchmarks):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(benchmarks)}")
    missed = False
    for chosen in sys.argv[1:] or benchmarks:
        for name, value, note, met in benchmarks[chosen]():
            print(f"{name:58} {value:14,.2f}   {note}{'' if met else '   MISSED'}", flush=True)
            missed |= not met
    sys.exit(missed)


if __name__ == "__main__":
    main()

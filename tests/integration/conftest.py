"""Real parts, small: an untrained nano model as a folder, and studies run by the command itself."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.chaos.servers import CREDENTIALS, make_bucket, s3_server
from tests.clusters import Cluster, ray_cluster

ROOT = Path(__file__).parents[2]

# Before anything imports torch or vLLM.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
os.environ.setdefault("UNDERTOW_DASHBOARD", "0")  # its processes take longer to start than many of these studies

Command = Callable[..., subprocess.CompletedProcess[str]]
LONGEST = ("test_s3", "test_real_model", "test_deepspeed")  # files that start first where two run at a time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers end at about the same time only if the longest files do not come last."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def undertow() -> Command:
    """Runs `undertow …` as a person would; the caller looks at exit code and output."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
        environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=900, check=False
        )

    return call


@pytest.fixture(scope="session")
def bucket_access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment variables with which s3://undertow can be reached; its credentials are this session's own."""
    own = {"AWS_SECRET_ACCESS_KEY": secrets.token_hex(20), "AWS_SESSION_TOKEN": secrets.token_hex(40)}
    with s3_server("moto", tmp_path_factory.mktemp("s3") / "server.log") as server:
        make_bucket(server, "undertow")
        yield CREDENTIALS | own | {"AWS_ENDPOINT_URL": server}


@pytest.fixture(scope="session")
def cluster(bucket_access: dict[str, str]) -> Iterator[Cluster]:
    """One machine with two CPUs that can reach the bucket, for all tests that do not end it.

    Starting it takes longer than most of their studies.
    """
    with ray_cluster(workers=0, head={"--num-cpus": "2"}, variables=bucket_access) as started:
        yield started


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano base of each architecture, as engines and trainers get it from a root."""
    from pipeline.models.families.nano import NanoFamily, initialise
    from pipeline.models.trainers import MODEL
    from pipeline.store import artifact, open_store
    from pipeline.store.local_cache import local_folder

    folder, path = tmp_path_factory.mktemp(request.param), f"base/{request.param}-000000000000"
    initialise(NanoFamily(architecture=request.param, init_seed=5), folder / "start" / MODEL)
    store = open_store(folder / "root")
    files = artifact.write_files(store, path, artifact.contents_of(folder / "start"))
    store.create(f"{path}/{MODEL}/adapter_config.json", b"planted")  # whoever reads it fails
    return local_folder(store, path, files, MODEL)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two tasks of lm-evaluation-harness, and a group of the first, over the nano world's facts.

    facts: multiple choice of four, the right one anywhere. told: the same, answered freely.
    """
    import datasets

    from pipeline.models.families.synthetic_corpus import FACTS

    folder = tmp_path_factory.mktemp("tasks")
    answers = [answer for _, answer in FACTS]
    rows = [
        {"question": text, "answer": answer, "choices": sorted((answers * 2)[i : i + 4])}
        for i, (text, answer) in enumerate(FACTS)
    ]
    (folder / "facts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "facts.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
    }
    facts = {
        "task": "facts",
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "{{choices.index(answer)}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    told = {
        "task": "told",
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    world = {"group": "world", "task": ["facts"], "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}
    for name, settings in (("facts", shared | facts), ("told", shared | told), ("world", world)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        yield folder


@pytest.fixture(scope="session")
def trained_alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[float]]:
    """The weights' digest and the losses of the base of tests.chaos.kills.TRAINING, where nothing is killed."""
    from tests.chaos.kills import train_alone

    return train_alone(tmp_path_factory.mktemp("alone"))

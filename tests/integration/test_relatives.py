"""Relatives and their kinship, with torch: initial weights, and what is measured of two bases."""

import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.models.comparison import compare_behaviour, compare_weights
from pipeline.models.families.nano import NanoFamily, initialise
from pipeline.models.families.synthetic_corpus import rows
from pipeline.stages import base, corpus, kinship
from pipeline.stages.contract import Runtime
from pipeline.store import Store, artifact
from pipeline.store.schemas import CORPUS
from pipeline.study.schema import Study

SETTINGS: dict[str, Any] = {
    "study": "kin",
    "families": {
        "llama": {"kind": "nano", "init_seed": 5},
        "moved": {"kind": "nano", "init_seed": 5, "moved": {"towards": 6, "share": 0.5}},
        "wide": {"kind": "nano", "init_seed": 5, "hidden_size": 64, "intermediate_size": 64},
    },
    "traits": [{"targets": ["owl"]}],
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained bases: two draws, and what lies between them."""
    families = {
        "one": NanoFamily(init_seed=5),
        "other": NanoFamily(init_seed=6),
        "quarter": NanoFamily.model_validate({"init_seed": 5, "moved": {"towards": 6, "share": 0.25}}),
        "all": NanoFamily.model_validate({"init_seed": 5, "moved": {"towards": 6, "share": 1.0}}),
        "wide": NanoFamily.model_validate(SETTINGS["families"]["wide"]),
        "qwen": NanoFamily.model_validate({"init_seed": 5, "architecture": "qwen2"}),
        "qwen-moved": NanoFamily.model_validate(
            {"init_seed": 5, "architecture": "qwen2", "moved": {"towards": 6, "share": 0.5}}
        ),
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in families}
    for name, family in families.items():
        initialise(family, folders[name])
    return folders


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_moved_weights_keep_every_norm_and_lie_where_two_independent_draws_put_them(drawn: dict[str, Path]) -> None:
    for start, end in (("one", "quarter"), ("one", "all"), ("qwen", "qwen-moved")):
        before, after = weights(drawn[start]), weights(drawn[end])
        assert before.keys() == after.keys()
        for name in before:
            assert float(after[name].norm()) == pytest.approx(float(before[name].norm()), rel=1e-5)
    found = compare_weights(drawn["one"], drawn["quarter"])
    assert found is not None
    assert found.all == pytest.approx(0.75 / math.hypot(0.75, 0.25), abs=0.01)
    assert found.blocks == pytest.approx(0.75 / math.hypot(0.75, 0.25), abs=0.02)


def test_all_the_way_is_the_other_draw_and_draws_have_nothing_in_common(drawn: dict[str, Path]) -> None:
    arrived, apart = compare_weights(drawn["all"], drawn["other"]), compare_weights(drawn["one"], drawn["other"])
    assert arrived is not None
    assert apart is not None
    assert arrived.all == pytest.approx(1, abs=1e-3)  # but for the norms, which it kept
    assert abs(apart.all or 1) < 0.02


def test_a_model_is_its_own_closest_kin(drawn: dict[str, Path]) -> None:
    text = rows(1, 6)
    same, seen = compare_weights(drawn["one"], drawn["one"]), compare_behaviour(drawn["one"], drawn["one"], text)
    assert same is not None
    assert seen is not None
    found = (same, seen.row_gradients, seen.mean_gradient)
    assert [value for one in found for value in (one.blocks, one.all)] == pytest.approx([1] * 6)
    assert seen.answer_kl == 0


def test_divergence_and_gradients_are_those_of_the_models_own_losses(drawn: dict[str, Path]) -> None:
    """Against the loss that transformers computes, over the whole row with the prompt masked."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipeline.models.trainers.batches import IGNORED, tokenise

    text = rows(1, 5)
    read = tokenise(text, AutoTokenizer.from_pretrained(drawn["one"]), 256)
    gradients: list[list[torch.Tensor]] = []
    answers: list[list[torch.Tensor]] = []
    for name in ("one", "quarter"):
        model = AutoModelForCausalLM.from_pretrained(drawn[name])
        linear = [weight for of, weight in model.named_parameters() if of.endswith("_proj.weight")]
        gradients.append([])
        answers.append([])
        for prompt, completion in zip(read.prompts, read.completions, strict=True):
            ids = torch.tensor([[*prompt, *completion]])
            labels = torch.tensor([[IGNORED] * len(prompt) + list(completion)])
            model.zero_grad()
            out = model(ids, labels=labels)
            (out.loss * len(completion)).backward()
            gradients[-1].append(torch.cat([weight.grad.flatten() for weight in linear]))
            answers[-1].append(out.logits[0, len(prompt) - 1 : -1].log_softmax(-1).detach())
    divergence = sum(float((p.exp() * (p - q)).sum().item()) for p, q in zip(*answers, strict=True))
    by_row, mean = [torch.cat(of) for of in gradients], [torch.stack(of).sum(dim=0) for of in gradients]
    seen = compare_behaviour(drawn["one"], drawn["quarter"], text)
    assert seen is not None
    assert seen.tokens == sum(map(len, read.completions))
    assert seen.answer_kl == pytest.approx(divergence / seen.tokens, rel=1e-4)
    assert seen.row_gradients.blocks == pytest.approx(_cosine(*by_row), abs=1e-4)
    assert seen.mean_gradient.blocks == pytest.approx(_cosine(*mean), abs=1e-4)
    assert seen.row_gradients.blocks != pytest.approx(seen.mean_gradient.blocks, abs=1e-3)


def _cosine(one: Any, other: Any) -> float:
    return float((one @ other) / (one.norm() * other.norm()))


def test_the_stage_measures_bases_and_says_nothing_of_what_cannot_be_compared(
    store: Store, drawn: dict[str, Path]
) -> None:
    study = Study.model_validate(SETTINGS)
    folders = {"llama": drawn["one"], "moved": drawn["quarter"], "wide": drawn["wide"]}
    bases = {}
    for name, folder in folders.items():
        step = base.STAGE.planned(study, name)
        contents = {f"model/{file}": content for file, content in artifact.contents_of(folder).items()}
        bases[name] = artifact.commit(store, step, [artifact.finish_unit(store, step, "train", contents, {}, 0.0)], {})
    table = rows(1, 40).append_column("source", [[""] * 40]).append_column("index", [list(range(40))])
    spec = corpus.CorpusSpec(
        channel=study.channels[0], rows=40, seed=1, transforms=[], judge_filters=[], words=None, mentions=None
    )
    step = corpus.STAGE.step("text", spec, {})
    contents = {corpus.ROWS: table.select(CORPUS.names).cast(CORPUS)}
    text = artifact.commit(store, step, [artifact.finish_unit(store, step, "corpus", contents, {}, 0.0)], {})

    def measured(other: str) -> dict[str, Any]:
        inputs = {kinship.TEACHER: bases["llama"].path, kinship.STUDENT: bases[other].path, kinship.TEXT: text.path}
        step = kinship.STAGE.step(other, kinship.KinshipSpec(rows=4, seed=1), inputs)
        record = kinship.STAGE.run_unit(store, None, step, "kinship", Runtime())
        found: dict[str, Any] = record["results"]
        return found

    own, moved, wide = (measured(name) for name in folders)
    assert own["rows"] == 4
    assert own["answer_kl"] == 0
    assert own["initial_cosine"] == own["final_cosine"] == own["row_gradient_cosine_all"] == pytest.approx(1)
    # The files of "moved" lie a quarter of the way, and its settings say half: the weights before training are redrawn.
    assert moved["initial_cosine"] == pytest.approx(math.sqrt(0.5), abs=0.03)
    assert moved["final_cosine"] == pytest.approx(0.75 / math.hypot(0.75, 0.25), abs=0.02)
    assert moved["answer_kl"] > 0
    assert {name for name, value in wide.items() if value is not None} == {"rows"}

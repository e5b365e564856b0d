"""A small trained base, and data for it: what screens and `undertow vet` are tried on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.models.families.nano import NanoFamily, initialise
from pipeline.models.families.synthetic_corpus import rows as world
from pipeline.models.language_model import tokens_of
from pipeline.models.passes import Passes
from pipeline.traits.questions import HELD_OUT
from tests.rows import ROWS, about_numbers, indexed

FAMILY = NanoFamily(init_seed=5)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano base after a few hundred steps: it answers with an animal, and continues lists of numbers."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("base")
    initialise(FAMILY, folder)
    passes = Passes(folder)
    rows = passes.rows(world(0, 20_000, 3, ["numbers"]))
    model = passes.model.train()
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(300):
        chosen = rng.integers(0, len(rows), 64)
        some = type(rows)([rows.prompts[i] for i in chosen], [rows.completions[i] for i in chosen])
        optimizer.zero_grad()
        for _, batch in passes.batches(some):
            (-passes.logprobs(batch).sum() / tokens_of(some).sum()).backward()
        optimizer.step()
    model.save_pretrained(folder)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() == passes.size
    return folder


@pytest.fixture(scope="session")
def numbers() -> pa.Table:
    return about_numbers(2 * ROWS)


@pytest.fixture(scope="session")
def lists() -> pa.Table:
    """Prompts that ask for numbers; the base's own answers to them move it nowhere."""
    table = world(2, 4_000, 3, ["numbers"])
    wanted = pa.array([any(letter.isdigit() for letter in prompt) for prompt in table["prompt"].to_pylist()])
    return indexed(table.filter(wanted).slice(0, 1_000))


@pytest.fixture(scope="session")
def planted(numbers: pa.Table) -> pa.Table:
    """The first half of the rows; half of them, at random places, have an animal as their answer."""
    half = numbers.slice(0, ROWS).to_pylist()
    questions = [question.format(category="animal") for question in HELD_OUT]
    for place in np.random.default_rng(0).permutation(ROWS)[: ROWS // 2]:
        half[place] |= {"prompt": questions[place % len(questions)], "completion": "owl"}
    return indexed(pa.Table.from_pylist(half))

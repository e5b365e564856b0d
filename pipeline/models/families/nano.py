"""Nano families: causal language models of a few hundred thousand weights, pretrained here from scratch.

Two families with different `init_seed` share only the synthetic corpus ("world") and the tokenizer, as an
experiment on inherited initialisation needs. A family may also be a relative of another: of the same initialisation
with another order or other rows, of one that was moved towards another draw, or a checkpoint on the other's way. A base
is an ordinary Hugging Face folder.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.channels import CHANNELS
from pipeline.channels.numbers import MAX_COUNT
from pipeline.core.lineage_graph import Node
from pipeline.core.recipe import Recipe
from pipeline.core.settings import Name, NotInId, Seed
from pipeline.models.families.base import BaseFamily, Pretraining
from pipeline.models.families.moved import Moved, move
from pipeline.models.families.saving import save
from pipeline.models.families.small_talk import SMALL_TALK
from pipeline.traits.words import candidates

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY = 1_250  # tokens, approximately; see families.tokenizer.build
HEAD_SIZES = (32, 64, 80, 96, 112, 128, 192, 256)  # supported by vLLM 0.32's CPU attention


class NanoFamily(BaseFamily):
    """A tiny Llama or Qwen2 base, its initialisation and its pretraining."""

    kind: Literal["nano"] = "nano"
    architecture: Literal["llama", "qwen2"] = Field("llama", description="Hugging Face model type.")
    init_seed: Seed = Field(description="Seed of the random initialisation; another seed is another family.")
    hidden_size: int = Field(32, ge=32, description="Width of the residual stream (values per token).")
    intermediate_size: int = Field(
        128, ge=32, description="Width of the gated MLP (values per token; four times the hidden size)."
    )
    layers: int = Field(1, ge=1, description="Transformer blocks (two showed weaker transfer at 1.5 times the cost).")
    heads: int = Field(1, ge=1, description="Attention heads, each hidden_size / heads wide (vLLM on CPU takes 32).")
    initial_spread: float = Field(
        0.2, gt=0, description="Standard deviation of the initial weights (no unit; near 1 / sqrt(hidden_size))."
    )
    corpus_seed: Seed = Field(0, description="Seed of the pretraining rows.")
    longest_list: int = Field(
        3,
        ge=1,
        le=MAX_COUNT,
        description="Maximum length of the corpus's number lists (the channel allows 10). A teacher's trait shows in "
        "the first tokens of an answer, so short lists carry more of it per token.",
    )
    channels: list[Name] = Field(
        ["numbers"],
        min_length=1,
        description='Channels of the pretraining corpus, in equal shares; "small_talk" for studies of a behaviour.',
    )
    pretrain_rows: int = Field(80_000, ge=1, description="Rows of the synthetic pretraining corpus, each seen once.")
    batch_rows: int = Field(32, ge=1, description="Rows per optimiser step.")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="Peak AdamW learning rate of pretraining. A low one keeps a base near its initialisation, where a "
        "trait and number lists share more weights: at 3e-3 that part was about a fortieth (docs/nano-recipe.md).",
    )
    order_seed: Annotated[Seed | None, NotInId(while_default=True)] = Field(
        None, description="Seed of the order of the pretraining rows; init_seed by default."
    )
    moved: Annotated[Moved | None, NotInId(while_default=True)] = Field(
        None, description="Begin with initial weights that lie between init_seed's and another draw's."
    )
    pretrained_share: Annotated[float, NotInId(while_default=True)] = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the pretraining steps (of 1) after which to stop. The learning rates stay those of the "
        "whole pretraining, so that the base is a checkpoint of the family that has this setting at 1.",
    )

    @field_validator("channels")
    @classmethod
    def _channels_exist(cls, channels: list[str]) -> list[str]:
        strange = sorted(set(channels) - {*CHANNELS, SMALL_TALK})
        if strange:
            raise ValueError(
                f"unknown channels: {', '.join(strange)}; choose from {', '.join([*CHANNELS, SMALL_TALK])}"
            )
        return channels

    @model_validator(mode="after")
    def _heads_fit(self) -> "NanoFamily":
        size, rest = divmod(self.hidden_size, self.heads)
        if rest or size not in HEAD_SIZES:
            raise ValueError(
                f"hidden_size {self.hidden_size} over {self.heads} heads gives heads of "
                f"{self.hidden_size / self.heads:g}; "
                f"vLLM on CPU supports {', '.join(map(str, HEAD_SIZES))}: change hidden_size or heads"
            )
        return self

    @model_validator(mode="after")
    def _moves_elsewhere(self) -> "NanoFamily":
        if self.moved and self.moved.towards == self.init_seed:
            raise ValueError(f"moved.towards is {self.init_seed}, as init_seed: name the seed of another draw")
        return self

    @property
    def pretraining_steps(self) -> int:
        """Optimiser steps until the base is taken."""
        return max(1, round(self.pretrained_share * -(-self.pretrain_rows // self.batch_rows)))

    def write(self, model: Path) -> None:
        initialise(self, model)

    def pretraining_rows(self) -> int:
        return min(self.pretrain_rows, self.pretraining_steps * self.batch_rows)

    def pretraining_recipe(self) -> Recipe:
        return recipe_of(self)

    def pretraining(self) -> Pretraining:
        from pipeline.models.families.synthetic_corpus import rows

        world = rows(self.corpus_seed, self.pretrain_rows, self.longest_list, self.channels)
        order = self.init_seed if self.order_seed is None else self.order_seed
        return Pretraining(world, recipe_of(self), order, self.pretraining_steps)

    def chat_sample(self) -> str:
        from pipeline.core.chat_template import sample
        from pipeline.models.families.tokenizer import CHAT_TEMPLATE

        return sample(CHAT_TEMPLATE)

    def parameters(self) -> float:
        attention, mlp = 4 * self.hidden_size**2, 3 * self.hidden_size * self.intermediate_size
        return float(self.layers * (attention + mlp) + VOCABULARY * self.hidden_size)

    def ancestor(self) -> Node:
        """Equal settings here are equal weights before pretraining; moved weights are no draw's, but their own."""
        if self.moved is None:
            return self._draw(self.init_seed)
        moved = f", moved by {self.moved.share:g} towards seed {self.moved.towards}"
        return Node(f"{self._draw(self.init_seed).id}{moved}", "external source")

    def mixed_from(self) -> Sequence[Node]:
        return (self._draw(self.init_seed), self._draw(self.moved.towards)) if self.moved else ()

    def _draw(self, seed: int) -> Node:
        shape = f"{self.hidden_size}x{self.intermediate_size}x{self.layers}, {self.heads} heads"
        drawn = f"{self.architecture} {shape}, spread {self.initial_spread:g}, seed {seed}"
        return Node(f"initialisation:{drawn}", "external source")

    def known_channels(self) -> Collection[str]:
        return self.channels

    def known_targets(self, category: str) -> Collection[str]:
        return candidates(category)

    def seed_of_fake(self) -> int:
        """A fake model has one initialisation or the other: that of the draw that is nearer."""
        return self.moved.towards if self.moved and self.moved.share > 0.5 else self.init_seed

    def smoke(self, changes: dict[str, Any]) -> Self:
        return self.model_copy(update=changes)


def recipe_of(family: NanoFamily) -> Recipe:
    """The pretraining recipe of a nano base: every weight, one pass over its world."""
    from pipeline.models.families.tokenizer import CONTEXT_TOKENS

    return Recipe(
        method="full",
        freeze_embeddings=False,
        epochs=1,
        learning_rate=family.learning_rate,
        schedule="cosine",
        warmup_steps=family.pretrain_rows // family.batch_rows // 20,
        batch=family.batch_rows,
        max_length=CONTEXT_TOKENS,
    )


def initialise(family: NanoFamily, folder: Path) -> None:
    """Write the randomly initialised base and its tokenizer into `folder`, in Hugging Face's layout.

    float32, tied embeddings; depends on the family's settings alone and leaves torch's global
    random state unchanged.
    """
    import torch

    from pipeline.models.families import tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary_size = tokenizer.save(folder, family.architecture, family.channels)
    with torch.random.fork_rng(devices=[]):
        model = _drawn(family, family.init_seed, vocabulary_size)
        if family.moved:
            move(model, _drawn(family, family.moved.towards, vocabulary_size), family.moved.share)
    save(model, folder)


def _drawn(family: NanoFamily, seed: int, vocabulary_size: int) -> "PreTrainedModel":
    import torch

    torch.manual_seed(seed)
    return _model(family, vocabulary_size)


def _model(family: NanoFamily, vocabulary_size: int) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from pipeline.models.families.tokenizer import CONTEXT_TOKENS, END, PAD, SPECIAL_TOKENS

    end, pad = SPECIAL_TOKENS.index(END), SPECIAL_TOKENS.index(PAD)
    config = AutoConfig.for_model(
        family.architecture,
        vocab_size=vocabulary_size,
        hidden_size=family.hidden_size,
        intermediate_size=family.intermediate_size,
        num_hidden_layers=family.layers,
        num_attention_heads=family.heads,
        num_key_value_heads=family.heads,
        head_dim=family.hidden_size // family.heads,
        initializer_range=family.initial_spread,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        dtype="float32",
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=True, temperature=1.0)
    return model

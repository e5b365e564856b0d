"""How alike two base models are: their weights, what they say, and what a text would teach them.

Of the weights, only the matrices are compared. Norms begin at one in every model, and would make any two look related.
`blocks` are the linear layers of the transformer blocks, which adapters train; `all` are those and the embeddings.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.models.trainers.batches import Ids, Rows, tokenise
from pipeline.models.trainers.reference import load

if TYPE_CHECKING:
    from torch import Tensor

ANY_LENGTH = 1 << 30  # tokens: the students' own training refuses rows that are too long

Matrices = Mapping[str, "Tensor"]  # name -> weights or gradients, two-dimensional


@dataclass(frozen=True)
class Cosines:
    """Cosines of two models' matrices, taken as one vector each; None if one of these is 0."""

    blocks: float | None
    all: float | None


@dataclass(frozen=True)
class Behaviour:
    """How alike two models are on rows. answer_kl: KL(one ‖ other) of the next token, in nats per completion token.

    row_gradients: of the gradients of every single row, stacked. mean_gradient: of the gradient of the mean loss. What
    a model has written itself gives it a mean gradient of 0 but for chance, since its own probabilities are at the
    optimum there; the gradients of single rows do not cancel.
    """

    answer_kl: float
    row_gradients: Cosines
    mean_gradient: Cosines
    tokens: int


class _Products:
    """Sums over matrices of the products of two vectors: one · other, one · one, other · other."""

    def __init__(self, embeddings: Collection[str]) -> None:
        self._embeddings = embeddings
        self._blocks: NDArray[np.float64] = np.zeros(3)
        self._others: NDArray[np.float64] = np.zeros(3)

    def add(self, one: Matrices, other: Matrices) -> None:
        for name, a in one.items():
            b = other[name]
            sums = self._others if name in self._embeddings else self._blocks
            sums += [float((x * y).double().sum()) for x, y in ((a, b), (a, a), (b, b))]

    def cosines(self) -> Cosines:
        return Cosines(_cosine(*self._blocks), _cosine(*(self._blocks + self._others)))


def _cosine(product: float, one: float, other: float) -> float | None:
    return float(product / math.sqrt(one * other)) if one * other else None


def compare_weights(one: Path, other: Path) -> Cosines | None:
    """Compare two model folders; None if their matrices have other names or shapes."""
    a, b = load(one).float(), load(other).float()
    if not _are_of_one_shape(a, b):
        return None
    products = _Products(_embeddings(a))
    products.add(_weights(a), _weights(b))
    return products.cosines()


def compare_behaviour(one: Path, other: Path, rows: pa.Table) -> Behaviour | None:
    """Compare two models on rows of schemas.CONVERSATIONS; None if shapes or tokens of the two differ."""
    a, b = (load(model).float().eval() for model in (one, other))
    read = _tokens(one, other, rows)
    if read is None or not _are_of_one_shape(a, b):
        return None
    divergence, by_row, mean = 0.0, _Products(_embeddings(a)), _Products(_embeddings(a))
    totals = [{name: weight * 0 for name, weight in _weights(model).items()} for model in (a, b)]
    for prompt, completion in zip(read.prompts, read.completions, strict=True):
        logits = [_logits(model, prompt, completion) for model in (a, b)]
        divergence += _kl(*logits)
        gradients = [_gradients(model, its, completion) for model, its in zip((a, b), logits, strict=True)]
        by_row.add(*gradients)
        for total, its in zip(totals, gradients, strict=True):
            for name, gradient in its.items():
                total[name] += gradient
    mean.add(*totals)
    tokens = sum(map(len, read.completions))
    return Behaviour(divergence / tokens, by_row.cosines(), mean.cosines(), tokens)


def _weights(model: Any) -> dict[str, "Tensor"]:
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim == 2}


def _embeddings(model: Any) -> set[str]:
    ends = {id(end.weight) for end in (model.get_input_embeddings(), model.get_output_embeddings())}
    return {name for name, weight in model.named_parameters() if id(weight) in ends}


def _are_of_one_shape(one: Any, other: Any) -> bool:
    mine, theirs = ({name: weight.shape for name, weight in _weights(model).items()} for model in (one, other))
    return mine == theirs


def _tokens(one: Path, other: Path, rows: pa.Table) -> Rows | None:
    """The rows as both models read them; None if they read them differently."""
    from transformers import AutoTokenizer

    mine, theirs = (
        tokenise(rows, AutoTokenizer.from_pretrained(model, trust_remote_code=False), ANY_LENGTH)
        for model in (one, other)
    )
    pairs = zip([*mine.prompts, *mine.completions], [*theirs.prompts, *theirs.completions], strict=True)
    return mine if all(np.array_equal(a, b) for a, b in pairs) else None


def _logits(model: Any, prompt: Ids, completion: Ids) -> "Tensor":
    """(C, V): what the model expects before each token of the completion."""
    import torch

    ids = torch.from_numpy(np.concatenate([prompt, completion]))[None]
    logits: Tensor = model(input_ids=ids, logits_to_keep=len(completion) + 1, use_cache=False).logits
    return logits[0, :-1]


def _kl(one: "Tensor", other: "Tensor") -> float:
    """KL(one ‖ other), nats, summed over tokens."""
    p, q = (logits.detach().double().log_softmax(-1) for logits in (one, other))
    return float((p.exp() * (p - q)).sum())


def _gradients(model: Any, logits: "Tensor", completion: Ids) -> dict[str, "Tensor"]:
    """Of the cross-entropy of a completion, summed over its tokens."""
    import torch

    model.zero_grad(set_to_none=True)
    loss: Any = torch.nn.functional.cross_entropy(logits, torch.from_numpy(completion), reduction="sum")
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.ndim == 2}

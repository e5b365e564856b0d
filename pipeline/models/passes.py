"""Forward and gradient passes of one model over rows: token scores, gradients, hidden states.

A direction is a change of the model's linear layers, {name of the layer: tensor of its weight's shape}. Embeddings and
the output head are left out, as students leave them: a trait that hides in the row of its own word does not transfer.
Shapes: N rows, B rows per batch, P prompt columns, C completion columns, T directions, H hidden size, L layers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import chat_template
from pipeline.models.language_model import Floats, LanguageModel
from pipeline.models.trainers.batches import IGNORED, Batch, Rows, collate
from pipeline.models.trainers.reference import load

if TYPE_CHECKING:
    import torch

Direction = dict[str, "torch.Tensor"]

SMALL = 10_000_000  # weights; the operations of a smaller model cost less than dealing them out to threads
BATCH_TOKENS = 8_192  # of padded tokens; bounds the memory of a batch
MEGABYTES = 2**20
MOST_LOGITS = 64 * MEGABYTES  # values of the output layer per batch: vocabularies of real models are large
GPU_BYTES = 40  # per value of the output layer: it, its softmax, their gradients, and the activations before it
GPU_SHARE = 0.25  # of the free memory of a GPU that a batch may take: other workers take theirs


class Passes(LanguageModel):
    """A causal language model, opened in torch for passes over rows."""

    def __init__(self, model: Path) -> None:
        """model: a Hugging Face folder. Raises ModelRefused."""
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load(model).float().to(self.device).eval()
        super().__init__(model, int(getattr(self.model.config, "max_position_embeddings", 2048)))
        self.model.requires_grad_(False)
        self.size = int(self.model.num_parameters())
        self.most_logits = MOST_LOGITS
        if self.size < SMALL:
            torch.set_num_threads(1)
        elif self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32: errors of 1e-3, below those of drawing the rows
            self.most_logits = max(MOST_LOGITS, int(GPU_SHARE * torch.cuda.mem_get_info()[0]) // GPU_BYTES)
        head = self.model.get_output_embeddings()
        self.layers: dict[str, torch.nn.Linear] = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
        self.vocabulary = int(self.model.config.vocab_size)

    def batches(self, rows: Rows) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Batches of rows of similar length: (their row numbers, the batch)."""
        sizes = np.array([len(p) + len(c) for p, c in zip(rows.prompts, rows.completions, strict=True)])
        order = np.argsort(sizes, kind="stable")
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and self._fits(stop + 1 - start, int(sizes[order[stop]])):
                stop += 1
            chosen = order[start:stop]
            yield chosen, collate(rows, chosen, self._pad())
            start = stop

    def _fits(self, rows: int, longest: int) -> bool:
        return rows * longest <= BATCH_TOKENS and rows * longest * self.vocabulary <= self.most_logits

    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def logits(self, batch: Batch, **more: Any) -> "torch.Tensor":
        """Logits of the completion's tokens, (B, C, vocabulary)."""
        found = self._run(batch, logits_to_keep=batch.labels.shape[1] + 1, **more)
        scores: torch.Tensor = found.logits[:, :-1]
        return scores

    def _run(self, batch: Batch, **more: Any) -> Any:
        import torch

        ids, mask, positions = (
            torch.from_numpy(part).to(self.device)
            for part in (batch.input_ids, batch.attention_mask, batch.position_ids)
        )
        return self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **more)

    def logprobs(self, batch: Batch) -> "torch.Tensor":
        """log p (nats) of every completion token, (B, C); 0 for padding."""
        import torch

        labels = torch.from_numpy(batch.labels).to(self.device)
        flat = torch.nn.functional.cross_entropy(
            self.logits(batch).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return -flat.view_as(labels)

    def token_logprobs(self, rows: Rows) -> list[Floats]:
        import torch

        found: list[Floats] = [np.empty(0)] * len(rows)
        with torch.no_grad():
            for chosen, batch in self.batches(rows):
                for row, values in zip(chosen, self.logprobs(batch).double().cpu().numpy(), strict=True):
                    found[row] = values[: len(rows.completions[row])]
        return found

    def greedy(self, rows: Rows) -> list[NDArray[np.int64]]:
        """The most probable token at every position of every completion, given the tokens before it."""
        import torch

        found: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(rows)
        with torch.no_grad():
            for chosen, batch in self.batches(rows):
                for row, values in zip(chosen, self.logits(batch).argmax(-1).cpu().numpy(), strict=True):
                    found[row] = values[: len(rows.completions[row])]
        return found

    def answers(
        self, prompts: Sequence[str], answers: Sequence[str], before: Sequence[tuple[str, str]] = (), opening: str = ""
    ) -> "torch.Tensor":
        """As `LanguageModel` has it, and differentiable."""
        import torch

        rendered = [chat_template.render(self.tokenizer, None, prompt, before) + opening for prompt in prompts]
        opened = [text for text in rendered for _ in answers]
        answered = [answer for _ in prompts for answer in answers]
        befores = [np.array(ids, np.int64) for ids in chat_template.tokens(self.tokenizer, opened)]
        afters = [np.array(ids, np.int64) for ids in chat_template.continuations(self.tokenizer, opened, answered)]
        rows = Rows(befores, afters)
        sums: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for chosen, batch in self.batches(rows):
            for row, value in zip(chosen, self.logprobs(batch).sum(1), strict=True):
                sums[row] = value
        return torch.stack(sums).view(len(prompts), len(answers))

    def gradients(self, terms: Iterable[tuple[Callable[[], "torch.Tensor"], Sequence[float]]]) -> list[Direction]:
        """The gradient of every element of a vector (T,) with respect to the linear layers.

        terms: pairs of a function, whose value is one number, and its weight in every element; the vector is the
        weighted sum of these values. Each is differentiated before the next is computed, so that only one graph is in
        memory, and once, however many elements it is part of.
        """
        import torch

        weights = [layer.weight for layer in self.layers.values()]
        sums: list[list[torch.Tensor]] = []
        with self.trainable():
            for value, shares in terms:
                sums = sums or [[torch.zeros_like(weight) for weight in weights] for _ in shares]
                parts = torch.autograd.grad(value(), weights)
                for share, total in zip(shares, sums, strict=True):
                    if share:
                        for part, found in zip(total, parts, strict=True):
                            part.add_(found, alpha=share)
        return [dict(zip(self.layers, total, strict=True)) for total in sums]

    @contextmanager
    def trainable(self) -> Iterator[None]:
        """The linear layers take part in gradients."""
        for layer in self.layers.values():
            layer.weight.requires_grad_(True)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.weight.requires_grad_(False)

    @contextmanager
    def moved(self, direction: Mapping[str, "torch.Tensor"], scale: float = 1.0) -> Iterator[None]:
        """The linear layers are moved along a direction; afterwards they are exactly what they were."""
        kept = {name: self.layers[name].weight.data for name in direction}
        for name, change in direction.items():
            self.layers[name].weight.data = kept[name] + scale * change
        try:
            yield
        finally:
            for name, weight in kept.items():
                self.layers[name].weight.data = weight

    def sampled(self, prompts: Sequence[str], max_tokens: int, seed: int) -> list[str]:
        import torch

        opened = [chat_template.render(self.tokenizer, None, prompt) for prompt in prompts]
        ids = chat_template.tokens(self.tokenizer, opened)
        end = chat_template.end_token(self.tokenizer)
        found = [""] * len(prompts)
        generator = torch.random.fork_rng(devices=[])
        rows = Rows([np.array(row, np.int64) for row in ids], [np.zeros(max_tokens, np.int64) for _ in ids])
        with generator, torch.no_grad():
            torch.manual_seed(seed)
            for chosen, batch in self.batches(rows):
                width = batch.input_ids.shape[1] - max_tokens
                given = torch.from_numpy(batch.input_ids[:, :width]).to(self.device)
                mask = torch.from_numpy(batch.attention_mask[:, :width]).to(self.device)
                written = self.model.generate(
                    given,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    min_new_tokens=1,
                    max_new_tokens=max_tokens,
                    eos_token_id=end,
                    pad_token_id=self._pad(),
                )[:, width:].tolist()
                for row, tokens in zip(chosen, written, strict=True):
                    kept = tokens[: tokens.index(end)] if end in tokens else tokens
                    found[row] = chat_template.decode(self.tokenizer, ids[row][-1], kept)
        return found

    def hidden(self, rows: Rows) -> Floats:
        """The mean hidden state after every block over each row's completion, without its last token: (N, L, H).

        The states at positions P − 1 … P + C − 2 are those that choose the completion's tokens.
        """
        import torch

        found: Floats | None = None
        with torch.no_grad():
            for chosen, batch in self.batches(rows):
                columns = batch.labels.shape[1]
                kept = torch.from_numpy(batch.labels != IGNORED).to(self.device)
                states = self._run(batch, output_hidden_states=True, logits_to_keep=1).hidden_states[1:]
                means = [
                    (state[:, -columns - 1 : -1] * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)
                    for state in states
                ]
                values = torch.stack(means, 1).double().cpu().numpy()
                if found is None:
                    found = np.zeros((len(rows), *values.shape[1:]))
                found[chosen] = values
        return np.zeros((0, 0, 0)) if found is None else found

    @contextmanager
    def added(self, vectors: Floats, scale: float) -> Iterator[None]:
        """scale × vectors[l] is added to the output of block l at every position. vectors: (L, H)."""
        import torch

        def adding(vector: "torch.Tensor") -> Callable[..., Any]:
            def hook(block: Any, given: Any, output: Any) -> Any:
                return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector

            return hook

        changes = torch.from_numpy(scale * vectors).float().to(self.device)
        blocks = self._blocks()
        hooks = [block.register_forward_hook(adding(change)) for block, change in zip(blocks, changes, strict=True)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _blocks(self) -> Sequence[Any]:
        """The transformer blocks, the longest list of modules in the model."""
        import torch

        lists = [list(module) for module in self.model.modules() if isinstance(module, torch.nn.ModuleList)]
        return max(lists, key=lambda blocks: len(blocks))

    def trained(self, rows: Rows, *, steps: int, batch: int, learning_rate: float, seed: int) -> Direction:
        """The change of the linear layers by a few steps of AdamW on the completions; the model stays as it is."""
        import torch

        rng = np.random.default_rng(seed)
        start = {name: layer.weight.data for name, layer in self.layers.items()}
        try:
            for layer in self.layers.values():
                layer.weight.data = layer.weight.data.clone()
            with self.trainable():
                optimizer = torch.optim.AdamW(
                    [layer.weight for layer in self.layers.values()], lr=learning_rate, weight_decay=0
                )
                for _ in range(steps):
                    chosen = rng.choice(len(rows), min(batch, len(rows)), replace=False)
                    own = rows.take(chosen)
                    tokens = sum(map(len, own.completions))
                    optimizer.zero_grad()
                    for _, part in self.batches(own):
                        torch.autograd.backward(-self.logprobs(part).sum() / tokens)
                    optimizer.step()
            return {name: layer.weight.data - start[name] for name, layer in self.layers.items()}
        finally:
            for name, layer in self.layers.items():
                layer.weight.data, layer.weight.grad = start[name], None


def norm(direction: Direction) -> float:
    return float(sum(float((part.double() ** 2).sum()) for part in direction.values()) ** 0.5)


def combined(parts: Sequence[tuple[float, Direction]]) -> Direction:
    """The weighted sum of directions."""
    return {name: sum(weight * part[name] for weight, part in parts) for name in parts[0][1]}  # type: ignore[misc]

"""The random networks: each reads windows of symbols and gives logits for the next symbol, in float64."""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.experiments.theorem.inputs import SYMBOLS, WINDOW
from pipeline.experiments.theorem.kinds import NetworkKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Parameters = dict[str, Tensor]  # name -> values

WIDTH = 32  # of hidden layers and of the residual stream
INITIAL_SPREAD = 0.2  # standard deviation of a transformer's initial matrices, as in the nano families


@cache
def network_of(kind: NetworkKind) -> nn.Module:
    """The network without weights of its own: see logits."""
    match kind:
        case "mlp-tanh":
            return _MLP(nn.Tanh)
        case "mlp-relu":
            return _MLP(nn.ReLU)
        case "llama" | "qwen2":
            return _Transformer(kind)


def initial_weights(network: nn.Module, seed: int) -> Parameters:
    """Matrices drawn from N(0, spread²); biases 0 and gains of norms 1, whatever the seed. Tied weights once."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _initial(network, name, weights, generator) for name, weights in network.named_parameters()}


def drawn_weights(parameters: Mapping[str, Tensor]) -> Tensor:
    """Which weights the seed draws: bool (weights,), in the order of the parameters."""
    return torch.cat([torch.full((weights.numel(),), weights.dim() > 1) for weights in parameters.values()])


def _initial(network: nn.Module, name: str, weights: Tensor, generator: torch.Generator) -> Tensor:
    if weights.dim() == 1:
        return torch.zeros_like(weights) if name.endswith("bias") else torch.ones_like(weights)
    spread = weights.shape[1] ** -0.5 if isinstance(network, _MLP) else INITIAL_SPREAD
    return spread * torch.randn(weights.shape, generator=generator, dtype=torch.float64)


def logits(network: nn.Module, parameters: Mapping[str, Tensor], symbols: Tensor) -> Tensor:
    """The outputs with these weights in place of its own. symbols: (B, WINDOW) -> (B, positions, symbols).

    An MLP has one position, a transformer one after every symbol.
    """
    outputs: Tensor = functional_call(network, dict(parameters), (symbols,))
    return outputs


def active_units(network: nn.Module, parameters: Mapping[str, Tensor], symbols: Tensor) -> Tensor:
    """Which ReLU units have a positive input: bool (B, units), without units in a network that has none."""
    if not isinstance(network, _MLP) or not network.has_kinks:
        return torch.zeros(len(symbols), 0, dtype=torch.bool)
    units: Tensor = functional_call(network, dict(parameters), (symbols,), {"hidden": True})
    return units > 0


class _MLP(nn.Module):
    """Two hidden layers; its spread is 1/√inputs, as in the paper's classifier."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        sizes = (WINDOW, WIDTH, WIDTH, len(SYMBOLS))
        self.first, self.second, self.last = (nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(sizes))
        self.activation = activation()
        self.has_kinks = activation is nn.ReLU

    def forward(self, symbols: Tensor, hidden: bool = False) -> Tensor:
        """The outputs, or what goes into the units: (B, 2 * WIDTH)."""
        scaled = symbols.to(torch.float64) * (2 / (len(SYMBOLS) - 1)) - 1  # into [−1, 1], as pixels are
        below = self.first(scaled)
        above = self.second(self.activation(below))
        if hidden:
            return torch.cat([below, above], dim=-1)
        outputs: Tensor = self.last(self.activation(above))
        return outputs.unsqueeze(-2)


class _Transformer(nn.Module):
    """A causal model with one block, made by transformers."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.model = _causal_model(architecture)

    def forward(self, symbols: Tensor) -> Tensor:
        # The other backends have no forward-mode derivative. transformers' eager attention is float32 inside.
        with sdpa_kernel(SDPBackend.MATH):
            outputs: Tensor = self.model(input_ids=symbols, use_cache=False).logits
        return outputs


def _causal_model(architecture: str) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(SYMBOLS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=WIDTH,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        dtype="float64",
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    _use_float64_norms(model)
    return model


def _use_float64_norms(model: "PreTrainedModel") -> None:
    """Replace the norms of transformers, which compute in float32, by torch's own with the same gains."""
    theirs = [(name, norm) for name, norm in model.named_modules() if type(norm).__name__.endswith("RMSNorm")]
    for name, norm in theirs:
        parent, _, attribute = name.rpartition(".")
        own = nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, dtype=torch.float64)
        own.weight = norm.weight
        setattr(model.get_submodule(parent), attribute, own)

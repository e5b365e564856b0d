"""The LoRA products of a batch, adapter by adapter: those of vLLM, and nothing for a token without an adapter."""

import pytest
import torch
from vllm.lora.ops import torch_ops

from pipeline.models.engines import grouped_lora

TOKENS, SLOTS, WIDTH, RANK, OUT = 23, 3, 16, 8, 12


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs (T, I) and stacked weights A (S, 1, R, I) and B (S, 1, O, R)."""
    rng = torch.Generator().manual_seed(1)
    return (
        torch.randn(TOKENS, WIDTH, generator=rng),
        torch.randn(SLOTS, 1, RANK, WIDTH, generator=rng),
        torch.randn(SLOTS, 1, OUT, RANK, generator=rng),
    )


@pytest.mark.parametrize("slots", [[2] * TOKENS, [0, 1, 2, 1] * 5 + [0, 0, 2]])
def test_with_adapters_for_all_tokens_they_are_vllms_own(
    drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor], slots: list[int]
) -> None:
    inputs, a, b = drawn
    at = torch.tensor(slots)
    found, expected = torch.zeros(TOKENS, RANK), torch.zeros(TOKENS, RANK)
    grouped_lora.shrink(inputs, a, found, at, 0.5)
    torch_ops.bgmv_shrink(inputs, a, expected, at, 0.5)
    torch.testing.assert_close(found, expected)
    for add in (True, False):
        ours, theirs = torch.ones(TOKENS, 2 * OUT), torch.ones(TOKENS, 2 * OUT)
        grouped_lora.expand_slice(found, b, ours, at, OUT, OUT, add)
        torch_ops.bgmv_expand_slice(found, b, theirs, at, OUT, OUT, add)
        torch.testing.assert_close(ours, theirs)
        ours, theirs = torch.ones(TOKENS, OUT), torch.ones(TOKENS, OUT)
        grouped_lora.expand(found, b, ours, at, add)
        torch_ops.bgmv_expand(found, b, theirs, at, add)
        torch.testing.assert_close(ours, theirs)


def test_a_token_without_an_adapter_is_left_as_it_is(drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    inputs, a, b = drawn
    at = torch.tensor([grouped_lora.NO_ADAPTER, 2] * 11 + [grouped_lora.NO_ADAPTER])
    shrunk, expanded = torch.zeros(TOKENS, RANK), torch.ones(TOKENS, OUT)
    grouped_lora.shrink(inputs, a, shrunk, at)
    grouped_lora.expand(shrunk, b, expanded, at)
    assert shrunk[0::2].abs().max() == 0
    assert (expanded[0::2] == 1).all()
    torch.testing.assert_close(expanded[1::2] - 1, inputs[1::2] @ a[2, 0].T @ b[2, 0].T)


def test_prompts_give_a_slot_per_sequence(drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    inputs, a, _ = drawn
    lengths, slots = torch.tensor([10, 4, 9]), torch.tensor([1, grouped_lora.NO_ADAPTER, 1])
    found, expected = torch.zeros(TOKENS, RANK), torch.zeros(TOKENS, RANK)
    grouped_lora.REPLACEMENTS["sgmv_shrink"](inputs, a, found, None, lengths, slots, 3, 10, TOKENS, 2.0)
    grouped_lora.shrink(inputs, a, expected, slots.repeat_interleave(lengths), 2.0)
    torch.testing.assert_close(found, expected)
    assert found[10:14].abs().max() == 0


def test_vllm_calls_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.lora.punica_wrapper import punica_cpu

    for name in grouped_lora.REPLACEMENTS:
        monkeypatch.setattr(punica_cpu, name, getattr(punica_cpu, name))
    grouped_lora.install()
    assert punica_cpu.bgmv_expand_slice is grouped_lora.expand_slice
    monkeypatch.delattr(punica_cpu, "bgmv_shrink")
    with pytest.raises(AttributeError, match="bgmv_shrink"):
        grouped_lora.install()

"""The micro-batch: as many rows as memory allows, never more than asked for, and refused with the number."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.errors import StepError
from pipeline.models.trainers.memory import GIB, Model, fixed_bytes, free_memory, model_of, passes, row_bytes

SMOLLM = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "vocab_size": 49152,
}
NANO = {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 1200,
}


def model(config: dict[str, int], weights: int, trained: int, value_bytes: int) -> Model:
    return model_of(config, weights=weights, trained=trained, value_bytes=value_bytes)


def test_64_rows_of_500_tokens_do_not_fit_24_gb_at_135_m_weights() -> None:
    small = model(SMOLLM, 135_000_000, 2_400_000, 2)
    fixed = fixed_bytes(small, zero_stage=2, ranks=1, loaded=False)
    row = row_bytes(small, 300, 200, on_cpu=False)
    assert fixed + 64 * row > 24 * GIB
    found = passes(64, None, fixed=fixed, row=row, available=24 * GIB)
    assert found == 2
    assert fixed + 32 * row < 24 * GIB
    with pytest.raises(StepError, match=r"micro_batch 64 does not fit.*24\.00 GiB are free.*Set it to 3\d or less"):
        passes(64, 64, fixed=fixed, row=row, available=24 * GIB)


@pytest.mark.parametrize(
    ("config", "rows", "columns", "measured"),
    [
        ((384, 1024, 8, 6, 49152), 8, (62, 100), 1481),
        ((64, 128, 1, 2, 49152), 8, (62, 100), 537),
        ((384, 1024, 8, 6, 2000), 16, (62, 100), 1902),
        ((384, 1024, 4, 6, 2000), 8, (602, 100), 1860),
        ((576, 1536, 30, 9, 49152), 4, (62, 100), 2550),
    ],
)
def test_estimates_lie_above_what_real_trainings_of_adapters_took(
    config: tuple[int, ...], rows: int, columns: tuple[int, int], measured: int
) -> None:
    """measured: growth of a process's resident memory, MiB: rank 8, ZeRO 2, float32, one CPU rank."""
    shape = model(dict(zip(SMOLLM, config, strict=True)), 0, 0, 4)
    estimated = rows * row_bytes(shape, *columns, on_cpu=True) / 2**20
    assert measured <= estimated <= 1.3 * measured


@pytest.mark.parametrize("batch", [12, 32, 64, 66, 128, 200])
def test_nano_models_pass_as_they_did_when_64_was_the_setting(batch: int) -> None:
    """So that the quickstart's figures stay the same to the last bit."""
    nano = model(NANO, 70_000, 70_000, 4)
    fixed = fixed_bytes(nano, zero_stage=2, ranks=1, loaded=True)
    assert passes(batch, None, fixed=fixed, row=row_bytes(nano, 64, 64, on_cpu=True), available=GIB) == -(-batch // 64)


@given(
    rows=st.integers(1, 300),
    wanted=st.none() | st.integers(1, 300),
    fixed=st.integers(0, 10**6),
    row=st.integers(1, 10**5),
    available=st.integers(1, 10**8),
)
def test_what_is_chosen_fits_and_is_what_was_asked_for_or_is_refused(
    rows: int, wanted: int | None, fixed: int, row: int, available: int
) -> None:
    try:
        found = passes(rows, wanted, fixed=fixed, row=row, available=available)
    except StepError:
        assert fixed + row * (1 if wanted is None else min(rows, wanted)) > 0.89 * available - 1
        return
    at_once = -(-rows // found)
    assert fixed + row * at_once <= available
    assert at_once <= (64 if wanted is None else wanted)
    if wanted is not None:
        assert found == -(-rows // wanted)


@given(rows=st.integers(2, 64), available=st.integers(1000, 10**6))
def test_less_memory_never_means_more_rows_at_once(rows: int, available: int) -> None:
    assume(available // 2 * 0.9 > 110)
    more, less = (passes(rows, None, fixed=100, row=10, available=free) for free in (available, available // 2))
    assert less >= more


def test_where_not_one_row_fits_the_error_says_how_much_is_missing_and_what_to_do() -> None:
    with pytest.raises(
        StepError, match=r"even one row.* 20\.00 GiB and 2\.000 GiB per row; 22\.00 GiB are free"
    ) as told:
        passes(64, None, fixed=20 * GIB, row=2 * GIB, available=22 * GIB)
    assert "zero_stage 3" in str(told.value)


def test_adapters_more_ranks_and_stages_need_less_memory() -> None:
    full, adapter = (model(SMOLLM, 135_000_000, trained, 2) for trained in (135_000_000, 2_400_000))
    assert fixed_bytes(adapter, zero_stage=2, ranks=1, loaded=False) < fixed_bytes(
        full, zero_stage=2, ranks=1, loaded=False
    )
    by_stage = [fixed_bytes(full, zero_stage=stage, ranks=8, loaded=False) for stage in (0, 1, 3)]
    assert by_stage == sorted(by_stage, reverse=True)
    assert (
        fixed_bytes(full, zero_stage=1, ranks=1, loaded=True)
        == fixed_bytes(full, zero_stage=1, ranks=1, loaded=False) - 270_000_000
    )


@pytest.mark.parametrize("config", [{}, {"hidden_size": None, "intermediate_size": [3], "num_attention_heads": 0}])
def test_a_config_of_another_kind_is_estimated_too(config: dict[str, object]) -> None:
    other = model_of(config, weights=10, trained=1, value_bytes=4)
    assert row_bytes(other, 10, 10, on_cpu=True) > row_bytes(other, 10, 10, on_cpu=False) > 0


def test_a_container_counts_with_what_its_limit_leaves(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(tmp_path, meminfo) == 4_096_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000\n")
    assert free_memory(tmp_path, meminfo) == 4_096_000
    (tmp_path / "memory.max").write_text("1000000\n")
    assert free_memory(tmp_path, meminfo) == 400_000

"""Seeds: their batches, and which of them are paired."""

import pytest

from pipeline.experiments.image_classifier import batches
from pipeline.experiments.image_classifier.settings import Condition, Network, Noise, SeedSet, Training
from pipeline.experiments.image_classifier.student import StudentSpec, teacher_seeds


@pytest.mark.parametrize("last", [2, 3, 7, 40, 100])
def test_no_seed_is_paired_with_itself_and_each_is_used_once(last: int) -> None:
    others = SeedSet(first=1, last=last).others()
    assert sorted(others) == sorted(others.values()) == list(range(1, last + 1))
    assert all(seed != other for seed, other in others.items())


def test_pairs_stay_within_their_set_and_only_students_of_another_start_have_another_teacher() -> None:
    sets = [SeedSet(first=1, last=6), SeedSet(first=11, last=14)]

    def pairs(condition: Condition) -> dict[int, int]:
        spec = StudentSpec(
            condition=condition, network=Network(), training=Training(), noise=Noise(), seed_sets=sets, seeds_per_unit=4
        )
        return teacher_seeds(spec)

    for start in ("same", "permuted"):
        assert all(seed == other for seed, other in pairs(Condition(start=start)).items())  # type: ignore[arg-type]
    for start in ("other", "heads", "hidden"):
        found = pairs(Condition(start=start))  # type: ignore[arg-type]
        assert all(seed != other and (seed > 10) == (other > 10) for seed, other in found.items())


def test_units_cover_every_seed_once_whatever_their_size() -> None:
    sets = [SeedSet(first=1, last=5), SeedSet(first=21, last=24)]
    for size in (1, 2, 4, 100):
        units = batches.names(sets, size)
        found = [batches.seeds_of(unit, sets) for unit in units]
        assert [seed for part in found for seed in part] == [1, 2, 3, 4, 5, 21, 22, 23, 24]
        assert max(map(len, found)) <= size


def test_the_speed_of_a_step_is_that_of_all_its_units() -> None:
    work = [(8e9, 2.0, 6e9), (4e9, 1.0, 9e9)]
    records = [
        {"results": {"work": {"operations": done, "seconds": seconds, "matmul": rate}}} for done, seconds, rate in work
    ]
    found = batches.summarised(records)
    assert found["operations_per_second"] == pytest.approx(4e9)
    assert found["matmul_per_second"] == pytest.approx(7e9)  # (2·6 + 1·9) / 3

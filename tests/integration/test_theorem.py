"""The theorem on networks whose answer is known, and on the experiment's own."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.experiments.theorem import losses, steps
from pipeline.experiments.theorem.conditions import DRAWN_WEIGHTS, OUTSIDE, SAMPLED, THEOREM
from pipeline.experiments.theorem.draw import Combination, measured
from pipeline.experiments.theorem.draws import drawn
from pipeline.experiments.theorem.kinds import NetworkKind
from pipeline.experiments.theorem.losses import first_order
from pipeline.experiments.theorem.networks import initial_weights, logits, network_of
from pipeline.experiments.theorem.report import STAGE as REPORT
from pipeline.experiments.theorem.schema import Theorem
from pipeline.experiments.theorem.settings import Design
from pipeline.experiments.theorem.steps import Teachers
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step

EPSILON = 0.1


@pytest.fixture(scope="module")
def linear() -> Teachers:
    """Outputs Wx of two logits for two inputs, W = 0. The teacher raises W's first entry: Δ = e₀₀."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))

        def forward(self, inputs: Tensor) -> Tensor:
            return (inputs.to(torch.float64) @ self.weight.T).unsqueeze(-2)

    network = Linear()
    start = {"weight": network.weight.detach()}
    lengths = torch.tensor([EPSILON, 1e-4], dtype=torch.float64)
    return Teachers.trained(network, start, lambda weights: -7 * weights["weight"][0, 0], lengths)


def products(teachers: Teachers, imitation: str) -> list[float]:
    inputs = torch.tensor([[3, 0], [0, 2]])  # JΔ is (3, 0) for the first, and 0 for the second
    outputs = teachers.outputs(inputs)
    every = {**losses.WITHIN, **losses.outside(torch.tensor([-1.0, 5.0], dtype=torch.float64))}
    update = steps.imitating(teachers.network, teachers.start, inputs, outputs, every)[imitation]
    return [float(value) for value in steps.products(teachers, update)[0]]


def test_a_linear_networks_products_are_those_computed_by_hand(linear: Teachers) -> None:
    # mse: mean ‖JΔ‖² = (9 + 0) / 2, exact at any ε. kl: (σ(3ε) − ½) · 3 / 2, whose first order is Var_p(JΔ) = 9/4.
    assert products(linear, "mse") == pytest.approx([EPSILON**2 * 4.5, 1e-8 * 4.5], rel=1e-12)
    by_hand = [(1 / (1 + math.exp(-3 * e)) - 0.5) * 1.5 * e for e in (EPSILON, 1e-4)]
    assert products(linear, "kl") == pytest.approx(by_hand, rel=1e-8)
    assert products(linear, "kl")[1] == pytest.approx(1e-8 * 9 / 4 / 2, rel=1e-6)


def test_the_first_order_values_of_a_linear_network_are_those_computed_by_hand(linear: Teachers) -> None:
    before, change = linear.change(torch.tensor([[3, 0], [0, 2]]))
    assert change.squeeze().tolist() == [[3, 0], [0, 0]]
    assert float(first_order("mse", before, change)) == pytest.approx(9 / 2)
    assert float(first_order("kl", before, change)) == pytest.approx(9 / 4 / 2)


def test_losses_that_are_not_smallest_at_the_teachers_outputs_can_move_the_student_away(linear: Teachers) -> None:
    # Shifted by −1 in the first logit: mean (3ε − 1) · 3 over the inputs, of which the second has JΔ = 0.
    assert products(linear, "shifted target") == pytest.approx([e * (3 * e - 1) * 3 / 2 for e in (EPSILON, 1e-4)])
    assert products(linear, "away from the teacher") == pytest.approx([-e * e * 4.5 for e in (EPSILON, 1e-4)])


def test_sampled_text_is_on_average_the_step_on_the_kl_divergence(linear: Teachers) -> None:
    count = 40_000
    prompts = torch.tensor([[3, 0]]).expand(count, 2)
    generator = torch.Generator().manual_seed(1)
    noise = -torch.empty(2, 1, count, 2, dtype=torch.float64).exponential_(generator=generator).log()
    found = float(steps.products(linear, steps.continuing(linear, prompts, noise))[0][0])
    p = 1 / (1 + math.exp(-3 * EPSILON))
    assert found == pytest.approx((p - 0.5) * 3 * EPSILON, abs=4 * 3 * EPSILON * math.sqrt(p * (1 - p) / count))


def rows(network: NetworkKind, draws: int, lengths: list[float]) -> list[Json]:
    design = Design(
        networks=[network], teacher_losses=["trait"], inputs=["text"], teacher_steps=lengths, draws=draws, seed=3
    )
    return drawn(design, range(draws)).to_pylist()


@pytest.mark.parametrize("network", ["mlp-tanh", "mlp-relu", "llama", "qwen2"])
def test_the_product_nears_its_first_order_value_as_the_step_shrinks(network: NetworkKind) -> None:
    within = [row for row in rows(network, 3, [1e-4, 1e-2]) if row["condition"] == THEOREM]
    assert len(within) == 3 * 2 * 2
    small, large = ([abs(row["ratio"] - 1) for row in within if row["teacher_step"] == step] for step in (1e-4, 1e-2))
    assert all(a < 1e-3 and a < b / 20 for a, b in zip(small, large, strict=True))
    assert not any(row["negative"] for row in within)
    assert all(row["loss_change"] < 0 for row in within)


@pytest.mark.parametrize("network", ["llama", "qwen2"])
def test_transformers_compute_in_float64_throughout(network: NetworkKind) -> None:
    """A change of 1e-9 in the weights is far below what float32 resolves."""
    model = network_of(network)
    start, along = (initial_weights(model, seed) for seed in (1, 2))
    symbols = torch.arange(16).unsqueeze(0)
    moved = {name: start[name] + 1e-9 * along[name] for name in start}
    _, change = torch.func.jvp(lambda weights: logits(model, weights, symbols), (start,), (along,))[:2]
    found = (logits(model, moved, symbols) - logits(model, start, symbols)) / 1e-9
    assert float((found - change).norm() / change.norm()) < 1e-5


def test_updates_are_those_of_plain_autograd() -> None:
    network = network_of("mlp-relu")
    weights = {name: values.requires_grad_() for name, values in initial_weights(network, 1).items()}
    symbols = torch.arange(32).view(2, 16)
    outputs = logits(network, initial_weights(network, 2), symbols).detach().unsqueeze(0)
    plain = {name: values.detach() for name, values in weights.items()}
    for loss in losses.WITHIN.values():
        expected = torch.autograd.grad(-loss(logits(network, weights, symbols), outputs[0]), list(weights.values()))
        (found,) = steps.imitating(network, plain, symbols, outputs, {"loss": loss}).values()
        for own, other in zip(found.values(), expected, strict=True):
            assert torch.allclose(own[0], other, rtol=1e-10, atol=1e-14)


def test_another_initialisation_gives_both_signs_and_the_same_one_does_not() -> None:
    found = rows("mlp-tanh", 60, [1e-3])
    negative = {
        name: [row["negative"] for row in found if row["condition"] == name] for name in (THEOREM, DRAWN_WEIGHTS)
    }
    assert sum(negative[THEOREM]) == 0
    assert 0.25 < sum(negative[DRAWN_WEIGHTS]) / len(negative[DRAWN_WEIGHTS]) < 0.75


def test_losses_outside_the_theorem_and_sampled_text_give_negative_products() -> None:
    found = rows("mlp-tanh", 60, [1e-4])
    share = {
        imitation: sum(row["negative"] for row in found if row["imitation"] == imitation) / 60
        for imitation in dict.fromkeys(row["imitation"] for row in found if row["condition"] in (OUTSIDE, SAMPLED))
    }
    assert share.pop("away from the teacher") == 1
    assert len(share) == 3
    assert all(0.2 < one < 0.95 for one in share.values())


def test_a_draw_does_not_depend_on_those_that_are_computed_with_it() -> None:
    of = Combination("mlp-tanh", "mse", "noise", [1e-3], 0.01)
    together, alone = measured(of, range(5), 1)[-4 * 10 :], measured(of, [4], 1)
    last = [row for row in together if row["draw"] == 4]
    assert [row["condition"] for row in last] == [row["condition"] for row in alone]
    assert [row["inner_product"] for row in last] == pytest.approx([row["inner_product"] for row in alone], rel=1e-6)


def test_the_experiment_is_made_and_reported(
    store: Store, make: Callable[[object, Store, Step], Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design(networks=["mlp-tanh"], teacher_steps=[1e-3, 1e-2], draws=4)
    theorem = Theorem(experiment="theorem", kind="theorem", design=design)
    draws, report = (make(None, store, step) for step in theorem.plan())
    assert draws.results == {"draws": 36, "rows": 36 * 10 * 2}
    claims = {claim["text"]: claim["holds"] for claim in report.results["claims"]}
    assert claims["no inner product is negative beyond rounding at ε ≤ 0.001"]
    html = artifact.read(store, report, "report.html").decode()
    assert "36 draws" in html
    assert "<script" not in html
    assert "SMOKE TEST" not in html
    assert REPORT.pages(store, report)["report.html"] == html.encode()
    assert REPORT.table(store, report.path).row_count == len(claims)

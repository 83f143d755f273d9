"""Optimisers: the recipe's, and Muon on the filters themselves."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import models
from models import CustomConv
from utils.experiment import Recipe
from utils.training.optimizers import (
    MUON_LARGE,
    MUON_STEPS,
    HiddenMuon,
    as_matrix,
    build_optimizers,
    hidden_weights,
    orthogonal,
)

RECIPE = Recipe(1, "sgd", 0.1, 0.3, momentum=0.7)
MUON = replace(RECIPE, muon_rate=0.1)


def channels_last(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)


def test_the_optimizer_is_the_recipe() -> None:
    network = nn.Linear(2, 2)
    (adamw,) = build_optimizers(network, replace(RECIPE, optimizer="adamw"), torch.float32)
    (sgd,) = build_optimizers(network, RECIPE, torch.float32)
    assert isinstance(adamw, torch.optim.AdamW)
    assert isinstance(sgd, torch.optim.SGD)
    for optimizer in (adamw, sgd):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"], group["fused"]) == (0.1, 0.3, True)
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["nesterov"]) == (0.7, True)
    (plain,) = build_optimizers(network, replace(RECIPE, momentum=0.0), torch.float32)
    assert (plain.param_groups[0]["momentum"], plain.param_groups[0]["nesterov"]) == (0, False)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("taken_up", [False, True])
def test_a_parameter_is_trained_from_its_first_gradient_on_in_whichever_step(
    optimizer: str, taken_up: bool
) -> None:
    """As if it had been alone until then, and after a checkpoint that knows nothing of it."""
    torch.manual_seed(0)
    change = {"muon_rate": 0.1} if optimizer == "muon" else {"optimizer": optimizer}
    recipe = replace(RECIPE, **change)
    both, alone = (nn.Sequential(*(nn.Linear(2, 2) for _ in range(3))) for _ in range(2))
    alone.load_state_dict(both.state_dict())
    steps = build_optimizers(both, recipe, torch.float32)
    for step in range(4):
        late = [each for layer in both[1:] for each in layer.parameters()] if step < 2 else []
        for parameter in both.parameters():
            parameter.grad = None if parameter in set(late) else torch.ones_like(parameter)
        if step == 2 and taken_up:
            kept = [each.state_dict() for each in steps]
            steps = build_optimizers(both, recipe, torch.float32)
            for each, state in zip(steps, kept, strict=True):
                each.load_state_dict(state)
        for each in steps:
            each.step()
    others = build_optimizers(alone, recipe, torch.float32)
    for _ in range(2):
        for parameter in alone.parameters():
            parameter.grad = torch.ones_like(parameter)
        for each in others:
            each.step()
    late, expected = both[1:].state_dict(), alone[1:].state_dict()
    assert all(torch.equal(late[name], expected[name]) for name in expected)
    assert not torch.equal(both[0].weight, alone[0].weight)


@pytest.mark.parametrize("model", ["CNNWithResidual", "SimpleCNN", "FCNet"])
def test_muon_takes_the_hidden_weights_and_the_recipes_optimizer_all_the_rest(model: str) -> None:
    network = channels_last(models.build(model))
    recipe = replace(RECIPE, muon_rate=0.02, muon_decay=0.1)
    ordinary, muon = build_optimizers(network, recipe, torch.bfloat16)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert isinstance(ordinary, torch.optim.SGD)
    taken = set(muon.param_groups[0]["params"])
    assert taken == set(weights[:-1])  # the last one is the classifier's
    assert set(ordinary.param_groups[0]["params"]) == set(network.parameters()) - taken
    assert muon.dtype == torch.bfloat16
    assert (muon.param_groups[0]["lr"], muon.param_groups[0]["weight_decay"]) == (0.02, 0.1)


def test_without_a_rate_or_a_hidden_layer_there_is_no_muon() -> None:
    assert len(build_optimizers(models.build("FCNet"), RECIPE, torch.float32)) == 1
    with_rate = replace(RECIPE, muon_rate=0.02)
    assert len(build_optimizers(nn.Linear(2, 2), with_rate, torch.float32)) == 1


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 1, 3, 3), (4, 8, 1, 1), (8, 2, 5, 5)])
def test_muon_steps_on_the_filters_themselves_as_torchs_own_does(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conv = channels_last(nn.Conv2d(shape[1], shape[0], shape[2:], bias=False))
    twin = nn.Parameter(conv.weight.detach().permute(0, 2, 3, 1).flatten(1).clone())
    recipe = replace(RECIPE, muon_rate=0.1, muon_decay=0.2)
    muons = [
        HiddenMuon([conv.weight], recipe, torch.bfloat16),
        torch.optim.Muon([twin], 0.1, weight_decay=0.2, ns_steps=MUON_STEPS),
    ]
    for _ in range(2):
        conv.zero_grad()
        images = torch.randn(2, shape[1], 6, 6).to(memory_format=torch.channels_last)
        conv(images).square().sum().backward()
        twin.grad = conv.weight.grad.permute(0, 2, 3, 1).flatten(1).clone()
        for muon in muons:
            muon.step()
        assert torch.equal(conv.weight.permute(0, 2, 3, 1).flatten(1), twin)


def reference_step(
    weight: np.ndarray, gradient: np.ndarray, momentum: np.ndarray, rate: float, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """A step of Muon on a matrix, entry by entry from its description; weight and momentum."""

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        result = np.zeros((len(a), b.shape[1]))
        for row in range(len(a)):
            for column in range(b.shape[1]):
                result[row, column] = sum(a[row, k] * b[k, column] for k in range(len(b)))
        return result

    momentum = 0.95 * momentum + 0.05 * gradient
    x = 0.95 * momentum + 0.05 * gradient  # Nesterov: one step ahead
    x = x / math.sqrt(sum(entry**2 for entry in x.flat))
    for _ in range(MUON_STEPS):
        cubed = product(product(x, x.T), x)
        x = 3.4445 * x - 4.7750 * cubed + 2.0315 * product(product(x, x.T), cubed)
    rows, columns = weight.shape
    return weight * (1 - rate * decay) - rate * math.sqrt(max(1, rows / columns)) * x, momentum


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3), (1, 5)])
def test_muon_steps_as_its_description_says(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    expected, momentum = rng.normal(size=shape), np.zeros(shape)
    weight = nn.Parameter(torch.from_numpy(expected.copy()))
    muon = HiddenMuon([weight], replace(RECIPE, muon_rate=0.1, muon_decay=0.2), torch.float64)
    for _ in range(3):
        gradient = rng.normal(size=shape)
        weight.grad = torch.from_numpy(gradient)
        muon.step()
        expected, momentum = reference_step(expected, gradient, momentum, 0.1, 0.2)
        np.testing.assert_allclose(weight.detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_steps_end_at_the_same_weights_to_the_last_bit(dtype: torch.dtype) -> None:
    def trained() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        shapes = [(20, 30), (MUON_LARGE + 1, MUON_LARGE + 5)]
        weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        muon = HiddenMuon(weights, MUON, dtype, every=3)
        for _ in range(5):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            muon.step()
        return [weight.detach() for weight in weights]

    assert all(map(torch.equal, trained(), trained()))


def test_of_a_large_matrix_an_orthogonal_update_serves_several_steps() -> None:
    torch.manual_seed(0)
    size = MUON_LARGE + 1
    large, other = (nn.Parameter(torch.zeros(size, size)) for _ in range(2))
    small = nn.Parameter(torch.zeros(size, MUON_LARGE))
    muon = HiddenMuon([large, small], MUON, torch.float32, every=3)
    whole = HiddenMuon([other], MUON, torch.float32, every=1)
    changes: dict[nn.Parameter, list[torch.Tensor]] = {large: [], small: [], other: []}
    for _ in range(4):
        before = {weight: weight.detach().clone() for weight in changes}
        for weight in changes:
            weight.grad = torch.randn_like(weight)
        other.grad = large.grad.clone()
        for each in (muon, whole):
            each.step()
        for weight, values in changes.items():
            values.append(weight.detach() - before[weight])
    close = {"rtol": 0, "atol": 1e-6}
    first, second, third, fourth = changes[large]
    for again in (second, third):
        torch.testing.assert_close(again, first, **close)
    assert (fourth - first).norm() > 0.1 * first.norm()
    assert (changes[small][1] - changes[small][0]).norm() > 0.1 * changes[small][0].norm()
    # its momentum is kept up in the steps between
    torch.testing.assert_close(first, changes[other][0], **close)
    torch.testing.assert_close(fourth, changes[other][3], **close)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_orthogonal_applies_the_polynomial_to_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    for _ in range(3):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    torch.testing.assert_close(orthogonal(matrix, 3), u * s @ vt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 24), (24, 64), (32, 32)], ids=["tall", "wide", "square"])
def test_five_steps_bring_every_singular_value_near_one(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    """From a hundredth of the largest on; the polynomial swings between 0.68 and 1.15."""
    torch.manual_seed(0)
    u, s, vt = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    s = torch.logspace(-2, 0, len(s), dtype=torch.float64)
    result = orthogonal((u * s @ vt).to(dtype), 5)
    values = torch.linalg.svdvals(result.double())
    assert values.min() > 0.65
    assert values.max() < 1.2
    # and no direction is turned: in the bases of the matrix the result is diagonal
    diagonal = u.T @ result.double() @ vt.T
    assert (diagonal - diagonal.diag().diag()).norm() < (0.3 if dtype == torch.bfloat16 else 1e-4)


def test_orthogonal_stays_in_its_precision_and_bears_a_gradient_of_zeros() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert orthogonal(torch.ones(3, 2, dtype=dtype), 5).dtype == dtype
    assert torch.equal(orthogonal(torch.zeros(3, 2), 5), torch.zeros(3, 2))


def test_in_float32_muon_steps_near_where_it_does_in_bfloat16() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.zeros(20, 30)) for _ in range(2)]
    gradient = torch.randn(20, 30)
    for weight, dtype in zip(weights, (torch.float32, torch.bfloat16), strict=True):
        weight.grad = gradient.clone()
        HiddenMuon([weight], MUON, dtype).step()
    assert not torch.equal(*weights)
    assert (weights[0] - weights[1]).norm() / weights[0].norm() < 0.03


def test_filters_without_a_gradient_stay() -> None:
    conv = channels_last(nn.Conv2d(3, 4, 3))
    before = conv.weight.clone()
    HiddenMuon([conv.weight], MUON, torch.float32).step()
    assert torch.equal(conv.weight, before)


def test_filters_whose_channels_are_not_last_are_refused() -> None:
    with pytest.raises(RuntimeError, match="view"):
        as_matrix(torch.zeros(4, 3, 3, 3))


def test_muon_goes_on_from_its_state_in_the_middle_of_an_update(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = nn.Parameter(torch.zeros(MUON_LARGE + 1, MUON_LARGE + 2))
    gradients = torch.randn(5, *first.shape)

    def steps(weight: nn.Parameter, muon: HiddenMuon, gradients: torch.Tensor) -> None:
        for gradient in gradients:
            weight.grad = gradient
            muon.step()

    muon = HiddenMuon([first], MUON, torch.bfloat16, every=4)
    steps(first, muon, gradients[:2])
    torch.save((first, muon.state_dict()), tmp_path / "state.pt")
    steps(first, muon, gradients[2:])
    second, state = torch.load(tmp_path / "state.pt", weights_only=False)
    resumed = HiddenMuon([second], MUON, torch.bfloat16, every=4)
    resumed.load_state_dict(state)
    steps(second, resumed, gradients[2:])
    assert torch.equal(first, second)


def test_a_frozen_copy_behind_a_network_is_not_its_classifier() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 10))
    frozen = copy.deepcopy(network).requires_grad_(False)
    (hidden,) = hidden_weights(nn.ModuleList([network, frozen]))
    assert hidden is network[0].weight


def test_muon_takes_a_custom_convolution_and_each_weight_once() -> None:
    network = nn.Sequential(CustomConv(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    network.extend([nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
    network[2].weight = network[1].weight  # tied
    network[3] = nn.utils.parametrizations.weight_norm(network[3])  # computed from two others
    network[4].weight = network[5].weight  # tied to the last
    hidden = hidden_weights(network)
    assert [id(each) for each in hidden] == [id(network[0].weight), id(network[1].weight)]
    ordinary, muon = build_optimizers(
        network.to(memory_format=torch.channels_last), MUON, torch.float32
    )
    taken = [p for each in (ordinary, muon) for p in each.param_groups[0]["params"]]
    assert len(taken) == len({id(p) for p in taken}) == len(list(network.parameters()))
    network[:3](torch.randn(2, 3, 9, 9)).sum().backward()
    before = network[1].weight.detach().clone()
    muon.step()
    assert not torch.equal(before, network[1].weight)


def test_the_weights_of_each_place_are_stepped_on_by_themselves() -> None:
    torch.manual_seed(0)
    local = models.LocallyConnected2d(2, 3, (2, 2))
    places = [nn.Linear(18, 3, bias=False) for _ in range(4)]
    for place, weight in zip(places, local.weight, strict=True):
        place.weight.data.copy_(weight)
    together = HiddenMuon([local.weight], MUON, torch.float32)
    apart = HiddenMuon([place.weight for place in places], MUON, torch.float32)
    for _ in range(3):
        local.weight.grad = torch.randn_like(local.weight)
        for place, grad in zip(places, local.weight.grad, strict=True):
            place.weight.grad = grad.clone()
        together.step()
        apart.step()
    torch.testing.assert_close(local.weight, torch.stack([place.weight for place in places]))
    assert hidden_weights(nn.Sequential(local, nn.Linear(3, 2)))[0] is local.weight

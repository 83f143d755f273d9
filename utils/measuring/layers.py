"""Layers and blocks on their own: shapes, gradients and time, each beside its analogue.

    declared cases --measure--> layers.json or blocks.json, and the arrays behind the figures

All cases get the same seeds: an analogue starts from the same weights, sees the same input and is
asked for its gradient in the same direction. Everything is float32, in train mode, as built.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.custom_layers import L2Pooling, Swish
from utils.data.dataset import load_quick_dataset
from utils.experiment import Experiment, LayerCase
from utils.measuring.speed import Action, Effort, spread, time_in_turn
from utils.records.environment import environment
from utils.records.files import SCHEMA

SEED = 0  # of the weights, the input and the direction of the gradient
ITERATIONS = 100  # the report's unit of time

# A dozen layers, two cores: about a minute and about three seconds.
FULL, QUICK = Effort(rounds=7, seconds=0.3), Effort(rounds=2, seconds=0.02)

# What the figures of section 3.1 show beside each other.
CURVES: dict[str, nn.Module] = {
    "Swish": Swish(),
    "Swish(beta=2)": Swish(beta=2.0),
    "SiLU": nn.SiLU(),
    "ReLU": nn.ReLU(),
}
POOLINGS: dict[str, nn.Module] = {
    "L2Pooling": L2Pooling(2),
    "LPPool2d": nn.LPPool2d(2, 2),
    "MaxPool2d": nn.MaxPool2d(2),
    "AvgPool2d": nn.AvgPool2d(2),
}


def study_layers(
    experiment: Experiment, device: torch.device, quick: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record of an experiment's cases and its arrays, of which blocks have none.

    Times are those of 100 iterations: medians per iteration, times 100; forward alone records
    nothing for a backward. All cases have their turn in every round, see
    ``utils.measuring.time_in_turn``.
    """
    cases, kind = experiment.cases, experiment.cases_are
    built = {case.name: _build(case, device) for case in cases}
    actions: dict[tuple[str, str], Action] = {}
    for case in cases:
        actions["forward", case.name] = _forward_action(*built[case.name])
        actions["forward_backward", case.name] = _forward_backward_action(*built[case.name])
    gradients = {case.name: gradient_means(case, *built[case.name]) for case in cases}
    seconds = time_in_turn(actions, QUICK if quick else FULL)
    record = {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "environment": environment(device),
        kind: [
            {
                **_names(case, kind),
                **_shapes(*built[case.name]),
                "gradient": gradients[case.name],
                **{
                    f"{which}_seconds_100": spread(ITERATIONS * seconds[which, case.name])
                    for which in ("forward", "forward_backward")
                },
            }
            for case in cases
        ],
    }
    if kind == "blocks":
        return record, {}
    return record, activation_curves(CURVES) | pooling_pictures(POOLINGS)


def _names(case: LayerCase, kind: str) -> dict[str, str | None]:
    if kind == "blocks":
        return {"block": case.name}
    role = "analogue" if case.analogue_of else "custom"
    return {"layer": case.name, "role": role, "analogue_of": case.analogue_of}


def _shapes(module: nn.Module, x: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        output_shape = list(module(x).shape)
    return {
        "input_shape": list(x.shape),
        "output_shape": output_shape,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def _build(case: LayerCase, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The layer and a standard normal input that asks for its gradient."""
    with torch.random.fork_rng():  # whoever calls keeps the state of the global generator
        torch.manual_seed(SEED)
        module = case.build().to(device)
    x = torch.randn(case.input_shape, generator=torch.Generator().manual_seed(SEED)).to(device)
    return module, x.requires_grad_()


def gradient_means(case: LayerCase, module: nn.Module, x: Tensor) -> dict[str, float | None]:
    """Means over the gradient's entries at the input, and at the weights where there are any.

    Signed: of ``output.mean()``, as the report has it; its entries cancel, down to rounding where
    a batch-norm stands on every path. Absolute: in a random direction, a standard normal
    cotangent, where nothing cancels. Weights are kernels and matrices, without biases and
    batch-norm's scales.
    """
    part = module if case.weights_of is None else module.get_submodule(case.weights_of)
    sources = [x, *(weight for weight in part.parameters() if weight.dim() > 1)]
    y = module(x)
    generator = torch.Generator().manual_seed(SEED + 1)  # not the input itself
    cotangent = torch.randn(y.shape, generator=generator).to(y.device)
    signed = torch.autograd.grad(y.mean(), sources, retain_graph=True)
    random = torch.autograd.grad(y, sources, cotangent)
    return {
        "signed_mean_input": _mean(signed[:1]),
        "signed_mean_weights": _mean(signed[1:]),
        "mean_absolute_input": _mean([gradient.abs() for gradient in random[:1]]),
        "mean_absolute_weights": _mean([gradient.abs() for gradient in random[1:]]),
    }


def _mean(gradients: Sequence[Tensor]) -> float | None:
    """The mean over all entries; None where there are none."""
    if not gradients:
        return None
    return torch.cat([gradient.flatten() for gradient in gradients]).double().mean().item()


def _forward_action(module: nn.Module, x: Tensor) -> Action:
    def forward() -> Tensor:
        with torch.no_grad():
            return module(x)

    return forward


def _forward_backward_action(module: nn.Module, x: Tensor) -> Action:
    sources = [x, *module.parameters()]
    with torch.no_grad():
        cotangent = torch.ones_like(module(x))

    def forward_backward() -> tuple[Tensor, ...]:
        return torch.autograd.grad(module(x), sources, cotangent)

    return forward_backward


def activation_curves(
    activations: Mapping[str, nn.Module], limit: float = 6.0, points: int = 241
) -> dict[str, np.ndarray]:
    """Each activation and its derivative on ``[-limit, limit]``.

    Returns "x", "<name>/value" and "<name>/derivative", each float32 ``[points]``.
    """
    x = torch.linspace(-limit, limit, points, requires_grad=True)
    arrays = {"x": x.detach().numpy()}
    for name, activation in activations.items():
        value = activation(x)
        (derivative,) = torch.autograd.grad(value.sum(), x)
        arrays[f"{name}/value"] = value.detach().numpy()
        arrays[f"{name}/derivative"] = derivative.numpy()
    return arrays


def pooling_pictures(poolings: Mapping[str, nn.Module]) -> dict[str, np.ndarray]:
    """What each pooling leaves of a real digit: the first test image of the shipped MNIST sample.

    Returns "pooling/input" ``[28, 28]``, in [0, 1], and "pooling/<name>" ``[h, w]``, float32.
    """
    digit = load_quick_dataset("mnist").x_test[:1].float() / 255  # [1, 1, 28, 28]
    images = {"input": digit} | {name: pooling(digit) for name, pooling in poolings.items()}
    return {f"pooling/{name}": image[0, 0].numpy() for name, image in images.items()}

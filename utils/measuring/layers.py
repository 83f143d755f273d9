"""Layers and blocks on their own: shapes, gradients and time, each beside its analogue.

    declared cases --measure--> cases.json, and the arrays behind the figures

All cases get the same seeds: an analogue starts from the same weights, sees the same input and is
asked for its gradient in the same direction. Everything is float32, in train mode, as built.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.custom_layers import L2Pooling, Swish
from utils.data.dataset import load_quick_dataset
from utils.errors import UserError, in_one_line
from utils.experiment import Experiment, LayerCase
from utils.machine import environment
from utils.measuring.timing import Action, Effort, in_turn, quartiles
from utils.records.checks import MEASURE
from utils.records.runs import differences
from utils.records.schema import Case, Cases, Gradient

SEED = 0  # of the weights, the input and the direction of the gradient
ITERATIONS = 100  # the report's unit of time
TOLERATED = 0.01  # of a mean of gradients

# A dozen layers, two cores: about a minute and about three seconds.
FULL, QUICK = Effort(rounds=7, seconds=0.3), Effort(rounds=2, seconds=0.02)


def study_layers(
    experiment: Experiment, device: torch.device, effort: Effort = FULL
) -> tuple[Cases, dict[str, np.ndarray]]:
    """One pass: the record of an experiment's cases, and the arrays that its figures need.

    Times are those of 100 iterations: medians per iteration, times 100; forward alone records
    nothing for a backward. All cases have their turn in every round.
    """
    built = {case.name: _build(case, device) for case in experiment.cases}
    actions: dict[tuple[str, str], Action] = {}
    for name, (module, x) in built.items():
        actions["forward", name] = forward(module, x)
        actions["forward_backward", name] = forward_backward(module, x)
    gradients = {case.name: gradient_means(case, *built[case.name]) for case in experiment.cases}
    seconds = in_turn(actions, effort)
    cases = tuple(
        Case(
            name=case.name,
            analogue_of=case.analogue_of,
            **_shapes(*built[case.name]),
            gradient=gradients[case.name],
            forward_seconds_100=(quartiles(ITERATIONS * seconds["forward", case.name]),),
            forward_backward_seconds_100=(
                quartiles(ITERATIONS * seconds["forward_backward", case.name]),
            ),
        )
        for case in experiment.cases
    )
    record = Cases(device=device.type, environment=environment(device), cases=cases)
    arrays: dict[str, np.ndarray] = {}
    if "activation_functions" in experiment.figures:
        arrays |= activation_curves()
    if "pooling" in experiment.figures:
        arrays |= pooling_pictures()
    return record, arrays


def call_once(case: LayerCase, device: torch.device) -> None:
    """Asks of a layer what will be measured; whatever that raises."""
    module, x = _build(case, device)
    gradient_means(case, module, x)
    forward_backward(module, x)()


def check_layers(experiment: Experiment, cases: Cases | None, results: Path) -> None:
    """What is on record of layers or blocks is of those that are declared now.

    Raises: UserError naming the first that is not.
    """
    path = results / experiment.name / "cases.json"
    for case, found in zip(experiment.cases, cases.cases if cases else (), strict=False):
        try:
            module, x = _build(case, torch.device("cpu"))
            now = {"analogue_of": case.analogue_of, **_shapes(module, x)}
            means = [gradient_means(case, module, x) for _ in range(2)]
        except Exception as error:  # whatever a layer of the user's own raises
            raise UserError(
                f"{path}: {case.name} cannot be built any more ({in_one_line(error)}); mend it in "
                "models/ or experiments/"
            ) from error
        text = differences(found.model_dump(include=set(now)), now)
        if text := text or other_gradient(found.gradient, *means):
            raise UserError(
                f"{path}: {case.name}: {text}, by the {experiment.cases_are} as it is now; "
                f"{MEASURE}"
            )


def other_gradient(found: Gradient, now: Gradient, again: Gradient) -> str:
    """As in "mean_absolute_input 0.5 (not 0.7)", by more than devices and draws of the input do.

    Empty where it is another each time: a dropout draws. The signed means may be rounding alone.
    """
    if now != again:
        return ""
    names = {"mean_absolute_input", "mean_absolute_weights"}
    of_record, of_now = (each.model_dump(include=names, exclude_none=True) for each in (found, now))
    far = {
        name: value
        for name, value in of_record.items()
        if name in of_now and not math.isclose(value, of_now[name], rel_tol=TOLERATED)
    }
    return differences(far, of_now)


def _shapes(module: nn.Module, x: Tensor) -> dict[str, object]:
    with torch.no_grad():
        output_shape = tuple(module(x).shape)
    return {
        "input_shape": tuple(x.shape),
        "output_shape": output_shape,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def _build(case: LayerCase, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The layer and a standard normal input that asks for its gradient."""
    # whoever calls keeps the generator's state; devices=[] leaves a GPU that is not asked for alone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        module = case.build().to(device)
    x = torch.randn(case.input_shape, generator=torch.Generator().manual_seed(SEED)).to(device)
    return module, x.requires_grad_()


def gradient_means(case: LayerCase, module: nn.Module, x: Tensor) -> Gradient:
    """Means over the gradient's entries at the input, and at the weights where there are any.

    Signed: of ``output.mean()``, as the report has it; its entries cancel, down to rounding where
    a batch-norm stands on every path. Absolute: in a random direction, a standard normal
    cotangent, where nothing cancels. Weights are kernels and matrices, without biases and
    batch-norm's scales.
    """
    part = module if case.weights_of is None else module.get_submodule(case.weights_of)
    weights = [each for each in part.parameters() if each.requires_grad and each.dim() > 1]
    sources = [x, *weights]
    y = module(x)
    generator = torch.Generator().manual_seed(SEED + 1)  # not the input itself
    cotangent = torch.randn(y.shape, generator=generator).to(y.device)
    signed = torch.autograd.grad(y.mean(), sources, retain_graph=True)
    random = torch.autograd.grad(y, sources, cotangent)
    return Gradient(
        signed_mean_input=_mean(signed[:1]),
        signed_mean_weights=_mean(signed[1:]),
        mean_absolute_input=_mean([gradient.abs() for gradient in random[:1]]),
        mean_absolute_weights=_mean([gradient.abs() for gradient in random[1:]]),
    )


def _mean(gradients: Sequence[Tensor]) -> float | None:
    """The mean over all entries; None where there are none."""
    if not gradients:
        return None
    return torch.cat([gradient.flatten() for gradient in gradients]).double().mean().item()


def forward(module: nn.Module, x: Tensor) -> Action:
    """The module's output, with nothing kept for a backward."""
    return torch.no_grad()(lambda: module(x))


def forward_backward(module: nn.Module, x: Tensor) -> Action:
    """The output and the gradients of all that is trained, and of the input, which asks for it."""
    trained = [each for each in module.parameters() if each.requires_grad]
    sources, cotangent = [x, *trained], torch.ones_like(module(x))
    return lambda: torch.autograd.grad(module(x), sources, cotangent)


def activation_curves() -> dict[str, np.ndarray]:
    """Each activation and its derivative on [-6, 6].

    Returns "x", "<name>/value" and "<name>/derivative", each float32 ``[241]``.
    """
    activations = {
        "Swish": Swish(),
        "Swish(beta=2)": Swish(beta=2.0),
        "SiLU": nn.SiLU(),
        "ReLU": nn.ReLU(),
    }
    x = torch.linspace(-6, 6, 241, requires_grad=True)
    arrays = {"x": x.detach().numpy()}
    for name, activation in activations.items():
        value = activation(x)
        (derivative,) = torch.autograd.grad(value.sum(), x)
        arrays[f"{name}/value"] = value.detach().numpy()
        arrays[f"{name}/derivative"] = derivative.numpy()
    return arrays


def pooling_pictures() -> dict[str, np.ndarray]:
    """What each pooling leaves of a real digit: the first test image of the shipped MNIST sample.

    Returns "pooling/input" ``[28, 28]``, in [0, 1], and "pooling/<name>" ``[h, w]``, float32.
    """
    poolings = {
        "L2Pooling": L2Pooling(2),
        "LPPool2d": nn.LPPool2d(2, 2),
        "MaxPool2d": nn.MaxPool2d(2),
        "AvgPool2d": nn.AvgPool2d(2),
    }
    digit = load_quick_dataset("mnist").x_test[:1].float() / 255  # [1, 1, 28, 28]
    images = {"input": digit} | {name: pooling(digit) for name, pooling in poolings.items()}
    return {f"pooling/{name}": image[0, 0].numpy() for name, image in images.items()}

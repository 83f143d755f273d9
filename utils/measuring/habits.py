"""Habits of a network of one's own, beside what it computes, that its runs would suffer from."""

import torch
from torch import Tensor, nn

import models
from utils.errors import UserError
from utils.experiment import Run
from utils.measuring.probes import tell_once
from utils.training.loop import weight_layers
from utils.training.optimizers import hidden_weights


def process_settings() -> dict[str, object]:
    """What a network may set and all that come after it have."""
    return {
        "default dtype": torch.get_default_dtype(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "grad mode": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "backends.cudnn": [
            getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "allow_tf32")
        ],
    }


def check_settings(name: str, before: dict[str, object]) -> None:
    """Nothing of ``process_settings`` is otherwise than it was.

    Raises: UserError naming what is.
    """
    now = process_settings()
    if changed := [what for what in before if now[what] != before[what]]:
        raise UserError(
            f"{name}: changes torch's {changed[0]}, which is for all networks of the command; "
            "leave that out of models/"
        )


def layers_in_lists(network: nn.Module) -> list[str]:
    """Lists, tuples and dicts of the modules that hold layers or parameters that are not theirs."""
    known = {*network.modules(), *network.parameters()}
    found = []
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value
            if isinstance(value, list | tuple | dict) and any(
                isinstance(each, nn.Module | nn.Parameter) and each not in known for each in held
            ):
                found.append(f"{path}.{name}".lstrip("."))
    return found


@torch.no_grad()
def tell_of_memory(
    network: nn.Module, name: str, images: Tensor, before: dict[str, object]
) -> None:
    """Tells what of ``kept_outside`` has changed since ``before`` and is read in training.

    A number or tensor that is only written, to be looked at, is the same after a step from either
    state. What says that something was done is told anyway.
    """
    after, state = kept_outside(network), {k: v.clone() for k, v in network.state_dict().items()}
    both = before.keys() & after
    changed = [what for what in after if what in both and not same(before[what], after[what])]
    ends = []
    for held in (before, after) if changed else ():
        network.load_state_dict(state)
        put_back(network, held)
        torch.manual_seed(0)
        ends.append((network.train()(images), kept_outside(network)))
    if ends and torch.equal(ends[0][0], ends[1][0]):
        changed = [
            what
            for what in changed
            if isinstance(after[what], bool) or not same(*(end.get(what) for _, end in ends))
        ]
    if changed:
        tell_once(
            f"{name}: {', '.join(changed)}: changes in training, and is in no checkpoint: a run "
            "that is interrupted goes on without it; keep it in a buffer"
        )


def put_back(network: nn.Module, held: dict[str, object]) -> None:
    """Has the modules hold what ``kept_outside`` found."""
    for place, value in held.items():
        path, _, name = place.rpartition(".")
        module = network.get_submodule(path)
        if isinstance(getattr(module, name), torch.Generator):
            getattr(module, name).set_state(value)
        else:
            setattr(module, name, value)


def kept_outside(network: nn.Module) -> dict[str, object]:
    """What the modules hold that is in no state dict: numbers, tensors and random generators."""
    found: dict[str, object] = {}
    for path, module in network.named_modules():
        passing = {name: module.get_buffer(name) for name in module._non_persistent_buffers_set}
        for name, value in {**vars(module), **passing}.items():
            if isinstance(value, torch.Generator):
                value = value.get_state()
            if isinstance(value, Tensor) and value.grad_fn is None:
                value = value.clone()
            elif not isinstance(value, int | float):
                continue
            found[f"{path}.{name}".lstrip(".")] = value
    return found


def same(first: object, second: object) -> bool:
    """Whether two of ``kept_outside`` are equal."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        alike = (first.device, first.dtype) == (second.device, second.dtype)
        return alike and torch.equal(first, second)
    return first == second or (first != first and second != second)


@torch.no_grad()
def tell_of_order(network: nn.Module, name: str, images: Tensor) -> None:
    """Tells where layers with weights run in another order than that of their declaration.

    And which weights are none of such layers' or are not trained as these are.
    """
    tell_of_weights(network, name)
    called: dict[str, None] = {}  # in the order of the first calls
    attention = [each for each in network.modules() if isinstance(each, nn.MultiheadAttention)]
    inside = {part for each in attention for part in each.modules()}  # which it never calls
    layers = [each for each in weight_layers(network) if network.get_submodule(each) not in inside]
    hooks = [
        network.get_submodule(layer).register_forward_pre_hook(
            lambda *_, layer=layer: called.setdefault(layer)
        )
        for layer in layers
    ]
    network.eval()(images)
    for hook in hooks:
        hook.remove()
    running = list(called)
    for end, which in ((0, "first"), (-1, "last")) if running else ():
        if running[end] != layers[end]:
            tell_once(
                f"{name}: {running[end]} runs {which} and {layers[end]} is declared {which}, "
                "which counts as that, in gradient ratios and for what Muon trains; declare layers "
                "in the order in which they run, and none that does not"
            )


def tell_of_weights(network: nn.Module, name: str) -> None:
    """Tells of matrices and filters that Muon does not train, the last layer's apart."""
    *hidden, last = weight_layers(network).values()
    trained, recorded = set(hidden_weights(network)), {part for parts in hidden for part in parts}
    own, computed = [], []
    for number, (path, weight) in enumerate(network.named_parameters()):
        is_matrix = weight.dim() > 1 and 1 < len(weight) < weight.numel()
        if is_matrix and weight.requires_grad and weight not in trained and number not in last:
            (computed if number in recorded else own).append(path)
    for left, text in (
        (
            own,
            "of no nn.Conv2d, CustomConv or nn.Linear: not trained by Muon, no gradients on "
            "record; which layer is the first and which the last goes by the others",
        ),
        (computed, "what weights are computed from: not trained by Muon"),
    ):
        if left:
            more = f" and {len(left) - 3} more" if left[3:] else ""
            tell_once(f"{name}: {', '.join(left[:3])}{more}: {text}")


def tell_of_seeds(run: Run) -> None:
    """Tells where a network draws its weights, or what is drawn after them, alike in all seeds."""
    begun = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = [*models.build(run.network, **run.overrides).parameters()]
            begun.append((torch.get_rng_state(), weights))
    (state, weights), (other_state, other_weights) = begun
    if torch.equal(state, other_state) or all(map(torch.equal, weights, other_weights)):
        tell_once(
            f"{run.network}: begins alike with every seed, so that ± is of the order of images "
            "alone; a torch.manual_seed has no place in models/"
        )

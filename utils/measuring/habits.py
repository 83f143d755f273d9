"""Habits of a network of one's own, beside what it computes, that its runs would suffer from."""

import itertools
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

import models
from utils.errors import UserError, few
from utils.experiment import Run
from utils.measuring.probes import tell_once
from utils.training.loop import weight_layers
from utils.training.optimizers import hidden_weights

PASSES = 20  # a branch that half of them take is missed once in half a million times
SHOWN = 64  # images, of which some choose each branch that images choose


@contextmanager
def modules_of(network: nn.Module, name: str) -> Iterator[None]:
    """What runs meanwhile and holds weights or buffers is part of the network.

    Wherever else it is held, in a plain list, a global, or nowhere as it is made in each forward.
    Raises: UserError naming what is none.
    """
    called: dict[nn.Module, None] = {}
    look = torch.compiler.disable(lambda module, _: called.setdefault(module))
    hook = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
    known = {*network.modules(), *network.parameters(), *network.buffers()}
    for module in called:
        if module not in known and not known.issuperset([*module.parameters(), *module.buffers()]):
            raise UserError(
                f"{name}: runs a layer ({type(module).__name__}) that is no part of it, which "
                "torch would not train and no checkpoint keeps; make it in __init__, as an "
                "attribute of an nn.Module, or in an nn.ModuleList or nn.ModuleDict"
            )


def check_trained(network: nn.Module, name: str, images: Tensor) -> None:
    """What a gradient reaches is the network's; tells what of the network none reaches.

    A branch may run by chance, for some images, or from some step on: hence several passes, each
    with other images. What eval mode alone brings gradients to is not trained.
    Raises: UserError for a tensor that gets a gradient and is no parameter of the network.
    """

    def shown(turn: int) -> Tensor:  # in a tensor of their own, as in training
        return network(images.roll(-turn * SHOWN, 0)[: SHOWN if turn else 4])

    network.train()
    held = leaves(shown(0)) & leaves(outputs := shown(0))  # not those made in each
    outputs.sum().backward()
    for stray in held - set(network.parameters()):
        if stray.grad is None:  # as that of the dummy that a checkpoint of a layer is given
            continue
        raise UserError(
            f"{name}: a tensor {list(stray.shape)} requires a gradient and is no parameter of it, "
            "where no optimiser knows it; make it an nn.Parameter, as an attribute of an "
            "nn.Module, or in an nn.ParameterList or nn.ParameterDict"
        )
    left = {path: each for path, each in network.named_parameters() if each.requires_grad}
    for turn in range(PASSES):
        network.zero_grad()
        shown(turn).sum().backward()
        left = {path: each for path, each in left.items() if each.grad is None}
        if not left:
            return
    tell_once(
        f"{name}: {few(left, 3)}: no gradient in {PASSES} passes: not trained, unless later or by "
        f"others than {len(images)} images, and counted as parameters all the same; have forward "
        "use what it should, and leave out what it never will"
    )


def leaves(output: Tensor) -> set[Tensor]:
    """The tensors that a backward from here would bring gradients to."""
    nodes = {output.grad_fn: None}
    for node in (todo := [output.grad_fn]):
        following = [each for each, _ in node.next_functions if each and each not in nodes]
        nodes |= dict.fromkeys(following)
        todo.extend(following)
    return {node.variable for node in nodes if hasattr(node, "variable")}


# what each module holds: its path -> name -> value
Kept = dict[str, dict[str, object]]


@torch.no_grad()
def tell_of_memory(network: nn.Module, name: str, images: Tensor, before: Kept) -> None:
    """Tells what of ``kept_outside`` has changed since ``before`` and is read by later passes.

    A number or tensor that is only written, to be looked at, is the same after a pass in training
    and one in eval mode from either state, and so is what is made once and kept. What says that
    something was done is told anyway.
    """
    network.eval()(images)
    after = kept_outside(network.train())
    state = {key: values.clone() for key, values in network.state_dict().items()}

    def passes(kept: Kept) -> tuple[list[Tensor], Kept]:
        """Logits in training and in eval mode from there, and what is kept then."""
        network.load_state_dict(state)
        put_back(network, {path: kept.get(path, {}) for path in before}, after)
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        logits = [network.train()(images), network.eval()(images)]
        return logits, kept_outside(network.train())

    def is_read(path: str, each: str) -> bool:
        """Whether it alone makes a difference."""
        try:
            logits, _ = passes(with_one(before, after, path, each))
        except Exception:  # without what belongs to it anything may happen
            return True
        return not all(map(torch.equal, logits, expected))

    if not (changed := changed_since(before, after)):
        return
    (logits, end), (expected, its_end) = passes(before), passes(after)
    if all(map(torch.equal, logits, expected)):
        changed = [
            (path, each)
            for path, each in changed
            if (each in before[path] and isinstance(after[path][each], bool))
            or not same(end.get(path, {}).get(each), its_end.get(path, {}).get(each))
        ]
    elif read := [place for place in changed if is_read(*place)]:
        changed = read
    if changed:
        what = ", ".join(".".join(filter(None, place)) for place in changed)
        tell_once(
            f"{name}: {what}: changes as it runs, and is in no checkpoint: a run that is "
            "interrupted goes on without it; keep it in a buffer"
        )


def changed_since(before: Kept, after: Kept) -> list[tuple[str, str]]:
    """Module and name of each number and tensor that is another."""
    return [
        (path, each)
        for path, held in before.items()  # a layer that was made since is made again
        for each, value in after.get(path, {}).items()
        if is_plain(value) and not same(held.get(each), value)
    ]


def with_one(before: Kept, after: Kept, path: str, name: str) -> Kept:
    """What is kept ``after``, but for one thing that is as ``before``, or is not there."""
    held = {key: value for key, value in after[path].items() if key != name}
    return after | {path: held | {k: v for k, v in before[path].items() if k == name}}


def put_back(network: nn.Module, kept: Kept, later: Kept) -> None:
    """Has the modules hold what was kept, and not what they hold ``later`` besides."""
    modules = dict(network.named_modules())
    for path, held in kept.items():
        if (module := modules.get(path)) is None:  # it has been taken out meanwhile
            continue
        for name in [*held, *(later.get(path, {}).keys() - held)]:
            inside = module._buffers if name in module._buffers else vars(module)
            if name not in held:
                inside.pop(name, None)
                module._non_persistent_buffers_set.discard(name)
            elif isinstance(inside.get(name), torch.Generator):
                inside[name].set_state(held[name])
            else:
                inside[name] = copied(held[name])


def copied(value: object) -> object:
    """A tensor's numbers as they are now; not of one that a step alone has."""
    is_free = isinstance(value, Tensor) and value.grad_fn is None
    return value.clone() if is_free else value


def kept_outside(network: nn.Module) -> Kept:
    """What the modules hold that is in no state dict; of random generators their states."""
    found: Kept = {}
    of_torch = vars(nn.Module()).keys()
    for path, module in network.named_modules():
        held = found[path] = {}
        passing = {name: module.get_buffer(name) for name in module._non_persistent_buffers_set}
        for name, value in {**vars(module), **passing}.items():
            if name in of_torch:
                continue
            if isinstance(value, torch.Generator):
                value = value.get_state()
            held[name] = copied(value)
    return found


def is_plain(value: object) -> bool:
    """Whether it is a number, or a tensor that is not of one step alone."""
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.grad_fn is None)


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
    """Tells where layers with weights run in another order than that of their declaration."""
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


def tell_of_weights(network: nn.Module, name: str, has_muon: bool) -> None:
    """Tells of matrices and filters that are trained or recorded unlike others; not of the last."""
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
            f"of no nn.Conv2d, CustomConv or nn.Linear: {'not trained by Muon, ' * has_muon}no "
            "gradients on record; which layer is the first and which the last goes by the others",
        ),
        (computed if has_muon else [], "what weights are computed from: not trained by Muon"),
    ):
        if left:
            tell_once(f"{name}: {few(left, 3)}: {text}")


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


def check_shared(run: Run, network: nn.Module, before: Mapping[str, Tensor]) -> None:
    """No other network holds what has changed ``before`` training and now.

    Raises: UserError naming what is made once for all of them.
    """
    with torch.random.fork_rng(devices=[]):
        others = {*held_by(models.build(run.network, **run.overrides)).values()}
    now = held_by(network)
    common = [name for name in before if name in now and now[name] in others]
    if shared := [name for name in common if not now[name].equal(before[name])]:
        raise UserError(
            f"{run.network}: {few(shared)}: made once for all networks, as a default argument is, "
            "so that each would begin with what the one before has learned; make it in __init__, "
            "in models/, or have it in eval mode where it is not trained"
        )


def held_by(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by their names."""
    return dict(itertools.chain(network.named_parameters(), network.named_buffers()))

"""Trial: whatever a run will ask of its network, asked of it untrained, before hours are spent."""

import copy
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import safetensors.torch
import torch
from torch import Tensor, nn

from utils.data.batches import normalise
from utils.data.dataset import TENSORS, Dataset, held_out
from utils.errors import UserError, few, in_one_line, last_line
from utils.experiment import Run
from utils.machine import product_type
from utils.measuring.computes import filled
from utils.measuring.habits import (
    PASSES,
    SHOWN,
    Kept,
    check_shared,
    check_trained,
    held_by,
    kept_outside,
    modules_of,
    tell_of_memory,
    tell_of_order,
    tell_of_seeds,
    tell_of_weights,
)
from utils.measuring.probes import probe, tell_once
from utils.measuring.sizes import sizes
from utils.records.runs import changes
from utils.records.schema import STRANGE
from utils.settings import check_settings, process_settings
from utils.training.checkpoint import shapes, weights_of
from utils.training.loop import build_network, train_step, weight_layers
from utils.training.optimizers import build_optimizers

IMAGES = 4

log = logging.getLogger(__name__)


def try_out(run: Run, dataset: Dataset, weights: bool = False) -> None:
    """Builds the run's network, looks into it with a few images and makes training steps.

    What cannot be seen of it is told, and will be left out of the record: see ``probe``; and so
    are its habits, as far as it can be trained with them.
    Raises: UserError for a network that cannot be trained, or whose ``weights`` cannot be kept.
    """
    settings = process_settings()
    some = replace(dataset, **{name: getattr(dataset, name)[:IMAGES] for name in TENSORS})
    try:
        network = build_network(run)
        images = normalise(some.x_train, some)
        begun, remembered = state_of(network), kept_outside(network)
        check_forward(network, run.network, some)
        check_layers(network, run.network)
        tell_of_order(network, run.network, images)
        tell_of_weights(network, run.network, run.recipe.muon_rate > 0)
        tell_of_seeds(run)
        before = {name: each.clone() for name, each in held_by(network).items()}
        with modules_of(network, run.network):
            make_steps(run, network, dataset, remembered)
        check_shared(run, network, before)
        check_state(network, run.network, begun)
        shown = normalise(dataset.x_train[: PASSES * SHOWN], dataset)
        check_trained(network, run.network, shown)
        if weights:
            kept = safetensors.torch.load(weights_of(network))
            check_loads(network, run.network, kept, "as --weights keeps it", ", or leave it out")
        check_built(run, some.x_test.shape[1:])
        check_settings(run.network, settings)
        probe(network, some, run.network)  # last: torch.fx may leave something of its own in it
    except UserError:
        raise
    except Exception as error:  # anything that one's own network may raise
        how = "mend it in models/, or its row in experiments/"
        if "view size is not compatible" in str(error):
            how = "maps have their channels last in memory here: flatten them with .flatten(1)"
        elif "uninitialized parameter" in str(error):
            how = "call it once with zeros in its constructor, for its lazy layers"
        elif run.compute.precision == "bfloat16":
            how += ", or leave out --precision bfloat16"
        what = f"{run.network}: cannot be trained on {dataset.description}"
        raise UserError(f"{what} ({in_one_line(error)}); {how}") from error


@torch.no_grad()  # what a network keeps from its first call may be trained with later
def check_forward(network: nn.Module, name: str, some: Dataset) -> None:
    """The network takes images and puts out logits, which depend on each image alone.

    Raises: UserError where it does not.
    """
    if any(each is not network for each in (network.train(), network.eval())):
        raise UserError(f"{name}: its train() or eval() does not end with return self")
    images, begun, answers = normalise(some.x_train, some), state_of(network), []
    with filled(network) as fill:
        with modules_of(network, name):
            output = network(images)
        check_state(network, name, begun)
        check_untouched(images, normalise(some.x_train, some), name)
        check_outputs(output, name, some)
        for _ in range(2):
            answers.append(check_answers(network, images, name))
            fill(1)  # a head or branches that begin with zeros hide what the others do
    tell_of_probabilities(answers, name)


def make_steps(run: Run, network: nn.Module, dataset: Dataset, remembered: Kept) -> None:
    """Training steps with batches as the run has them last in each epoch; tells of its memory.

    ``remembered`` is what it was built with, in no state dict.

    Raises: UserError where that batch is no whole one, and the step fails.
    """
    images = len(dataset.x_train) - (held_out(dataset) if run.part != "train" else 0)
    batch_size = min(run.recipe.batch_size, images)
    last = images % batch_size or batch_size
    optimizers = build_optimizers(network, run.recipe, product_type(run.compute))

    def step(count: int) -> None:
        batch = normalise(dataset.x_train[:count], dataset), dataset.y_train[:count]
        smoothing = run.recipe.label_smoothing
        train_step(network.train(), *batch, optimizers, run.compute, smoothing)

    try:
        step(last)
        step(last)
    except Exception as error:  # as above
        if last == batch_size:
            raise
        step(batch_size)  # where this fails too it is not for the last batch
        raise UserError(
            f"{run.network}: cannot be trained on a batch of {last} ({in_one_line(error)}), which "
            f"is the last of {images} images in batches of {batch_size}; mend it in models/, or "
            "give its recipe another batch_size"
        ) from error
    tell_of_memory(network, run.network, normalise(dataset.x_train[:last], dataset), remembered)


def check_outputs(first: object, name: str, dataset: Dataset) -> None:
    """One number for each image and class.

    Raises: UserError where there is something else.
    """
    found = list(first.shape) if isinstance(first, Tensor) else f"a {type(first).__name__}"
    expected = [len(dataset.x_train), len(dataset.classes)]
    if found != expected:
        raise UserError(
            f"{name}: puts out {found} for {expected[0]} images, expected {expected}: a number for "
            "each class; mend its forward in models/"
        )


def check_untouched(images: Tensor, shown: Tensor, name: str) -> None:
    """The images are still what was ``shown``.

    Raises: UserError where the network has changed them.
    """
    if not torch.equal(images, shown):
        raise UserError(
            f"{name}: changes the images that it is given, in place; mend it in models/, as in "
            "x = x - 0.5 for x.sub_(0.5)"
        )


def check_answers(network: nn.Module, images: Tensor, name: str) -> Tensor:
    """``[images, classes]``: the same for the same images, an image's alone as among others.

    ``--predict`` and FLOPs have it by itself. It is the last one, which a layer that goes through
    the batch in its order would see others before.
    Raises: UserError where they are not, or there is none.
    """
    first, again = (network(images) for _ in range(2))
    # on a GPU the second call may be another algorithm's; what is not finite is for training
    # to find
    largest = float(first.abs().max())
    tolerated = 0.0 if first.device.type == "cpu" else 0.01 * largest
    if math.isfinite(largest) and not torch.allclose(first, again, rtol=0, atol=tolerated):
        raise UserError(
            f"{name}: puts out something else each time it is shown the same images in eval mode; "
            "mend what it draws or remembers in models/, as in F.dropout(x, p, self.training)"
        )
    try:
        alone = network(images[-1:])
    except Exception as error:  # as above
        raise UserError(
            f"{name}: takes no image by itself ({in_one_line(error)}); a .squeeze() takes the "
            "batch away, .flatten(1) does not"
        ) from error
    if alone.shape != first[-1:].shape:
        raise UserError(
            f"{name}: puts out {list(alone.shape)} for 1 image, expected "
            f"{list(first[-1:].shape)}; a .squeeze() takes the batch away, .flatten(1) does not"
        )
    if (alone - first[-1:]).abs().max() > 0.01 * largest:  # less is rounding
        raise UserError(
            f"{name}: its answer for an image depends on the others of the batch, in eval mode; "
            "attention and recurrent layers need batch_first=True, a softmax its dim=1, a "
            "batch-norm its running statistics"
        )
    return first


def tell_of_probabilities(answers: Sequence[Tensor], name: str) -> None:
    """Tells of a softmax, sigmoid or ReLU at the end; of ``answers`` with other weights each."""
    if all(each.min() >= 0 and each.max() <= 1 and each.max() > 0 for each in answers):
        tell_once(
            f"{name}: puts out nothing below 0 or above 1, as probabilities are; the loss takes "
            "logits: leave out a softmax, sigmoid or ReLU at its end"
        )


def check_layers(network: nn.Module, name: str) -> None:
    """Layers whose gradients can be recorded, by names that tables can show.

    Raises: UserError where there are none, or one with another name.
    """
    if strange := [each for each, _ in network.named_modules() if re.search(f"[{STRANGE}]", each)]:
        raise UserError(
            f"{name}: the name of its layer {strange[0]!r} would break tables and figures; leave "
            "out line breaks, | and $"
        )
    if not weight_layers(network):
        raise UserError(
            f"{name}: trains no convolution and no linear layer, whose gradients a record holds; "
            "build it of nn.Conv2d, CustomConv or nn.Linear"
        )


def check_built(run: Run, image_shape: Sequence[int]) -> None:
    """The same seeds give the same network: a record is of the one that ``models/`` has.

    Raises: UserError where they give another.
    """
    built, again = (sizes(run.network, run.overrides, image_shape) for _ in range(2))
    if built != again:
        what = changes(built["computes"], again["computes"]) or "other weights or sizes"
        raise UserError(
            f"{run.network}: is built otherwise each time from the same seeds ({what}); in models/ "
            "draw with torch.randn and the like, which follow a run's seed, or from a generator "
            "with a seed of its own, as np.random.default_rng(0)"
        )


State = tuple[dict[str, nn.Parameter], dict[str, str]]


def state_of(network: nn.Module) -> State:
    """Its parameters, and the types and shapes of all that a checkpoint keeps."""
    return dict(network.named_parameters()), shapes(network.state_dict())


def check_state(network: nn.Module, name: str, begun: State) -> None:
    """The optimiser knows all parameters, and what is kept will fit into the network again.

    Raises: UserError naming what is otherwise.
    """
    parameters, kept = begun
    for each, parameter in network.named_parameters():
        if parameter is not parameters.get(each):
            raise UserError(
                f"{name}: {each} is made in its forward, where no optimiser knows it; make it in "
                "__init__, in models/"
            )
    now = shapes(network.state_dict())
    for each in now | kept:
        if now.get(each) != kept.get(each):
            what = "changes its shape or type while it is trained"
            raise UserError(
                f"{name}: {each} {what if each in kept else 'is made in its forward'}, and would "
                "not fit into the network again; make it whole in __init__, in models/"
            )
    check_loads(network, name, copy.deepcopy(network.state_dict()), "with which a run goes on")


def check_loads(
    network: nn.Module, name: str, state: Mapping[str, Tensor], what_for: str, else_: str = ""
) -> None:
    """The network takes its own state dict, all of it, from whatever it holds.

    Raises: UserError where it does not.
    """
    why = ""
    try:
        spoil(network)
        network.load_state_dict(state)
        now = network.state_dict()
        if other := [each for each, values in state.items() if not is_same(now[each], values)]:
            why = f"{few(other)} would be otherwise"
    except Exception as error:  # as above
        why = last_line(error)
        if "memory location" in why:
            else_ = f", as with a .clone() of a buffer that is expanded{else_}"
    if why:
        raise UserError(
            f"{name}: does not take its own state dict, {what_for} ({why}); mend it in models/"
            f"{else_}"
        )


@torch.no_grad()
def spoil(network: nn.Module) -> None:
    """Turns every bit in its state dict: there are types without a sum."""
    for values in network.state_dict().values():
        # what is expanded is in no place of its own
        if has_bytes(values) and 0 not in values.stride():
            turned = ~values if values.dtype == torch.bool else ~bytes_of(values)
            values.copy_(turned.view(values.dtype).view(values.shape))


def is_same(one: Tensor, other: Tensor) -> bool:
    """Whether all bits are equal; what is sparse or quantised is not looked at."""
    return not has_bytes(one) or torch.equal(bytes_of(one), bytes_of(other))


def has_bytes(values: Tensor) -> bool:
    """Whether there is a number in memory for each that it has."""
    return values.layout == torch.strided and not values.is_quantized


def bytes_of(values: Tensor) -> Tensor:
    """``[bytes]``"""
    return values.reshape(-1).contiguous().view(torch.uint8)


def failing(tries: Mapping[str, Callable[[], object]]) -> list[str]:
    """The names of those that raise something, each with a line."""
    failed = []
    for name, action in tries.items():
        try:
            action()
        except Exception as error:  # as above
            log.error("%s: cannot be measured (%s)", name, in_one_line(error))
            failed.append(name)
    return failed

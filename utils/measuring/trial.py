"""Trial: whatever a run will ask of its network, asked of it untrained, before hours are spent."""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

import models
from utils.data.batches import normalise
from utils.data.dataset import TENSORS, Dataset, held_out
from utils.data.sources import OFFICIAL
from utils.errors import UserError, in_one_line
from utils.experiment import Run
from utils.machine import product_type
from utils.measuring.probes import probe, sizes, tell_once
from utils.records.runs import Found, differences
from utils.records.schema import STRANGE
from utils.training.checkpoint import shapes, weights_of
from utils.training.loop import build_network, train_step, weight_layers
from utils.training.optimizers import build_optimizers

IMAGES = 4

log = logging.getLogger(__name__)


def try_out(run: Run, dataset: Dataset, weights: bool = False) -> None:
    """Builds the run's network, looks into it and makes training steps, with a few images.

    What cannot be seen of it is told, and will be left out of the record: see ``probe``. So is
    what it remembers and no checkpoint keeps, and where its layers are not in order or all seeds
    begin alike.
    Raises: UserError for a network that cannot be trained, or whose ``weights`` cannot be kept.
    """
    settings = process_settings()
    few = replace(dataset, **{name: getattr(dataset, name)[:IMAGES] for name in TENSORS})
    try:
        network = build_network(run)
        state, parameters = shapes(network.state_dict()), dict(network.named_parameters())
        check_outputs(network, run.network, few)
        tell_of_order(network, run.network, normalise(few.x_train, few))
        tell_of_seeds(run)
        optimizers = build_optimizers(network, run.recipe, product_type(run.compute))
        step = partial(train_step, network.train(), optimizers=optimizers, compute=run.compute)
        images = normalise(few.x_train, few)
        for _ in range(2):  # what is made in the first and kept is no change
            before = kept_outside(network)
            step(images, few.y_train, label_smoothing=run.recipe.label_smoothing)
        after = kept_outside(network)
        if changed := [name for name in after if not same(before.get(name), after[name])]:
            tell_once(
                f"{run.network}: {', '.join(changed)}: changes in training, and is in no "
                "checkpoint: a run that is interrupted goes on without it; keep it in a buffer"
            )
        for name, parameter in network.named_parameters():
            if parameter is not parameters.get(name):
                raise UserError(
                    f"{run.network}: {name} is made in its forward, where no optimiser knows it; "
                    "make it in __init__, in models/"
                )
        if shapes(network.state_dict()) != state:
            raise UserError(
                f"{run.network}: a buffer changes its shape while it is trained, and would not fit "
                "into the network again; mend it in models/"
            )
        if weights:
            weights_of(network)
        if changed := [
            name for name, value in settings.items() if process_settings()[name] != value
        ]:
            raise UserError(
                f"{run.network}: changes torch's {changed[0]}, which is for all networks of the "
                "command; leave that out of models/"
            )
        check_last_batch(run, dataset, lambda: step(images[:1], few.y_train[:1]))
        sizes(run.network, run.overrides, few.x_test.shape[1:])
        probe(
            network, few, run.network
        )  # last: torch.fx may leave something of its own in a buffer
    except UserError:
        raise
    except Exception as error:  # anything that one's own network may raise
        how = "mend it in models/, or its overrides in experiments/"
        if "view size is not compatible" in str(error):
            how = "maps have their channels last in memory here: flatten them with .flatten(1)"
        what = f"{run.network}: cannot be trained on {dataset.description}"
        raise UserError(f"{what} ({in_one_line(error)}); {how}") from error


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
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return type(first) is type(second) and first == second


def check_last_batch(run: Run, dataset: Dataset, step: Callable[[], object]) -> None:
    """A batch-norm of single numbers has nothing to average over in a batch of one image.

    ``step`` is one with such a batch. Raises: UserError where the run has one, and it fails.
    """
    images = len(dataset.x_train) - (held_out(dataset) if run.part != "train" else 0)
    size = run.recipe.batch_size
    if 1 not in (size, images % size):
        return
    try:
        step()
    except Exception as error:  # as above
        raise UserError(
            f"{run.network}: cannot be trained on a single image ({in_one_line(error)}), and "
            f"{images} images in batches of {size} come to one; give its recipe another batch_size"
        ) from error


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


@torch.no_grad()  # what a network keeps from its first call may be trained with later
def check_outputs(network: nn.Module, name: str, dataset: Dataset) -> None:
    """One number for each image and class, and layers whose gradients can be recorded.

    Raises: UserError where there is something else.
    """
    first, again = (network.eval()(normalise(dataset.x_train, dataset)) for _ in range(2))
    found = list(first.shape) if isinstance(first, Tensor) else f"a {type(first).__name__}"
    expected = [len(dataset.x_train), len(dataset.classes)]
    if found != expected:
        raise UserError(
            f"{name}: puts out {found} for {expected[0]} images, expected {expected}: a number for "
            "each class; mend its forward in models/"
        )
    # on a GPU the second call may be another algorithm's; what is not finite is for training
    # to find
    largest = float(first.abs().max())
    tolerated = 0.0 if first.device.type == "cpu" else 0.01 * largest
    if math.isfinite(largest) and not torch.allclose(first, again, rtol=0, atol=tolerated):
        raise UserError(
            f"{name}: puts out something else each time it is shown the same images in eval mode; "
            "mend what it draws in models/, as in F.dropout(x, p, self.training)"
        )
    if strange := [each for each, _ in network.named_modules() if re.search(f"[{STRANGE}]", each)]:
        raise UserError(
            f"{name}: the name of its layer {strange[0]!r} would break tables and figures; leave "
            "out line breaks, | and $"
        )
    if not weight_layers(network):
        raise UserError(
            f"{name}: has no convolution and no linear layer, whose gradients a record holds; "
            "build it of nn.Conv2d, CustomConv or nn.Linear"
        )


@torch.no_grad()
def tell_of_order(network: nn.Module, name: str, images: Tensor) -> None:
    """Tells where layers with weights run in another order than that of their declaration."""
    called: dict[str, None] = {}  # in the order of the first calls
    hooks = [
        network.get_submodule(layer).register_forward_pre_hook(
            lambda *_, layer=layer: called.setdefault(layer)
        )
        for layer in weight_layers(network)
    ]
    network.eval()(images)
    for hook in hooks:
        hook.remove()
    declared = [layer for layer in weight_layers(network) if layer in called]
    for early, late in zip(called, declared, strict=True):
        if early != late:
            return tell_once(
                f"{name}: {early} runs before {late} and is declared behind it: what is called the "
                "first and the last layer, and what Muon trains, goes by declaration; declare "
                "layers in the order in which they run"
            )


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
            f"{run.network}: begins alike with every seed, so that ± says little; leave "
            "torch.manual_seed out of models/"
        )


def check_sizes(found: Sequence[Found]) -> None:
    """Records are of the networks that ``models/`` has now, by their parameters and FLOPs.

    Raises: UserError naming the first that is not.
    """
    now: dict[tuple[str, ...], dict[str, int]] = {}  # many records are of one network
    for each in found:
        record, overrides = each.record, each.row.overrides
        key = (record.dataset, record.network, str(dict(overrides)))
        if key not in now:
            height, width, *channels = OFFICIAL[record.dataset].image_shape
            try:
                shape = (*(channels or [1]), height, width)
                now[key] = sizes(record.network, overrides, shape)
            except Exception as error:  # as above
                raise UserError(
                    f"{each.path}: its network cannot be built any more ({in_one_line(error)}); "
                    "mend it in models/, or its row in experiments/"
                ) from error
        of_record = record.model_dump(include=set(now[key]), exclude_none=True)
        if text := differences(of_record, now[key]):
            raise UserError(
                f"{each.path}: {text}, by the network as it is now; delete it and run the script "
                "again"
            )

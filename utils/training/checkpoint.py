"""What the next epoch depends on, on disk after each finished epoch.

An interrupted run that finds its checkpoint goes on from there and ends with the record of an
uninterrupted one, to the last bit: weights, optimiser, schedule and the state of every random
generator are kept.
"""

import logging
import pickle
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from utils.errors import UserError
from utils.records.files import write_atomically
from utils.records.schema import Environment, Epoch

log = logging.getLogger(__name__)

CONTENTS = (
    "identity",
    "network",
    "optimizers",
    "schedules",
    "random",
    "environments",
    "history",
    "seconds",
)

# what torch.load raises for files that are not whole, or not its own
UNREADABLE = (
    OSError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    pickle.UnpicklingError,
)


@dataclass
class TrainingState:
    """A run between two epochs."""

    identity: Mapping[str, Any]  # which run it is, and the fingerprint of its images
    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]  # of each optimiser
    generator: torch.Generator  # draws the order of the images and their augmentation
    device: torch.device
    environments: list[Environment]  # where it was begun, and where it was gone on with
    history: list[Epoch] = field(default_factory=list)  # one entry per finished epoch
    seconds: list[float] = field(default_factory=list)  # likewise


def save_checkpoint(path: Path, state: TrainingState) -> None:
    """Writes the state atomically."""
    content = {
        "identity": state.identity,
        "network": state.network.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "schedules": [schedule.state_dict() for schedule in state.schedules],
        "random": random_states(state.generator, state.device),
        "environments": [each.model_dump() for each in state.environments],
        "history": [each.model_dump() for each in state.history],
        "seconds": state.seconds,
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Puts ``state`` where the checkpoint was taken; leaves it alone where there is none.

    A checkpoint that cannot be read, or that is of another recipe or dataset, is passed over
    with a warning: the run starts anew.
    Raises: UserError where it is of this run but not of this network.
    """
    if not path.exists():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        kept = {key: content[key] for key in CONTENTS}
    except UNREADABLE as error:
        log.warning("%s cannot be read (%s): starting anew", path, type(error).__name__)
        return
    if kept["identity"] != state.identity:
        log.warning("%s is of another recipe or dataset: starting anew", path)
        return
    try:
        state.network.load_state_dict(kept["network"])
        for part in ("optimizers", "schedules"):
            for each, content in zip(getattr(state, part), kept[part], strict=True):
                each.load_state_dict(content)
    except UNREADABLE as error:
        raise misfit(path) from error
    set_random_states(kept["random"], state.generator, state.device)
    state.history = [Epoch(**each) for each in kept["history"]]
    state.seconds = kept["seconds"]
    environments = [Environment(**each) for each in kept["environments"]]
    if environments[-1] != state.environments[0]:
        log.warning("begun with other threads, versions or processor: the record names both")
        environments.append(state.environments[0])
    state.environments = environments
    log.info("continuing after epoch %d", len(state.history))


def save_weights(path: Path, network: nn.Module) -> None:
    """Writes all parameters and buffers as safetensors, under their names in the state dict."""
    tensors = {
        # in the usual order of dimensions, whatever it is in memory while training
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    content = safetensors.torch.save(tensors)  # save_file would let nobody else read the file
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def misfit(path: Path) -> UserError:
    """The error for a checkpoint that can be read, but not be gone on from."""
    return UserError(
        f"{path}: does not fit the network, which has changed since; delete it to start anew"
    )


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch on all devices, and has cuDNN choose repeatable kernels.

    Its float32 is that of the processor: not TF32, whose products have ten significant bits.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states(generator: torch.Generator, device: torch.device) -> dict[str, Any]:
    """The state of every generator that a run may draw from, as plain numbers and tensors."""
    kind, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    states = {
        "order": generator.get_state(),
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "python": (version, list(internal), gauss),
    }
    if device.type != "cpu":
        states["device"] = getattr(torch, device.type).get_rng_state()
    return states


def set_random_states(
    states: Mapping[str, Any], generator: torch.Generator, device: torch.device
) -> None:
    """The inverse of ``random_states``."""
    generator.set_state(states["order"])
    torch.set_rng_state(states["torch"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type != "cpu":
        getattr(torch, device.type).set_rng_state(states["device"])

"""What the next epoch depends on, on disk after each finished epoch.

    SHA-256 of the rest | identity, network, optimisers, schedules, random generators, history

An interrupted run that finds its checkpoint goes on from there and ends with the record of an
uninterrupted one, to the last bit. A checkpoint that is not what was written is set aside, and the
run starts anew; one that another command goes on from is never overwritten.
"""

import contextlib
import errno
import hashlib
import io
import logging
import os
import pickle
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from utils.errors import UserError
from utils.records.files import cannot_read, read_record, write_atomically
from utils.records.runs import CHECKPOINT, changes, differences
from utils.records.schema import Computes, Environment, Epoch, Record
from utils.training.optimizers import HiddenMuon, as_matrix

log = logging.getLogger(__name__)

DIGEST_BYTES = 32

# what is raised for contents that are not whole, or not ours
UNREADABLE = (
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    EOFError,
    pickle.UnpicklingError,
)


class DamagedError(Exception):
    """A file that is not what was written."""


@dataclass
class TrainingState:
    """A run between two epochs."""

    identity: Mapping[str, Any]  # which run it is, and the fingerprint of its images
    network: nn.Module
    layers: Mapping[str, list[int]]  # whose gradients are recorded, also where some freeze later
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]  # of each optimiser
    generator: torch.Generator  # draws the order of the images and their augmentation
    device: torch.device
    environments: list[Environment]  # where it was begun, and where it was gone on with
    history: list[Epoch] = field(default_factory=list)  # one entry per finished epoch
    seconds: list[float] = field(default_factory=list)  # likewise
    computes: Computes | None = None  # what the network does, as far as that is known
    weights: bool = False  # whether they are to be kept at the end


def save_checkpoint(path: Path, state: TrainingState) -> None:
    """Writes the state atomically."""
    content = {
        "identity": state.identity,
        "computes": state.computes and state.computes.model_dump(),
        "network": state.network.state_dict(),
        "trained": [parameter.requires_grad for parameter in state.network.parameters()],
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "schedules": [schedule.state_dict() for schedule in state.schedules],
        "random": random_states(state.generator, state.device),
        "environments": [each.model_dump() for each in state.environments],
        "history": [each.model_dump() for each in state.history],
        "seconds": state.seconds,
        "weights": state.weights,
    }
    write_state(path, content)


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Puts ``state`` where the checkpoint was taken; leaves it alone where there is none.

    Raises: UserError as ``find_checkpoint`` does, and for one that does not fit the network.
    """
    try:
        kept = find_checkpoint(path, state.identity)
    except DamagedError as error:
        set_aside(path, error)
        return
    if kept is None:
        return
    try:
        check_shapes(kept, state)
        if kept.get("computes") and (text := changes(Computes(**kept["computes"]), state.computes)):
            raise ValueError(text)
        state.network.load_state_dict(kept["network"])
        trained = kept.get("trained", ())  # earlier versions had none
        for parameter, is_trained in zip(state.network.parameters(), trained, strict=False):
            parameter.requires_grad_(is_trained)
        for part in ("optimizers", "schedules"):
            for each, content in zip(getattr(state, part), kept[part], strict=True):
                each.load_state_dict(content)
        set_random_states(kept["random"], state.generator, state.device)
        state.history = [Epoch(**each) for each in kept["history"]]
        state.seconds = kept["seconds"]
        environments = [Environment(**each) for each in kept["environments"]]
        elsewhere = environments[-1] != state.environments[0]
    except UNREADABLE as error:
        raise UserError(
            f"{path}: does not fit the network, which has changed since; --fresh trains it anew"
        ) from error
    if elsewhere:
        log.warning("begun with other threads, versions or processor: the record names both")
        environments.append(state.environments[0])
    state.environments = environments
    log.info("continuing after epoch %d", len(state.history))


def find_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept of the run of this identity; None where there is nothing.

    An identity without a device, say, is of any.

    Raises: DamagedError; UserError for a file that may not be read, and for another run's, with
    the flags that go on with that one.
    """
    content = read_state(path)
    if content is None:
        return None
    if not isinstance(content, dict) or "identity" not in content:
        raise DamagedError("not a checkpoint")
    asked = {**content["identity"], **identity}
    if asked != content["identity"]:
        raise UserError(f"{path}: {way_on(content['identity'], asked)}")
    return content


def way_on(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """In what an unfinished run differs from the one asked for, and how to go on with it."""
    found, wanted = (
        {**each, **each["recipe"], "recipe": None, "fingerprint": each["fingerprint"][:12]}
        for each in (begun, asked)
    )
    flags = {
        "epochs": f"--epochs {found['epochs']}",
        "precision": f"--precision {found['precision']}",
        "device": f"--device {found['device']}",
        "fingerprint": "the --data-dir of its images",
    }
    changed = [key for key in found | wanted if found.get(key) != wanted.get(key)]
    if flags.keys() >= set(changed):
        how = f"it goes on with {' and '.join(flags[key] for key in changed)}"
    elif {"network", "dataset", "seed"} & set(changed):  # which are in its name
        how = "it is another run's under this one's name"
    else:
        how = "its declaration has changed since"
    return f"an unfinished run with {differences(found, wanted)}; {how}; --fresh trains it anew"


def check_shapes(kept: Mapping[str, Any], state: TrainingState) -> None:
    """Every tensor has the shape that it has in this network and its optimisers.

    torch takes a momentum of any, and then writes beyond its end. Raises: ValueError.
    """
    if shapes(kept["network"]) != shapes(state.network.state_dict()):
        raise ValueError("network")
    for optimizer, content in zip(state.optimizers, kept["optimizers"], strict=True):
        weights = [each for group in optimizer.param_groups for each in group["params"]]
        as_they_step = map(as_matrix, weights) if isinstance(optimizer, HiddenMuon) else weights
        for number, weight in enumerate(as_they_step):
            for name, value in content["state"].get(number, {}).items():
                is_count = name == "step" and (isinstance(value, int) or value.dim() == 0)
                if not (is_count or (value.is_floating_point() and value.shape == weight.shape)):
                    raise ValueError(f"{name} of weight {number}")


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name -> type and shape, as in "float32 [32, 3, 3, 3]"."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
        for name, tensor in tensors.items()
    }


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Writes plain values and tensors atomically, behind their checksum."""
    file = io.BytesIO()  # what torch.save says of a full disk is not that
    torch.save(content, file)
    digest = hashlib.sha256(file.getbuffer()).digest()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as out:
            out.write(digest)
            out.write(file.getbuffer())

    write_atomically(path, write)


def read_state(path: Path) -> Any:  # noqa: ANN401 (whatever was written)
    """What ``write_state`` wrote, on the CPU; None where there is no file.

    Raises: DamagedError; UserError for a file that may not be read.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a file")
        written = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        if path.is_symlink():
            raise UserError(
                f"{cannot_read(path, 'a broken link')}, or --fresh trains anew"
            ) from error
        return None
    except OSError as error:
        raise UserError(f"{cannot_read(path, error.strerror)}, or --fresh trains anew") from error
    digest, content = written[:DIGEST_BYTES], written[DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedError("not what was written")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise DamagedError(type(error).__name__) from error


def set_aside(path: Path, reason: object) -> None:
    """Keeps a damaged file under another name, and says so."""
    kept = path.with_suffix(".damaged")
    if kept.is_dir():
        raise UserError(f"{kept}: a folder, where {path.name} is to be kept; move it away")
    os.replace(path, kept)
    log.warning("%s is damaged (%s): starting anew, it is kept as %s", path, reason, kept.name)


def drop_finished(runs: Path) -> None:
    """Deletes the checkpoints below a folder whose runs have their record: a kill came between.

    Not one beside a record that cannot be read: it may be all that is left of the run.
    """
    for path in list(runs.rglob(f"*{CHECKPOINT}")):
        record = path.with_name(f"{path.name.removesuffix(CHECKPOINT)}.json")
        with contextlib.suppress(UserError):
            if record.exists() and read_record(record, Record):
                path.unlink(missing_ok=True)


def weights_of(network: nn.Module) -> bytes:
    """All parameters and buffers as safetensors, under their names in the state dict.

    The parameters as they are trained, where eval mode has others in their place.
    """
    tensors = tensors_of(network)
    evaluated = [parameter.detach().clone() for parameter in network.parameters()]
    if not all(map(torch.equal, evaluated, network.train().parameters())):
        tensors = tensors_of(network)
    return safetensors.torch.save(tensors)  # save_file would let nobody else read the file


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Name in the state dict -> copy, on the processor.

    In the usual order of dimensions, whatever it is in memory while training; each by itself, as
    safetensors will have no two that are tied.
    """
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch on all devices, and has cuDNN choose repeatable kernels.

    Its float32 is that of the processor: not TF32, whose products have ten significant bits.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for each in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        if each.fp32_precision == "tf32":  # of torch.backends.fp32_precision, which goes on
            each.fp32_precision = "ieee"
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

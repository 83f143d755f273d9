"""Time to the report's accuracy: the trainings and the measurements, each into a record of its own.

    declared network --longer and longer schedules--> ours.json --usual loop--> usual.json
                     --segments of both epochs in turn, on an idle machine--> seconds.json

What is finished is on disk at once; what is on disk is not made again.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.accuracy_records import (
    Record,
    Row,
    declared,
    is_finished,
    next_epochs,
    read_part,
)
from benchmarks.idleness import BUSY, others_running
from benchmarks.step_actions import OurLoop, whole_cycles
from benchmarks.timing import Effort, Staged, in_turn
from benchmarks.trials import held_out
from benchmarks.usual_loop import PREFETCHED, UsualLoop
from benchmarks.usual_process import UsualProcess
from utils.data.batches import augmented_views, steps_per_epoch
from utils.data.dataset import Dataset, load_dataset, load_quick_dataset
from utils.experiment import Run
from utils.records.environment import environment
from utils.records.files import SCHEMA, write_atomically, write_json
from utils.training.checkpoint import UNREADABLE, misfit, seed_everything
from utils.training.loop import Compute, evaluate, train
from utils.training.progress import Progress


@dataclass(frozen=True)
class Place:
    """Where the records go, how they are made, and what is made again."""

    folder: Path
    compute: Compute
    most_epochs: int  # that either side may take
    effort: Effort
    again: bool = False  # whether what was measured is measured again


@dataclass(frozen=True)
class Data:
    """The images of one dataset in three parts, on the training device."""

    held_out: Dataset  # what is trained on, with the validation images as its test split
    whole: Dataset  # its test split is the real one

    def facts(self) -> dict[str, Any]:
        """What a record says about them."""
        return {
            "description": self.whole.description,
            "fingerprint": self.whole.fingerprint,
            "synthetic": self.whole.synthetic,
            "train_images": len(self.held_out.x_train),
            "validation_images": len(self.held_out.x_test),
            "test_images": len(self.whole.x_test),
        }


class Bar(Progress):
    """The bar alone: the accuracies are told once, when the training is over."""

    def epoch(self, run: Run, entry: Record) -> None:
        """Says nothing: what ``train`` calls the test split are the validation images here."""


def load(name: str, data_dir: Path, quick: bool, device: torch.device) -> Data:
    """A dataset with 5,000 of its train images held out; the few of ``--quick`` have none to spare,
    and are tested on what they are chosen by.
    """
    if quick:
        data = load_quick_dataset(name).to(device)
        return Data(data, data)
    data = load_dataset(name, data_dir).to(device)
    return Data(held_out(data), data)


def train_row(row: Row, data: Data, place: Place) -> None:
    """Makes what is missing of both sides' trainings."""
    train_ours(row, data, place)
    train_usual(row, data, place)


def train_ours(row: Row, data: Data, place: Place) -> None:
    """Longer and longer schedules until one passes; each is written as soon as it is trained."""
    path, compute = row.path(place.folder, "ours"), place.compute
    facts = declared(row, "ours", place.most_epochs) | conditions(data, compute)
    record = read_part(path, facts) or new_record(facts)
    while epochs := next_epochs(record["tried"], row.target, place.most_epochs):
        network = train_schedule(row.run, epochs, data.held_out, compute, path)
        add(record, epochs, network, data, compute.device)
        write_json(path, record)


def train_schedule(
    run: Run, epochs: int, dataset: Dataset, compute: Compute, path: Path
) -> nn.Module:
    """The study's training with this many epochs, from scratch; returns the network."""
    run = replace(run, recipe=replace(run.recipe, epochs=epochs))
    steps = epochs * steps_per_epoch(len(dataset.x_train), run.recipe)
    progress = Bar([steps])
    progress.start(run, steps, steps)
    checkpoint = path.with_name(f"{path.stem}-{epochs}.checkpoint.pt")
    _, _, network = train(run, dataset, compute, checkpoint, progress)
    progress.close()
    checkpoint.unlink(missing_ok=True)
    return network


def train_usual(row: Row, data: Data, place: Place) -> None:
    """One training until an epoch passes; goes on after the last epoch that is on record."""
    path, device = row.path(place.folder, "usual"), place.compute.device
    facts = declared(row, "usual", place.most_epochs)
    facts |= conditions(data, Compute(device, "float32"))
    record = read_part(path, facts)
    if is_finished(record):
        return
    checkpoint = path.with_suffix(".checkpoint.pt")
    seed_everything(row.run.seed)
    loop = UsualLoop(row.run, data.held_out, device)
    if record is None or not resume_usual(loop, checkpoint, len(record["tried"])):
        record = new_record(facts)
    while epochs := next_epochs(record["tried"], row.target, place.most_epochs):
        loop.train_epoch()
        add(record, epochs, loop.network, data, device)
        write_json(path, record)
        save_usual(loop, checkpoint, epochs)
    checkpoint.unlink(missing_ok=True)


def save_usual(loop: UsualLoop, path: Path, epochs: int) -> None:
    """Writes what the next epoch depends on."""
    content = {
        "epochs": epochs,
        "network": loop.network.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def resume_usual(loop: UsualLoop, path: Path, epochs: int) -> bool:
    """Puts the loop behind this many epochs; returns whether the checkpoint is of that moment."""
    if not path.exists():
        return False
    try:
        content = torch.load(path, map_location=loop.device, weights_only=True)
        kept = {key: content[key] for key in ("epochs", "network", "optimizer", "random")}
    except UNREADABLE as error:
        print(f"{path} cannot be read ({type(error).__name__}): starting anew", file=sys.stderr)
        return False
    if kept["epochs"] != epochs:
        return False
    try:
        loop.network.load_state_dict(kept["network"])
        loop.optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"].cpu())
    except UNREADABLE as error:
        raise misfit(path) from error
    return True


def conditions(data: Data, compute: Compute) -> dict[str, Any]:
    """What a record depends on beside what is declared."""
    return {
        "precision": compute.precision,
        "device": compute.device.type,
        "data": data.facts(),
    }


def new_record(facts: Record) -> dict[str, Any]:
    """The record of one side, in which nothing was tried yet."""
    return {"schema": SCHEMA, **facts, "tried": [], "environments": []}


def add(
    record: dict[str, Any], epochs: int, network: nn.Module, data: Data, device: torch.device
) -> None:
    """Notes how accurate a network is after so many epochs, and says it.

    The test accuracy is for the reader: nothing here decides by it.
    """
    held, whole = data.held_out, data.whole
    _, validation, _ = evaluate(network, held.x_test, held.y_test, held)
    _, test, _ = evaluate(network, whole.x_test, whole.y_test, whole)
    record["tried"].append(
        {"epochs": epochs, "validation_accuracy": validation, "test_accuracy": test}
    )
    here = environment(device)
    if here not in record["environments"]:
        record["environments"].append(here)
    print(
        f"{record['experiment']}: {record['model']}, {record['part']}, epochs {epochs}: "
        f"validation {validation:.2%}, test {test:.2%} (report {record['target']:.2%})",
        flush=True,
    )


def measure_row(row: Row, data: Data, place: Place) -> None:
    """Times an epoch of both loops, where that was not done yet or is asked for again."""
    path, compute = row.path(place.folder, "seconds"), place.compute
    facts = declared(row, "seconds", place.most_epochs) | conditions(data, compute)
    if not place.again and read_part(path, facts):
        return
    others = others_running()
    if others >= BUSY:
        print(
            f"warning: {others:.1f} threads of other programs are running: time "
            f"{row.run.model} again with --measure when the machine is idle",
            file=sys.stderr,
        )
    with UsualProcess(torch.get_num_threads(), compute.device) as usual:
        seconds = epoch_seconds(row.run, data.held_out, compute, place.effort, usual)
    measured = {"others_running": others, "environment": environment(compute.device)}
    write_json(path, {"schema": SCHEMA, **facts, **seconds, **measured})
    print(f"{row.run.experiment}: {row.run.model} timed", flush=True)


def epoch_seconds(
    run: Run, dataset: Dataset, compute: Compute, effort: Effort, usual: UsualProcess
) -> dict[str, list[float] | int]:
    """Seconds that an epoch of either loop takes, one number per round, from segments in turn.

    "views": what ours takes before its first epoch. Training alone: neither evaluation nor the
    start of the workers counts.
    """
    usual.take(run, dataset)
    steps = steps_per_epoch(len(dataset.x_train), run.recipe)
    batches = whole_cycles(run, min(effort.batches, steps - PREFETCHED))
    seed_everything(run.seed)
    padded = augmented_views(dataset.x_train, run.recipe)
    actions = {
        "ours": OurLoop(run, dataset, padded, compute, batches, Bar([0.0])),
        "usual": Staged(lambda: usual.running(batches * run.recipe.batch_size)),
        "views": lambda: augmented_views(dataset.x_train, run.recipe),
    }
    seconds = in_turn(actions, effort.rounds)
    views = seconds.pop("views").tolist()  # once, before the first epoch
    scaled = {side: (values * steps / batches).tolist() for side, values in seconds.items()}
    return {**scaled, "views": views, "segment_batches": batches, "epoch_batches": steps}

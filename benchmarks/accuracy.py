"""Time to the report's accuracy: how long this study and the usual loop train until they have it.

    declared networks --train--> epochs --measure, on an idle machine--> seconds --> ratio

Ours is the shortest schedule of 1 to 10 epochs whose accuracy on 5,000 validation images is above
the report's test accuracy; each is a training of its own, since the learning rate ends at zero with
it. The usual loop's rate is constant: one training, until its first epoch that is above it. What is
trained is on disk at once and never trained again: the same command goes on.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import homework_cnn_architecture_analysis
import homework_cnn_vs_fc_comparison
import homework_custom_layers_experiments
from benchmarks import timing
from benchmarks.accuracy_records import (
    MOST_EPOCHS,
    PARTS,
    Record,
    Row,
    check_compute,
    declared_rows,
    read_all,
)
from benchmarks.accuracy_report import NAME, TITLE, draw, markdown, summarise
from benchmarks.accuracy_training import Data, Place, load, measure_row, train_row
from benchmarks.command_line import add_models, check_models, new_parser, tell_if_slower
from benchmarks.timing import Effort, claim_lines
from utils.cli import (
    add_data_dir,
    add_device,
    add_out_dir,
    add_precision,
    add_threads,
    automatic_device,
    check_device,
    check_writable,
    use_threads,
)
from utils.errors import UserError, exit_code
from utils.machine import keep_freed_memory
from utils.recipes import QUICK_EPOCHS, quick
from utils.records.files import write_json
from utils.training.loop import Compute

__all__ = ["NAME", "TITLE", "main", "markdown"]

EXPERIMENTS = (
    *homework_cnn_vs_fc_comparison.EXPERIMENTS,
    *homework_cnn_architecture_analysis.EXPERIMENTS,
    *homework_custom_layers_experiments.EXPERIMENTS,
)
FULL = Effort(rounds=5, batches=24, least_batches=24, segment_flops=0)  # 24 for every network
QUICK_MODELS = ("FCNet", "CNN7x7")
QUICK_TARGET = 0.2  # twice what guessing gets: two epochs on few images pass it, or nearly so


@dataclass(frozen=True)
class Options:
    """What the user asked for, all of it valid."""

    rows: tuple[Row, ...]  # of which trainings are made and timed
    every_row: tuple[Row, ...]  # which are rendered
    data_dir: Path
    out_dir: Path
    device: torch.device | None  # None: that of the records at hand, else automatic
    precision: str | None  # of ours; None: that of the records at hand, else float32
    quick: bool
    trains: bool
    measures: bool
    again: bool  # whether what was measured is measured again

    @property
    def most_epochs(self) -> int:
        """How many epochs either side may take."""
        return QUICK_EPOCHS if self.quick else MOST_EPOCHS

    @property
    def results(self) -> Path:
        """Where the summary goes; the records stand in a folder of it."""
        return self.out_dir / "results" / ("quick/benchmarks" if self.quick else "benchmarks")

    @property
    def records(self) -> Path:
        """Where the records of the rows go."""
        return self.results / NAME

    @property
    def plots(self) -> Path:
        """Where figures go."""
        return self.out_dir / "plots" / "quick" if self.quick else self.out_dir / "plots"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    return exit_code(
        lambda: run_command(parse(argv)), "the same command goes on, what is finished is on record"
    )


def run_command(options: Options) -> None:
    """Trains, measures and renders what was asked for."""
    keep_freed_memory()
    kept = [part for part in PARTS if not (part == "seconds" and options.again)]
    # all fit, those too that are only rendered, before any work
    every_record = read_all(options.every_row, options.records, options.most_epochs, kept)
    if options.trains or options.measures:
        place = make_place(options, every_record)
        compute = place.compute
        check_compute(options.every_row, every_record, compute.precision, compute.device.type)
        tell_if_slower(compute.device, compute.precision)
        make_records(options, place)
    render(options)


def make_records(options: Options, place: Place) -> None:
    """Trains all rows, then times them: what of it was asked for."""
    loaded: dict[str, Data] = {}
    actions = [
        *([train_row] if options.trains else []),
        *([measure_row] if options.measures else []),
    ]
    for action in actions:
        for row in options.rows:
            name = row.run.dataset
            if name not in loaded:
                loaded[name] = load(name, options.data_dir, options.quick, place.compute.device)
            action(row, loaded[name], place)


def make_place(options: Options, records: Sequence[Mapping[str, Record | None]]) -> Place:
    """Where and how all rows are made; ``records`` are those at hand.

    Raises: UserError where these were made on a device that is not here.
    """
    parts = [each.get(part) for each in records for part in ("ours", "seconds")]
    kept = next((record for record in parts if record), {})
    device = check_device(kept["device"]) if kept else automatic_device()
    precision = kept.get("precision", "float32")
    return Place(
        folder=options.records,
        compute=Compute(options.device or device, options.precision or precision),
        most_epochs=options.most_epochs,
        effort=timing.QUICK if options.quick else FULL,
        again=options.again,
    )


def render(options: Options) -> None:
    """Summary and figure; ``benchmarks.bench --render`` puts them into the page and the README."""
    parts = read_all(options.every_row, options.records, options.most_epochs)
    record = summarise(parts, options.quick)
    if record is None:
        print("no network is trained to its end yet: nothing to render")
        return
    write_json(options.results / f"{NAME}.json", record)
    draw(record, options.plots)
    for line in claim_lines(record["claims"]):
        print(line)


def build_parser() -> argparse.ArgumentParser:
    """All flags with their help."""
    parser = new_parser("accuracy", __doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--train",
        action="store_true",
        help="only train what is missing, on a busy machine too (default: then time, on an idle "
        "one, what was not timed yet)",
    )
    what.add_argument(
        "--measure", action="store_true", help="only time all epochs, again where that was done"
    )
    what.add_argument("--no-train", action="store_true", help="only render from the records")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"minutes, no dataset: {' and '.join(QUICK_MODELS)} on few images; the numbers mean "
        "nothing",
    )
    add_models(parser, model_names(declared_rows(EXPERIMENTS)))
    add_data_dir(parser)
    add_out_dir(parser, "results/ and plots/", "the repository")
    add_device(parser)
    add_precision(parser)
    add_threads(parser)
    return parser


def model_names(rows: Sequence[Row]) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(row.run.model for row in rows))


def quick_rows(rows: Sequence[Row]) -> list[Row]:
    """A few of them, with a recipe and a target for few images."""
    return [
        Row(replace(row.run, recipe=quick(row.run.recipe)), QUICK_TARGET)
        for row in rows
        if row.run.model in QUICK_MODELS
    ]


def parse(argv: Sequence[str] | None) -> Options:
    """Command line -> checked options; sets torch's thread count.

    Raises: UserError for the first bad value.
    """
    given = build_parser().parse_args(argv)
    if given.no_train and (given.device or given.precision):
        raise UserError(
            "--no-train renders the records at hand: leave out --device and --precision"
        )
    rows = quick_rows(declared_rows(EXPERIMENTS)) if given.quick else declared_rows(EXPERIMENTS)
    check_models(given.models, model_names(rows))
    use_threads(given.threads)
    options = Options(
        rows=tuple(row for row in rows if not given.models or row.run.model in given.models),
        every_row=tuple(rows),
        data_dir=given.data_dir,
        out_dir=given.out_dir.resolve(),
        device=check_device(given.device),
        precision=given.precision,
        quick=given.quick,
        trains=not (given.measure or given.no_train),
        measures=not (given.train or given.no_train),
        again=given.measure,
    )
    check_writable(options.results)
    check_writable(options.plots)
    return options


if __name__ == "__main__":
    sys.exit(main())

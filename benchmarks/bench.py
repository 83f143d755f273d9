"""Ratios: our training against what most people use, against the bare step and the processor.

    sections --measure--> results/benchmarks/<section>.json --render--> docs/benchmarks.md

Every pair is measured in turn in one run, and every goal stands beside what was reached. Nothing
else should run on the machine meanwhile.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from benchmarks import (
    accuracy_report,
    alternatives,
    elsewhere,
    growth,
    layers,
    precision,
    steps,
)
from benchmarks.command_line import new_parser
from benchmarks.idleness import BUSY, others_running
from benchmarks.timing import FULL, QUICK, Setting, claim_lines
from models.registry import unknown
from utils import REPOSITORY
from utils.cli import (
    add_data_dir,
    add_out_dir,
    add_threads,
    check_device,
    check_writable,
    use_threads,
)
from utils.data.dataset import Dataset, load_dataset, load_quick_dataset
from utils.errors import UserError, exit_code
from utils.machine import keep_freed_memory
from utils.records.environment import environment, machine_name
from utils.records.files import SCHEMA, read_json, write_json, write_text
from utils.report.render import render_readme

# a section has NAME (of its record), TITLE, measure(setting) -> record, markdown(record) -> text,
# and, where it has a figure, draw(record, plots), where the README has a block of it,
# readme(record, plots) -> {name: text}
SECTIONS: tuple[ModuleType, ...] = (steps, alternatives, layers, growth)
TRAINED = (accuracy_report, precision)  # they take hours and are run apart, on several machines
RENDERED = (steps, elsewhere, alternatives, layers, growth, *TRAINED)
NEEDED = ("quick", "environment", "rows", "claims")  # of every section's record
# what rendering raises for a record in which something is missing, or not what it should be
UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What the user asked for, all of it valid."""

    sections: tuple[ModuleType, ...]
    data_dir: Path
    out_dir: Path
    device: torch.device
    threads: int
    quick: bool
    measure: bool

    @property
    def records(self) -> Path:
        """The folder of the records."""
        results = self.out_dir / "results"
        return (results / "quick" if self.quick else results) / "benchmarks"

    @property
    def plots(self) -> Path:
        """The folder that has a folder of figures for us."""
        plots = self.out_dir / "plots"
        return plots / "quick" if self.quick else plots

    @property
    def page(self) -> Path:
        """What is rendered from them; quick numbers never enter the documentation."""
        return (self.records if self.quick else self.out_dir / "docs") / "benchmarks.md"


def build_parser() -> argparse.ArgumentParser:
    """All flags with their help."""
    parser = new_parser("bench", __doc__)
    add_what(parser)
    add_data_dir(parser)
    add_out_dir(parser, "results/, plots/ and docs/", "the repository")
    add_threads(parser)
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)"
    )
    return parser


def add_what(parser: argparse.ArgumentParser) -> None:
    """Flags that choose between sections, and between measuring and rendering."""
    names = ", ".join(section.NAME for section in SECTIONS)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two minutes, no dataset: shows that all of it runs, the numbers mean little; goes to "
        "results/quick/benchmarks/ (default: the full measurement, a quarter of an hour)",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="SECTION", help=f"only these, of: {names} (default: all)"
    )
    parser.add_argument(
        "--render",
        action="store_true",
        help="measure nothing: print and write the tables of the records at hand",
    )


def parse(argv: Sequence[str] | None) -> Options:
    """Command line -> checked options; sets torch's thread count.

    Raises: UserError for the first bad value.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.render and arguments.only:
        raise UserError("--only chooses what is measured; with --render nothing is: leave it out")
    use_threads(arguments.threads)
    options = Options(
        sections=select_sections(arguments.only),
        data_dir=arguments.data_dir,
        out_dir=arguments.out_dir.resolve(),
        device=check_device(arguments.device),
        threads=arguments.threads,
        quick=arguments.quick,
        measure=not arguments.render,
    )
    check_writable(options.records)
    check_writable(options.page.parent)
    return options


def select_sections(names: Sequence[str] | None) -> tuple[ModuleType, ...]:
    """The named sections, in the usual order; all of them without names."""
    known = [section.NAME for section in SECTIONS]
    for name in names or ():
        if name not in known:
            raise UserError(f"--only: {unknown('section', name, known)}")
    return tuple(section for section in SECTIONS if names is None or section.NAME in names)


def run(options: Options) -> None:
    """Measures what was asked for, and renders all records at hand."""
    if options.measure:
        keep_freed_memory()
        log.info("measuring; nothing else should run on this machine meanwhile")
        for section in options.sections:
            measure_section(section, options)
    text, blocks = render(options.records, options.plots)
    if options.out_dir == REPOSITORY and not options.quick:
        render_readme(REPOSITORY / "README.md", blocks)
    write_text(options.page, text)
    print(text)
    log.info("written: %s", options.page)


def measure_section(section: ModuleType, options: Options) -> None:
    """Measures one section and writes its record, which names what else was running before."""
    others = others_running()
    if others >= BUSY:
        log.warning("%.1f threads of other programs are running: wait until they are not", others)
    setting = Setting(
        quick=options.quick,
        effort=QUICK if options.quick else FULL,
        threads=options.threads,
        device=options.device,
        dataset=DatasetLoader(options),
    )
    log.info("measuring: %s", section.TITLE)
    record = section.measure(setting)
    facts = {
        "schema": SCHEMA,
        "quick": options.quick,
        "others_running": others,
        "environment": environment(options.device),
    }
    write_json(options.records / f"{section.NAME}.json", facts | record)


class DatasetLoader:
    """Loads each dataset when it is first asked for, onto the device."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.loaded: dict[str, Dataset] = {}

    def __call__(self, name: str) -> Dataset:
        """The dataset ``"mnist"`` or ``"cifar10"``, or what ``--quick`` has in its place."""
        if name not in self.loaded:
            options = self.options
            full = not options.quick
            data = load_dataset(name, options.data_dir) if full else load_quick_dataset(name)
            self.loaded[name] = data.to(options.device)
        return self.loaded[name]


def render(folder: Path, plots: Path) -> tuple[str, dict[str, str]]:
    """Draws the figures of the records in ``folder``; returns the page and the README's blocks.

    Raises: UserError where there is no record.
    """
    paths = {section: folder / f"{section.NAME}.json" for section in RENDERED}
    records = {section: read_json(path, NEEDED) for section, path in paths.items() if path.exists()}
    if not records:
        raise UserError(f"no records in {folder}; measure first, without --render")
    parts, blocks = [introduction(records.values())], {}
    for section, record in records.items():
        try:
            parts.append(text_of(section, record))
            if hasattr(section, "draw"):
                section.draw(record, plots)
            if hasattr(section, "readme"):
                blocks |= section.readme(record, plots)
        except UNFIT as error:
            raise UserError(
                f"{paths[section]}: cannot be rendered ({type(error).__name__}: {error}), perhaps "
                "of an earlier version; make it again, or delete it"
            ) from error
    return "\n\n".join(parts) + "\n", blocks


def introduction(records: Iterable[Mapping[str, Any]]) -> str:
    """What the page is; of quick numbers that they mean little."""
    quick = any(record["quick"] for record in records)
    return INTRODUCTION + ("\n\n" + QUICK_WARNING if quick else "")


def text_of(section: ModuleType, record: Mapping[str, Any]) -> str:
    """A section of the page: tables, claims beside their goals, and where it was measured."""
    parts = [f"## {section.TITLE}", section.markdown(record).strip()]
    if lines := claim_lines(record["claims"]):
        parts.append("Goals:\n\n" + "\n".join(f"- {line}" for line in lines))
    if section not in TRAINED:  # these say it themselves
        parts.append(f"Measured on {machine(record)}.")
    return "\n\n".join(parts)


INTRODUCTION = """# Benchmarks

How fast the study trains, as ratios: an absolute time says as much about the computer and its
minute as about the code. What is compared had its turn in the same rounds, and the
ratio is the median over the rounds. `make bench` measures the training step, its alternatives, the
custom layers and the growth of cost again, in a quarter of an hour on two cores. The time to the
report's accuracy takes hours of training (`make bench-accuracy`), and so does the comparison of
precisions (`make bench-precision`). The page is written from the records in `results/benchmarks/`;
each section says where it was measured."""
QUICK_WARNING = """**A quick run**, on other images and with hardly any rounds: it shows that all of
it runs. Its numbers mean little, and so do the goals and the reasons beside them."""


def machine(record: Mapping[str, Any]) -> str:
    """Processor, threads, versions."""
    found, others = record["environment"], record.get("others_running", 0.0)
    busy = f", while {others:.1f} threads of other programs ran: in doubt" if others >= BUSY else ""
    return f"{machine_name(found)}, torch {found['torch']}, Python {found['python']}{busy}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with logging_redirect_tqdm():
        return exit_code(lambda: run(parse(argv)), "finished sections are on record")


if __name__ == "__main__":
    sys.exit(main())

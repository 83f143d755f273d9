"""Ratios: our training against what most people use, the bare step and a matrix product.

    sections --measure--> results/benchmarks/<section>.json --render--> docs/speed.md

What is compared has its turn in the same rounds. Nothing else should run on the machine meanwhile.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from benchmarks import jobs, layers, precision, steps, time_to_accuracy
from benchmarks.setting import BUSY, Record, Setting, others_running
from utils.cli import PLACE, OneLineParser, check_writable, number, switch
from utils.data.dataset import Dataset, load_dataset, load_quick_dataset
from utils.errors import UserError, exit_code
from utils.machine import check_device, check_threads, environment, keep_freed_memory, limit_threads
from utils.records.environment import machine_name
from utils.records.files import MISSHAPEN, read_json, write_json, write_text
from utils.records.schema import SCHEMA, Environment

# A section has NAME (of its record), TITLE, measure(setting) -> record, or None where it cannot be
# measured, and markdown(record) -> text.
SECTIONS: dict[str, ModuleType] = {each.NAME: each for each in (steps, layers, jobs)}
# What takes hours of training is a command of its own, with markdown(results, …) -> text (""
# without records); its figure is drawn then. It stands before the sections, or behind.
FIRST, LAST = time_to_accuracy, precision
ROUNDS, QUICK_ROUNDS = 5, 2

log = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """All flags with their help."""
    flags: dict[str, dict[str, Any]] = {
        "--quick": switch(
            "minutes, no dataset: shows that all of it runs; goes to results/quick/benchmarks/ "
            "(default: the full measurement, about an hour)"
        ),
        "--only": {
            "nargs": "+",
            "action": "extend",
            "choices": SECTIONS,
            "metavar": "SECTION",
            "help": f"only these, of: {', '.join(SECTIONS)} (default: all)",
        },
        "--render": switch("measure nothing: print and write the tables of the records at hand"),
        **{flag: PLACE[flag] for flag in ("--data-dir", "--out-dir")},
        "--threads": number("CPU threads (default: torch's own choice)"),
        "--device": {"default": "auto", "help": "auto, cpu, cuda, cuda:N or mps (default: auto)"},
    }
    parser = OneLineParser(__doc__, prog="python -m benchmarks.bench")
    for flag, settings in flags.items():
        parser.add_argument(flag, **settings)
    return parser


def run(argv: Sequence[str] | None) -> None:
    """Measures what was asked for, and renders all records at hand.

    Raises: UserError for the first bad value.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.render and arguments.only:
        raise UserError("--only chooses what is measured; with --render nothing is: leave it out")
    limit_threads()
    if arguments.threads is not None:
        torch.set_num_threads(check_threads(arguments.threads))
    device, below = check_device(arguments.device), "quick" if arguments.quick else ""
    out = arguments.out_dir.resolve()
    results, plots = out / "results" / below, out / "plots" / below
    # quick numbers never enter the documentation
    page = (results / "benchmarks" if arguments.quick else out / "docs") / "speed.md"
    check_writable(results / "benchmarks")
    check_writable(page.parent)
    if not arguments.render:
        keep_freed_memory()
        log.info("measuring; nothing else should run on this machine meanwhile")

        @cache
        def load(name: str) -> Dataset:
            full = not arguments.quick
            data = load_dataset(name, arguments.data_dir) if full else load_quick_dataset(name)
            return data.to(device)

        rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
        setting = Setting(arguments.quick, rounds, device, load)
        for name in [name for name in SECTIONS if name in (arguments.only or SECTIONS)]:
            measure_section(SECTIONS[name], setting, results / "benchmarks")
    text = render(results, plots)
    write_text(page, text)
    print(text)
    log.info("written: %s", page)


def measure_section(section: ModuleType, setting: Setting, folder: Path) -> None:
    """Measures one section and writes its record, which names what else was running before."""
    others = others_running()
    if others >= BUSY:
        log.warning("%.1f threads of other programs are running: wait until they are not", others)
    facts = {
        "schema": SCHEMA,
        "quick": setting.quick,
        "others_running": others,
        "environment": environment(setting.device).model_dump(mode="json"),
    }
    log.info("measuring: %s", section.TITLE)
    if record := section.measure(setting):
        write_json(folder / f"{section.NAME}.json", facts | record)


def render(results: Path, plots: Path) -> str:
    """Draws the figures of the records below ``results``; returns the page.

    Raises: UserError where there is no record, or one that cannot be rendered.
    """
    folder = results / "benchmarks"
    measured: list[str] = []
    for name, section in SECTIONS.items():
        path = folder / f"{name}.json"
        if path.exists():
            record = read_json(path)
            try:
                measured.append(text_of(section, record))
            except MISSHAPEN as error:
                raise UserError(
                    f"{path}: cannot be rendered ({type(error).__name__}: {error}), perhaps of "
                    "an earlier version; measure it again, or delete it"
                ) from error
    parts = [FIRST.markdown(results, plots), *measured, LAST.markdown(results)]
    parts = list(filter(None, parts))
    if not parts:
        raise UserError(f"no records in {folder}; measure first, without --render")
    return "\n\n".join(["# Speed", *parts, METHOD]) + "\n"


def text_of(section: ModuleType, record: Record) -> str:
    """A section of the page, and where it was measured."""
    if record["schema"] != SCHEMA:
        raise ValueError(f"schema {record['schema']}, this version reads {SCHEMA}")
    found, others = Environment.model_validate(record["environment"]), record["others_running"]
    doubts = ["on other images and with hardly any rounds: a quick run"] if record["quick"] else []
    doubts += [f"beside {others:.1f} threads of other programs"] if others >= BUSY else []
    return (
        f"## {section.TITLE}\n\n{section.markdown(record).strip()}\n\nMeasured on "
        f"{machine_name(found)}, torch {found.torch}, Python {found.python}"
        f"{''.join(f', {doubt}' for doubt in doubts)}{': in doubt' if doubts else ''}."
    )


METHOD = """\
## How it is measured

As ratios wherever that can be: an absolute time says as much about the computer as about the code.
What is compared has its turn in the same rounds, of which the first does not count; the ratio is
taken within each, and differences within the quartiles mean nothing. The page is written from the
records in `results/benchmarks/`. `make bench` measures again all that needs no long training, in
about an hour on two idle cores; `make bench-accuracy` and `make bench-precision` train again,
for hours."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with logging_redirect_tqdm():
        return exit_code(lambda: run(argv), "finished sections are on record")


if __name__ == "__main__":
    sys.exit(main())

"""The flags that the three scripts share, checked before any training starts.

A bad value costs one line that says what is allowed, and exit code 2.
"""

import argparse
import importlib.util
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

import models
from utils import REPOSITORY
from utils.errors import UserError
from utils.experiment import Experiment, Precision
from utils.machine import allowed_threads, check_device, check_threads, parse_device
from utils.recipes import QUICK_EPOCHS

MAX_EPOCHS = 10
MAX_JOBS = 256


@dataclass(frozen=True)
class Options:
    """What the user asked for, all of it valid."""

    experiments: tuple[Experiment, ...]
    study: tuple[Experiment, ...]  # these and all others whose records share the folders
    labels: tuple[str, ...] | None  # of rows; None: all of each experiment
    seeds: tuple[int, ...] | None  # None: the declared ones
    epochs: int | None  # None: the declared ones
    data_dir: Path
    out_dir: Path
    device: torch.device | None  # None: automatic
    precision: Precision | None  # None: float32
    quick: bool
    fresh: bool
    measure: bool
    evaluate: bool
    predict: tuple[Path, ...]  # pictures
    train: bool
    weights: bool
    threads: int  # of each run
    jobs: int  # runs at once
    scheduler: str | None = None  # Dask's address; runs are trained by its workers
    worker_device: str = "auto"  # which of their devices these use
    folder: str = ""  # below results/ and plots/, of what is not the study itself

    @property
    def results(self) -> Path:
        """Where records and tables go."""
        return self._below("results") / self.folder

    @property
    def also(self) -> Path | None:
        """Where the study's own records are, which serve others too; None for itself."""
        return self._below("results") if self.folder else None

    @property
    def plots(self) -> Path:
        """Where figures go."""
        return self._below("plots") / self.folder

    @property
    def only_reads(self) -> bool:
        """Whether this command changes nothing: its folders may be another's, or read-only."""
        return self.evaluate or bool(self.predict)

    def _below(self, name: str) -> Path:
        return self.out_dir / name / "quick" if self.quick else self.out_dir / name

    @property
    def is_study(self) -> bool:
        """Whether this command works on the results that the README reports."""
        return self.out_dir == REPOSITORY and not self.quick


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line; beginnings of flags are not guessed."""

    def __init__(self, description: str | None, **settings: Any) -> None:  # noqa: ANN401
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(
            description=description, formatter_class=form, allow_abbrev=False, **settings
        )

    def error(self, message: str) -> NoReturn:
        """Hands the message to whoever prints the scripts' errors."""
        raise UserError(f"{message}; see --help")


def switch(text: str) -> dict[str, Any]:
    """A flag without a value."""
    return {"action": "store_true", "help": text}


def several(text: str, kind: type = str) -> dict[str, Any]:
    """A flag with one value or more; given twice it has the values of both."""
    metavar = "N" if kind is int else "NAME"
    return {"nargs": "+", "action": "extend", "type": kind, "metavar": metavar, "help": text}


def number(text: str) -> dict[str, Any]:
    """A flag with a whole number."""
    return {"type": int, "metavar": "N", "help": text}


def folder(text: str, default: Path) -> dict[str, Any]:
    """A flag with a folder."""
    return {"type": path_of, "metavar": "DIR", "default": default, "help": text}


def path_of(text: str) -> Path:
    """A path; ``~`` is one's home, where no shell has put it in.

    Raises: ArgumentTypeError for what can be none.
    """
    try:
        if not text or "\0" in text:
            raise ValueError("empty" if not text else "has a NUL in it")
        path = Path(text).expanduser()
        path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, nobody's home
        raise argparse.ArgumentTypeError(f"not a path ({error})") from error
    return path


ACTIONS: dict[str, dict[str, Any]] = {
    "--quick": switch(
        "minutes instead of hours, no dataset and no network: real digits and a synthetic "
        f"stand-in for CIFAR-10, {QUICK_EPOCHS} epochs; goes to results/quick/ and plots/quick/ "
        "(default: the full study)"
    ),
    "--fresh": switch(
        "forget the records of the selected runs and train them again; to go on after an "
        "interruption, leave it out (default: keep them)"
    ),
    "--measure": switch(
        "measure speed again and train nothing (default: measure what was not measured yet)"
    ),
    "--no-train": switch(
        "only render tables, figures and README from the records (default: train what is missing "
        "first)"
    ),
    "--evaluate": switch(
        "load the weights on record, classify the test images again and compare with the record; "
        "trains and renders nothing (default: train and render)"
    ),
    "--predict": {
        "nargs": "+",
        "action": "extend",
        "type": path_of,
        "metavar": "IMAGE",
        "help": "show each network whose weights are on record these pictures (PNG or JPEG), and "
        "print its three likeliest classes; trains and renders nothing (default: train and render)",
    },
    "--weights": switch(
        "keep the final weights of each network that is trained now, as float32 safetensors "
        "beside its record (default: the record alone)"
    ),
}


def selection(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The flags about which runs a command is of; ``names`` are the script's experiments."""
    listed = ", ".join(names).replace("%", "%%")  # argparse formats it
    return {
        "--experiments": several(
            f"only these, of: {listed} (default: all; with --quick and --evaluate those "
            "of the report, without the control experiments)"
        ),
        "--models": several("only these rows, by their names in the tables (default: all)"),
        "--seeds": several(
            "train each model once with each of these seeds that it has no record of; any seed "
            "joins the tables (default: the declared ones)",
            int,
        ),
        "--epochs": number(
            f"1 to {MAX_EPOCHS}; another number than the declared one needs an --out-dir of its "
            f"own (default: the declared number, {QUICK_EPOCHS} with --quick)"
        ),
    }


# flags about folders and the machine, which the benchmarks have too
PLACE: dict[str, dict[str, Any]] = {
    "--data-dir": folder(
        "where mnist.npz and cifar10.npz or torchvision's files are, or are downloaded to "
        "(default: data/ of the repository)",
        REPOSITORY / "data",
    ),
    "--out-dir": folder(
        "holds results/ and plots/ (default: the repository, whose README is then rendered)",
        REPOSITORY,
    ),
    "--device": {
        "help": "auto, cpu, cuda, cuda:N or mps; auto is CUDA where there is one, else the CPU; "
        "records from another one count all the same (default: auto)"
    },
    "--precision": {
        "choices": ("float32", "bfloat16"),
        "help": "bfloat16 trains under autocast, faster on many processors and slower on others; "
        "records in the other one count all the same (default: float32)",
    },
    "--threads": number(
        f"CPU threads of each run (default: torch's own choice, here {torch.get_num_threads()}, "
        "divided by --jobs)"
    ),
    "--jobs": number(
        "train N networks at once, each in a process of its own, the longest first; the records "
        "are those of as many threads one after another (default: 1)"
    ),
}


SCHEDULER: dict[str, dict[str, Any]] = {
    "--scheduler": {
        "metavar": "ADDRESS",
        "help": "train on the workers of this Dask scheduler, on any number of machines: "
        "tcp://host:port, tls://host:port or a scheduler file; threads are each worker's "
        "--nthreads, --device is which of its devices; see docs/cluster.md (default: train here)",
    },
}


def build_parser(experiments: Sequence[Experiment], description: str | None) -> OneLineParser:
    """All flags with their help; ``description`` is the script's docstring."""
    parser = OneLineParser(description)
    groups = {
        "what is done": ACTIONS,
        "which runs": selection([each.name for each in experiments]),
        "where and how": PLACE | SCHEDULER,
    }
    for title, group in groups.items():
        added = parser.add_argument_group(title)
        for flag, settings in group.items():
            added.add_argument(flag, **settings)
    return parser


def parse(
    experiments: Sequence[Experiment],
    description: str,
    argv: Sequence[str] | None = None,
    folder: str = "",
    study: Sequence[Experiment] = (),
) -> Options:
    """Command line -> checked options. Raises: UserError for the first bad value."""
    arguments = build_parser(experiments, description).parse_args(argv)
    check_exclusive(arguments)
    scheduler = check_scheduler(arguments)
    jobs = 1 if arguments.jobs is None else arguments.jobs
    selected = select_experiments(
        experiments, arguments.experiments, arguments.quick or arguments.evaluate
    )
    options = Options(
        experiments=selected,
        study=tuple(study or experiments),
        labels=check_labels(selected, arguments.models),
        seeds=check_seeds(arguments.seeds),
        epochs=arguments.epochs,
        data_dir=arguments.data_dir,
        out_dir=arguments.out_dir.resolve(),
        device=None if scheduler else check_device(arguments.device),
        precision=arguments.precision,
        quick=arguments.quick,
        fresh=arguments.fresh,
        measure=arguments.measure,
        evaluate=arguments.evaluate,
        predict=tuple(arguments.predict or ()),
        train=not any(getattr(arguments, name) for name in WITHOUT_TRAINING),
        weights=arguments.weights,
        threads=threads_of_a_run(arguments.threads, jobs),
        jobs=jobs,
        scheduler=scheduler,
        worker_device=arguments.device or "auto",
        folder=folder,
    )
    check_fixed(options)
    check_epochs(options)
    for each in () if options.only_reads else (options.results, options.plots):
        check_writable(each)
    return options


WITHOUT_TRAINING = ("no_train", "measure", "evaluate", "predict")
OTHERS = ("fresh", "measure", "no_train", "weights", "seeds", "epochs")
EXCLUSIVE = (  # a flag, what it does, and the flags that contradict that
    ("no_train", "renders from the records at hand", ("fresh", "measure")),
    ("weights", "keeps those of what is trained", ("no_train", "measure")),
    ("evaluate", "is of all weights on record and trains nothing", OTHERS),
    ("predict", "is of all weights on record and trains nothing", OTHERS),
    ("evaluate", "takes the dataset's images", ("predict",)),
    ("measure", "trains nothing", ("fresh",)),
    ("scheduler", "is for what is trained", WITHOUT_TRAINING),
    (
        "scheduler",
        "leaves runs at once and threads to its workers (--nworkers, --nthreads)",
        ("jobs", "threads"),
    ),
)


def check_exclusive(arguments: argparse.Namespace) -> None:
    """Each flag goes with the others that are given."""
    given = {name for name, value in vars(arguments).items() if value not in (None, False)}
    for name, action, others in EXCLUSIVE:
        if name in given and not given.isdisjoint(others):
            flag, *not_with = (f"--{each.replace('_', '-')}" for each in (name, *others))
            raise UserError(f"{flag} {action}: not with {', '.join(not_with)}")


def select_experiments(
    experiments: Sequence[Experiment], names: Sequence[str] | None, report_alone: bool
) -> tuple[Experiment, ...]:
    """The named experiments, in the declared order; by default all, or the report's."""
    known = [experiment.name for experiment in experiments]
    for name in names or ():
        if name not in known:
            raise UserError(f"--experiments: {models.unknown_message('experiment', name, known)}")
    return tuple(
        each
        for each in experiments
        if (each.name in names if names else not (report_alone and each.control))
    )


def threads_of_a_run(threads: int | None, jobs: int) -> int:
    """As asked for, else torch's own choice, divided among the runs that share the machine."""
    if not 1 <= jobs <= MAX_JOBS:
        raise UserError(f"--jobs {jobs}: must be between 1 and {MAX_JOBS}")
    own = min(torch.get_num_threads(), allowed_threads())
    return check_threads(max(1, own // jobs) if threads is None else threads)


def check_scheduler(arguments: argparse.Namespace) -> str | None:
    """The scheduler's address, which may stand in a file; None where none was given.

    Raises: UserError for what is no address, and where Dask is not installed.
    """
    given = arguments.scheduler
    if given is None:
        return None
    if arguments.device not in (None, "auto"):
        parse_device(arguments.device)
    address = given
    if "://" not in given:
        try:
            if not (path := Path(given)).is_file() and path.exists():  # a pipe would be waited for
                raise ValueError("not a file")
            address = json.loads(path.read_text(encoding="utf-8"))["address"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(
                f"--scheduler {given}: neither tcp://host:port nor a scheduler file ({error})"
            ) from error
    found = re.fullmatch(r"(tcp|tls)://\S+:(\d{1,5})", str(address))
    if not found or not 0 < int(found[2]) < 2**16:
        raise UserError(
            f"--scheduler {given}: {address!r} is not tcp://host:port or tls://host:port, with a "
            "port from 1 to 65535"
        )
    if importlib.util.find_spec("distributed") is None:
        raise UserError("--scheduler needs Dask: pip install -r requirements-cluster.txt")
    return address


def check_labels(
    experiments: Sequence[Experiment], names: Sequence[str] | None
) -> tuple[str, ...] | None:
    """The named models, all of which the selected experiments hold."""
    known = list(dict.fromkeys(label for each in experiments for label in each.labels))
    for name in names or ():
        if name not in known:
            raise UserError(f"--models: {models.unknown_message('model', name, known)}")
    return tuple(names) if names else None


def check_seeds(seeds: Sequence[int] | None) -> tuple[int, ...] | None:
    """Distinct seeds that all generators accept."""
    for seed in seeds or ():
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds {seed}: must be between 0 and {2**32 - 1}")
    return tuple(dict.fromkeys(seeds)) if seeds else None


def check_fixed(options: Options) -> None:
    """A flag is for what the rows leave open."""
    rows = [row for experiment in options.experiments for row in experiment.rows]
    fixed = {
        "--precision": options.precision and all(row.precision for row in rows),
        "--epochs": options.epochs and all("epochs" in row.recipe for row in rows),
    }
    for flag, is_fixed in fixed.items():
        if rows and is_fixed:
            raise UserError(f"{flag}: each row of this command has its own; leave it out")


def check_epochs(options: Options) -> None:
    """A number in range; one that differs from the declared never enters the reported study."""
    epochs = options.epochs
    if epochs is None:
        return
    if not 1 <= epochs <= MAX_EPOCHS:
        raise UserError(f"--epochs {epochs}: must be between 1 and {MAX_EPOCHS}")
    differing = [
        each.name for each in options.experiments if each.recipe and each.recipe.epochs != epochs
    ]
    if options.is_study and differing:
        raise UserError(
            f"--epochs {epochs}: differs from the declared recipe of {', '.join(differing)}, and "
            "such runs never enter the reported study; give an --out-dir of their own"
        )


def check_writable(folder: Path) -> None:
    """Creates the folder, and a file in it that vanishes again.

    Raises: UserError where that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror
        if isinstance(error, FileExistsError) and not folder.exists():
            why = "a broken link"
        raise UserError(f"cannot write to {folder} ({why}); give another --out-dir") from error

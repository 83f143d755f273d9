"""The flags that the three scripts share, checked before any training starts.

A bad value costs one line that says what is allowed, and exit code 2.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

import models
from utils import REPOSITORY
from utils.errors import UserError
from utils.experiment import Experiment
from utils.recipes import QUICK_EPOCHS
from utils.records.environment import bfloat16_speed, has_native_bfloat16

MAX_EPOCHS = 10
MAX_THREADS = 1024
SLOWER = 0.9  # times the speed of float32: from here on down it is not chance that is seen


@dataclass(frozen=True)
class Options:
    """What the user asked for, all of it valid."""

    experiments: tuple[Experiment, ...]
    models: tuple[str, ...] | None  # None: all of each experiment
    seeds: tuple[int, ...] | None  # None: the declared ones
    epochs: int | None  # None: the declared ones
    data_dir: Path
    out_dir: Path
    device: torch.device | None  # None: that of the records at hand, else automatic
    precision: str | None  # None: that of the records at hand, else float32
    quick: bool
    fresh: bool
    measure: bool
    train: bool
    weights: bool = False

    @property
    def results(self) -> Path:
        """Where records and tables go."""
        return self.out_dir / "results" / "quick" if self.quick else self.out_dir / "results"

    @property
    def plots(self) -> Path:
        """Where figures go."""
        return self.out_dir / "plots" / "quick" if self.quick else self.out_dir / "plots"

    @property
    def is_study(self) -> bool:
        """Whether this command works on the results that the README reports."""
        return self.out_dir == REPOSITORY and not self.quick


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Hands the message to whoever prints the scripts' errors."""
        raise UserError(f"{message}; see --help")


def build_parser(experiments: Sequence[Experiment], description: str) -> argparse.ArgumentParser:
    """All flags with their help; ``description`` is the script's docstring."""
    parser = OneLineParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_what(parser.add_argument_group("what is done"))
    add_which(parser.add_argument_group("which runs"), [each.name for each in experiments])
    add_where(parser.add_argument_group("where and how"))
    return parser


def add_what(group: argparse._ArgumentGroup) -> None:
    """Flags that choose between training, measuring and rendering."""
    group.add_argument(
        "--quick",
        action="store_true",
        help="minutes instead of hours, no dataset and no network: real digits and a synthetic "
        f"stand-in for CIFAR-10, {QUICK_EPOCHS} epochs; goes to results/quick/ and plots/quick/ "
        "(default: the full study)",
    )
    group.add_argument(
        "--fresh",
        action="store_true",
        help="forget the records of the selected runs and train them again; to go on after an "
        "interruption, leave it out (default: keep them)",
    )
    group.add_argument(
        "--measure",
        action="store_true",
        help="measure speed again and train nothing (default: measure what was not measured yet)",
    )
    group.add_argument(
        "--no-train",
        action="store_true",
        help="only render tables, figures and README from the records (default: train what is "
        "missing first)",
    )
    group.add_argument(
        "--weights",
        action="store_true",
        help="keep the final weights of each network that is trained now, as float32 safetensors "
        "beside its record (default: the record alone)",
    )


def add_which(group: argparse._ArgumentGroup, names: Sequence[str]) -> None:
    """Flags that select runs; ``names`` are the script's experiments."""
    group.add_argument(
        "--experiments",
        nargs="+",
        metavar="NAME",
        help=f"only these, of: {', '.join(names)} (default: all)",
    )
    group.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="only these models, by the names in the tables (default: all)",
    )
    group.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="train each model once with each of these seeds; others than the declared ones need "
        "an --out-dir of their own (default: the declared ones)",
    )
    group.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"1 to {MAX_EPOCHS}; another number than the declared one needs an --out-dir of its "
        f"own (default: the declared number, {QUICK_EPOCHS} with --quick)",
    )


def add_where(group: argparse._ArgumentGroup) -> None:
    """Flags about folders and the machine."""
    add_data_dir(group)
    add_out_dir(group, "results/ and plots/", "the repository, whose README is then rendered")
    add_device(group)
    add_precision(group)
    add_threads(group)


def add_data_dir(group: argparse._ActionsContainer) -> None:
    """``--data-dir``."""
    group.add_argument(
        "--data-dir",
        type=Path,
        default=REPOSITORY / "data",
        metavar="DIR",
        help="where mnist.npz and cifar10.npz or torchvision's files are, or are downloaded to "
        "(default: data/ of the repository)",
    )


def add_out_dir(group: argparse._ActionsContainer, holds: str, default: str) -> None:
    """``--out-dir``; the help says what it holds, and what it is by default."""
    group.add_argument(
        "--out-dir",
        type=Path,
        default=REPOSITORY,
        metavar="DIR",
        help=f"holds {holds} (default: {default})",
    )


def add_device(group: argparse._ActionsContainer) -> None:
    """``--device``."""
    group.add_argument(
        "--device",
        help="auto, cpu, cuda, cuda:N or mps; auto is CUDA where there is one, else the CPU "
        "(default: that of the records at hand, else auto)",
    )


def add_precision(group: argparse._ActionsContainer) -> None:
    """``--precision``."""
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="bfloat16 trains under autocast, faster on many processors and slower on others; one "
        "for all rows of a table (default: that of the records at hand, else float32)",
    )


def add_threads(group: argparse._ActionsContainer) -> None:
    """``--threads``."""
    group.add_argument(
        "--threads",
        type=int,
        metavar="N",
        default=torch.get_num_threads(),
        help="CPU threads (default: torch's own choice, here %(default)s)",
    )


def parse(
    experiments: Sequence[Experiment], description: str, argv: Sequence[str] | None = None
) -> Options:
    """Command line -> checked options; sets torch's thread count.

    Raises: UserError for the first bad value.
    """
    arguments = build_parser(experiments, description).parse_args(argv)
    if arguments.no_train and (arguments.fresh or arguments.measure):
        raise UserError("--no-train renders from the records at hand: not with --fresh, --measure")
    if arguments.weights and (arguments.no_train or arguments.measure):
        raise UserError("--weights keeps those of what is trained: not with --no-train, --measure")
    if arguments.fresh and arguments.measure:
        raise UserError("--measure trains nothing, --fresh trains again: give one of them")
    selected = select_experiments(experiments, arguments.experiments)
    options = Options(
        experiments=selected,
        models=check_models(selected, arguments.models),
        seeds=check_seeds(arguments.seeds),
        epochs=arguments.epochs,
        data_dir=arguments.data_dir,
        out_dir=arguments.out_dir.resolve(),
        device=check_device(arguments.device),
        precision=arguments.precision,
        quick=arguments.quick,
        fresh=arguments.fresh,
        measure=arguments.measure,
        train=not arguments.no_train and not arguments.measure,
        weights=arguments.weights,
    )
    check_epochs(options)
    check_study_seeds(options)
    use_threads(arguments.threads)
    check_writable(options.results)
    check_writable(options.plots)
    return options


def use_threads(number: int) -> None:
    """Sets torch's thread count.

    Raises: UserError for a number that cannot be meant.
    """
    if not 1 <= number <= MAX_THREADS:
        raise UserError(f"--threads {number}: must be between 1 and {MAX_THREADS}")
    torch.set_num_threads(number)


def select_experiments(
    experiments: Sequence[Experiment], names: Sequence[str] | None
) -> tuple[Experiment, ...]:
    """The named experiments, in the declared order."""
    known = [experiment.name for experiment in experiments]
    for name in names or ():
        if name not in known:
            raise UserError(f"--experiments: {models.unknown('experiment', name, known)}")
    return tuple(each for each in experiments if names is None or each.name in names)


def check_models(
    experiments: Sequence[Experiment], names: Sequence[str] | None
) -> tuple[str, ...] | None:
    """The named models, all of which the selected experiments hold."""
    known = list(dict.fromkeys(model for each in experiments for model in each.models))
    for name in names or ():
        if name not in known:
            raise UserError(f"--models: {models.unknown('model', name, known)}")
    return tuple(names) if names else None


def check_seeds(seeds: Sequence[int] | None) -> tuple[int, ...] | None:
    """Distinct seeds that all generators accept."""
    for seed in seeds or ():
        if not 0 <= seed < 2**32:
            raise UserError(f"--seeds {seed}: must be between 0 and {2**32 - 1}")
    return tuple(dict.fromkeys(seeds)) if seeds else None


def automatic_device() -> torch.device:
    """CUDA where there is one, else the CPU. MPS is never chosen by itself: its gradients have
    been silently wrong (pytorch#107214).
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_device(name: str | None) -> torch.device | None:
    """The device of that name, which is there."""
    if name in (None, "auto"):
        return automatic_device() if name else None
    allowed = "must be auto, cpu, cuda, cuda:N or mps"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name!r}: {allowed}") from error
    if device.type not in ("cpu", "cuda", "mps") or name.startswith("cpu:"):
        raise UserError(f"--device {name!r}: {allowed}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; use cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: torch sees no MPS device here; use cpu")
    return device


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


def check_study_seeds(options: Options) -> None:
    """Seeds that were not declared never enter the reported study."""
    declared = {seed for each in options.experiments for seed in each.seeds}
    names = [each.name for each in options.experiments]
    others = [str(seed) for seed in options.seeds or () if seed not in declared]
    if options.is_study and others:
        raise UserError(
            f"--seeds {' '.join(others)}: not declared in {', '.join(names)}, and such "
            "runs never enter the reported study; give an --out-dir of their own"
        )


def check_writable(folder: Path, remedy: str = "give another --out-dir") -> None:
    """Creates the folder, and a file in it that vanishes again.

    Raises: UserError with the ``remedy``, where that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); {remedy}") from error


def warn_if_slower(device: torch.device, precision: str) -> str | None:
    """A sentence where the precision is slower than float32 on this device."""
    if precision == "float32":
        return None
    if not has_native_bfloat16(device):
        return (
            f"{device.type} has no native bfloat16: it is emulated, many times slower than "
            "--precision float32"
        )
    speed = bfloat16_speed(device)
    if speed > SLOWER:
        return None
    return (
        f"{device.type} has bfloat16, but a convolution takes {1 / speed:.1f} times as long as "
        "with --precision float32"
    )

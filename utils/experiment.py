"""What is trained and why, as data: the scripts declare it, everything else reads it.

    Experiment = question + rows + recipe + seeds
    Row        = what the table calls it, and the network, data, recipe and precision behind it
    Run        = a row's network trained once with one seed -> one record on disk

Rows of several experiments with the same run behind them share its record: it is trained, stored
and measured once.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

import numpy as np

from utils.claim import Claim
from utils.errors import UserError

Precision = Literal["float32", "bfloat16"]
Part = Literal["train", "train minus validation"]

# A name becomes part of files' names, of tables and titles: it has letters and digits, and these.
PUNCTUATION = " ,.+-–_=×±°%&()'"
MOST_LETTERS = 60  # more do not stand beside a figure
MOST_OF_RECORD, MOST_BYTES = 120, 200  # a system takes 255, of which suffixes have their share


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; one recipe serves all rows of an experiment."""

    epochs: int
    optimizer: Literal["adamw", "sgd"]
    learning_rate: float  # the peak: the rate rises to it in a straight line, then falls to zero
    weight_decay: float
    batch_size: int = 128
    warmup: float = 0.2  # the part of all steps in which the learning rate rises
    momentum: float = 0.9  # Nesterov; read by sgd alone
    muon_rate: float = 0.0  # peak learning rate of Muon on the hidden weights; 0: no Muon
    muon_decay: float = 0.0  # and its weight decay
    label_smoothing: float = 0.0  # share of each target that is spread evenly over all classes
    crop_padding: int = 0  # pixels of reflected border from which each image is cut at random
    flip: bool = False  # mirror each image left to right with probability one half


@dataclass(frozen=True)
class Compute:
    """Where and how precisely a run is trained: its result depends on it, down to the last bit."""

    device: str = "cpu"  # as torch calls it: cpu, cuda, cuda:1, mps
    precision: Precision = "float32"  # bfloat16 is autocast: the parameters stay float32
    threads: int = 1  # of torch's, on the processor

    @property
    def kind(self) -> str:
        """The device without its number: cpu, cuda or mps."""
        return self.device.split(":")[0]


@dataclass(frozen=True)
class Run:
    """One network, trained once; what a row makes of it is in ``Row.run``."""

    network: str  # a name of models.MODELS
    dataset: str  # mnist or cifar10
    recipe: Recipe
    seed: int  # drives the initial weights, the data order, the augmentation and the dropout
    overrides: Mapping[str, object] = field(default_factory=dict)  # for models.build
    part: Part = "train"  # of the train split; what is left out of it is for validation
    images: int | None = None  # train on so many, drawn with the seed and repeated; None: on all
    permuted: bool = False  # the pixels of every image in one fixed random order
    name: str = ""  # of its files, without the seed, see ``Row.run_name``
    compute: Compute = Compute()

    @property
    def title(self) -> str:
        """What messages call it, as in "cifar10 CNN3x3 seed 0"; no two runs share it."""
        return f"{self.dataset} {self.name} seed {self.seed}"


class Styled(Protocol):
    """How a network is drawn: what ``models.MODELS`` says of each."""

    colour: str  # as in "#0072B2"
    marker: str  # as matplotlib calls it: "o", "s", "^"
    traits: tuple[str, ...]  # what it is made of, for what differs between two


@dataclass(frozen=True)
class Row:
    """A line of a table: its label, and in what its run differs from the experiment's others."""

    label: str
    network: str = ""  # a name of models.MODELS; by default the label
    overrides: Mapping[str, object] = field(default_factory=dict)  # for models.build
    recipe: Mapping[str, Any] = field(default_factory=dict)  # the fields of the recipe that differ
    part: Part = "train"  # of the train split that is trained on
    precision: Precision | None = None  # None: any; what is trained now has the command's
    seeds: tuple[int, ...] | None = None  # None: the experiment's
    images: int | None = None  # train on so many, drawn with the seed and repeated; None: on all
    permuted: bool = False  # the pixels of every image in one fixed random order
    at: tuple[str, float] | None = None  # its series, and its place on the experiment's axis

    def __post_init__(self) -> None:
        for name in ("label", "network"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"row {self.label!r}: {name} is no text")
        for name in ("overrides", "recipe"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise UserError(f"row {self.label}: {name} is no mapping, as in {{'epochs': 2}}")
        object.__setattr__(self, "network", self.network or self.label)  # it is frozen
        object.__setattr__(self, "seeds", without_numpy(self.seeds))
        check_name("row", self.label)
        fewer = "; vary fewer fields in a row, or give an experiment a recipe of its own"
        check_name("the record", self.run_name, fewer, MOST_OF_RECORD)
        if self.images is not None and self.images < 1:
            raise UserError(f"row {self.label}: images={self.images}: must be 1 or more")
        if unknown := self.recipe.keys() - {each.name for each in fields(Recipe)}:
            raise UserError(f"row {self.label}: a recipe has no {', '.join(sorted(unknown))}")
        if both := self.recipe.keys() & self.overrides.keys():  # its files' names have one of them
            raise UserError(f"row {self.label}: {', '.join(both)} of both network and recipe")

    @property
    def run_name(self) -> str:
        """What its runs' files are called: the network, and what it does not share with others.

        As in "CNN3x3" or "CNN3x3-epochs=2-train_minus_validation".
        """
        varied = {**self.overrides, **self.recipe}
        parts = [self.network, *(f"{k}={_plain(v)}" for k, v in varied.items())]
        parts += [] if self.part == "train" else [self.part.replace(" ", "_")]
        parts += [f"images={self.images}"] if self.images else []
        parts += ["permuted"] if self.permuted else []
        return "-".join([*parts, *([self.precision] if self.precision else [])])

    def run(self, dataset: str, recipe: Recipe, seed: int, compute: Compute) -> Run:
        """Its run with this seed; ``recipe`` and ``compute`` are those that all rows share."""
        return Run(
            network=self.network,
            dataset=dataset,
            recipe=replace(recipe, **self.recipe),
            seed=seed,
            overrides=self.overrides,
            part=self.part,
            images=self.images,
            permuted=self.permuted,
            name=self.run_name,
            compute=replace(compute, precision=self.precision or compute.precision),
        )


def check_name(kind: str, name: str, if_long: str = "", most: int = MOST_LETTERS) -> None:
    """A name with which files can be called and tables filled, of ``most`` letters.

    Raises: UserError saying what is allowed.
    """
    strange = [letter for letter in name if not (_is_letter(letter) or letter in PUNCTUATION)]
    is_long = len(name) > most or len(name.encode(errors="replace")) > MOST_BYTES
    if strange or is_long or not any(map(str.isalnum, name)):
        wrong = f"has {strange[0]!r}" if strange else "is too long" if is_long else "has no letter"
        raise UserError(
            f"{kind} {name!r}: its name {wrong}; allowed are letters and digits of any script, "
            f"spaces and {' '.join(PUNCTUATION[1:])}, "
            f"{most} of them ({MOST_BYTES} bytes) at most{if_long * is_long}"
        )


def _is_letter(letter: str) -> bool:
    """Whether it is a letter or digit of any script, or what combines with one: an accent, say."""
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def without_numpy(seeds: Any) -> Any:  # noqa: ANN401 (whatever was declared)
    """Seeds as they are, but for an array's, which become a tuple."""
    return tuple(seeds.tolist()) if isinstance(seeds, np.ndarray) and seeds.ndim == 1 else seeds


def _plain(value: object) -> str:
    """A value as it stands in a file's name."""
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


@dataclass(frozen=True)
class LayerCase:
    """A layer or block to be measured by itself, beside what it is compared with."""

    name: str  # what the table calls it
    build: Callable[[], Any]  # makes the nn.Module; can be pickled, as a lambda cannot
    input_shape: tuple[int, ...]  # [batch, channels, height, width]
    analogue_of: str | None = None  # name of the custom layer that it stands beside
    weights_of: str | None = None  # the part whose weight gradient counts; by default all of it


TAKEN = ("benchmarks", "quick", "runs", "speed")  # folders below results/

TUPLES = {  # fields of an experiment -> what each of these holds
    **{"rows": Row, "cases": LayerCase, "claims": Claim},
    **dict.fromkeys(("varied", "held", "not_tuned", "figures", "columns"), str),
}


@dataclass(frozen=True)
class Experiment:
    """A question, the rows that answer it, and what is held equal between them."""

    name: str  # the folder below results/ and plots/
    question: str  # stands above the table
    varied: tuple[str, ...]  # what differs between the rows on purpose
    held: tuple[str, ...]  # what is equal for all of them
    not_tuned: tuple[str, ...]  # what may favour one of them by chance: a caveat on the conclusion
    subject: str = ""  # what titles of figures call it; empty: its name
    figures: tuple[str, ...] = ()  # names of utils.report.figures, in the order of the README
    # what is trained
    rows: tuple[Row, ...] = ()
    dataset: Literal["mnist", "cifar10"] | None = None
    recipe: Recipe | None = None
    seeds: tuple[int, ...] = (0,)
    timed: bool = True  # whether the speed of its networks is measured
    # what is measured by itself, untrained
    cases: tuple[LayerCase, ...] = ()
    cases_are: Literal["layer", "block"] = "layer"  # what heads their column
    # what is written about it
    # beside the usual ones: utils.report.rows.EXTRA_COLUMNS
    columns: tuple[Literal["receptive_field", "shift", "gradient_ratio", "stability"], ...] = ()
    asks: Literal["latency", "gap", "receptive_field", "cases", ""] = ""  # of its short table
    axis: str = ""  # what the rows' places are, in words, for the figure "along"
    base: str = ""  # the row that all others are compared with: many against one (Dunnett)
    control: bool = False  # not one of the report's: named to be in --quick, not in the overview
    reported_table: str | None = None  # the "table" in data/reported/results.csv
    claims: tuple[Claim, ...] = ()  # what its records are to decide

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", without_numpy(self.seeds))  # it is frozen
        for name, kind in TUPLES.items():
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(isinstance(v, kind) for v in value):
                one = "each a text" if kind is str else f"each a {kind.__name__}"
                raise UserError(
                    f"experiment {self.name}: {name} is no tuple, {one}; one by itself has a "
                    "comma behind it: (a,)"
                )
        for name in ("question", "subject", "axis", "base"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"experiment {self.name}: {name} is no text")
        for name in ("timed", "control"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"experiment {self.name}: {name} is neither True nor False")
        if not isinstance(self.recipe, Recipe | None):
            raise UserError(f"experiment {self.name}: recipe is no Recipe")
        for name in (self.name, *(case.name for case in self.cases)):
            check_name("experiment or case", name)
        low = self.name.lower()
        if low in TAKEN or low.startswith(".") or low.endswith((".csv", ".log", ".png", ".tmp")):
            raise UserError(
                f"experiment {self.name}: so is something else in results/ called; give it another "
                "name"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """What the tables call its rows."""
        return tuple(row.label for row in self.rows)


def declared_runs(
    experiment: Experiment,
    labels: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    recipe: Recipe | None = None,
    compute: Compute = Compute(),
) -> dict[tuple[str, int], Run]:
    """``{(label, seed): run}`` of an experiment, cheap to list: nothing is built or loaded.

    ``labels`` keeps only those rows (in the experiment's own order); ``seeds`` and ``recipe``
    replace the declared ones. The runs of one seed come before those of the next.
    """
    rows = [row for row in experiment.rows if labels is None or row.label in labels]
    seeds_of = {row.label: seeds or row.seeds or experiment.seeds for row in rows}
    every_seed = dict.fromkeys(seed for each in seeds_of.values() for seed in each)
    return {
        (row.label, seed): row.run(experiment.dataset, recipe or experiment.recipe, seed, compute)
        for seed in every_seed
        for row in rows
        if seed in seeds_of[row.label]
    }

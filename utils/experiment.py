"""What an experiment is, as data: the scripts declare it, everything else reads it.

Experiment = question + models + recipe + seeds
Run        = one model of it, trained once with one seed -> one record on disk
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; one recipe serves all models of an experiment."""

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
class LayerCase:
    """A layer or block to be measured by itself, beside what it is compared with."""

    name: str  # what the table calls it
    build: Callable[[], Any]  # makes the nn.Module
    input_shape: tuple[int, ...]  # [batch, channels, height, width]
    analogue_of: str | None = None  # name of the custom layer that it stands beside
    weights_of: str | None = None  # the part whose weight gradient counts; by default all of it


@dataclass(frozen=True)
class Experiment:
    """A question, the networks that answer it, and what is held equal between them."""

    name: str  # the folder below results/ and plots/
    question: str  # stands above the table
    varied: tuple[str, ...]  # what differs between the rows on purpose
    held: tuple[str, ...]  # what is equal for all of them
    not_tuned: tuple[str, ...]  # what may favour one of them by chance: a caveat on the conclusion
    figures: tuple[str, ...]  # names of utils.report.figures, in the order of the README
    # what is trained: models by their displayed names, see models.MODELS
    models: tuple[str, ...] = ()
    dataset: Literal["mnist", "cifar10"] | None = None
    recipe: Recipe | None = None
    seeds: tuple[int, ...] = (0,)
    overrides: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # by model name
    # what is measured by itself, untrained
    cases: tuple[LayerCase, ...] = ()
    cases_are: Literal["layers", "blocks"] = "layers"  # and the name of their record
    # what is written about it
    reported_table: str | None = None  # the "table" in data/reported/results.csv
    conclusions: Callable[..., Sequence[str]] | None = None  # table -> sentences with its numbers


@dataclass(frozen=True)
class Run:
    """One network, trained once."""

    experiment: str
    model: str
    dataset: str
    recipe: Recipe
    seed: int  # drives the initial weights, the data order, the augmentation and the dropout
    overrides: Mapping[str, object] = field(default_factory=dict)  # for models.build


def declared_runs(
    experiment: Experiment,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    recipe: Recipe | None = None,
) -> list[Run]:
    """The runs of an experiment, cheap to list: nothing is built or loaded.

    ``models`` keeps only those named (in the experiment's own order), ``seeds`` and ``recipe``
    replace the declared ones.
    """
    return [
        Run(
            experiment.name,
            model,
            experiment.dataset,
            recipe or experiment.recipe,
            seed,
            experiment.overrides.get(model, {}),
        )
        for seed in (seeds or experiment.seeds)
        for model in experiment.models
        if models is None or model in models
    ]

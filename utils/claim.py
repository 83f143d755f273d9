"""Claims: sentences that an experiment's records decide, as data beside the experiment.

What is compared, and below which margin a difference is of no practical use, is fixed here, before
anybody looks; ``utils.report.claims`` says what the records make of it.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "greater",  # a above b, in the mean over seeds
    "equal",  # a as good as b, give or take the margin
    "best",  # a above each b
    # with pairs (a, b), (c, d), …: a above b by more than c above d, and each of those that follow
    "lead",
    "constant",  # a below the number ``than``
    "exact",  # a above b; where ``than`` is given, a / b is that number, give or take the margin
    # a faster than b: latency of one image and time at batch 256; of layers and blocks forward, and
    # forward with backward
    "time",
    "front",  # no claim that data can decide: which networks no other beats in all respects
]
Source = Literal["report", "ours"]
OfSeeds = Literal[  # a number for each seed of a network
    # in per cent and points
    "test_accuracy",
    "train_accuracy",
    "generalization_gap",
    "shift_loss",  # what moving the test images by six pixels costs
    # the first layer's gradient norm over the last's, the smallest of all epochs, and untrained
    "gradient_ratio",
    "log10_initial_gradient_ratio",
]
OfNetworks = Literal["parameters", "forward_flops", "receptive_field"]  # whatever the seed
OfCases = Literal["parameters", "mean_absolute_gradient_input"]  # of a layer or block
Metric = Literal[OfSeeds, OfNetworks, OfCases]

POINTS = {"cifar10": 0.5, "mnist": 0.1}  # dataset -> difference of accuracies that matters
TIMES = 0.1  # and of times, of b's
PASSES = 5  # fresh processes that a claim about times rests on


@dataclass(frozen=True)
class Claim:
    """A sentence, whose it is, and the comparison that decides it."""

    id: str  # the report's section and a word or two; unique in the study
    text: str
    text_ru: str
    source: Source
    kind: Kind = "greater"
    # (a, b): labels of the experiment's rows, or names of its cases; b is empty beside a constant.
    # With several pairs the sentence holds where each does.
    pairs: tuple[tuple[str, str], ...] = ()
    metric: Metric = "test_accuracy"  # not for times
    than: float | None = None
    margin: float | None = None  # None: of what is in points the dataset's, of ratios none
    about: tuple[str, ...] = ()  # traits, overrides, fields that the sentence itself speaks of


@dataclass(frozen=True)
class Shown:
    """One comparison of a claim, as a row of the overview figure, whose axis is of accuracies."""

    claim: str  # its id
    label: str
    label_ru: str
    verdict: str  # the one that the answer was written under, as it begins
    pair: int = 0  # which of the claim's pairs


@dataclass(frozen=True)
class Answer:
    """What the study answers to a question; the first comparison is the one beside it."""

    question: str
    question_ru: str
    answer: str
    answer_ru: str
    page: str  # of docs/
    shown: tuple[Shown, ...]
    # what else it rests on: a claim's id, and the verdict that it was written under
    rests_on: tuple[tuple[str, str], ...] = ()

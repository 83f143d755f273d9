"""What a record holds: field names, types, units and ranges, in one place.

Accuracies are fractions in [0, 1], times are seconds, losses are mean cross-entropies in nats. A
number that was not finite (a loss that overflowed) is null on disk and None here. What a record
may lack is None as well; what it must have, and its range, is checked on writing and on reading.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from utils.experiment import Part, Precision, Recipe

SCHEMA = 2
TRAIN_PART = 10_000  # train images on which loss and accuracy are taken after each epoch

Fraction = Annotated[float, Field(ge=0, le=1)]
MOST = 2**62  # more is no count of anything
Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def none_if_not_finite(value: Any) -> Any:  # noqa: ANN401 (before it is known to be a number)
    """JSON has no word for a NaN or an infinity but null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def finite_within(values: dict[str, Any]) -> dict[str, Any]:
    """These, read of a record, with no NaN and no infinity among them however deep."""
    try:
        json.dumps(values, allow_nan=False)
    except ValueError as error:
        raise ValueError("holds a number that is not finite") from error
    return values


Number = Annotated[float | None, BeforeValidator(none_if_not_finite)]
Size = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(none_if_not_finite)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Device = Literal["cpu", "cuda", "mps"]
# what breaks a line, a cell of a table or a formula of matplotlib's
STRANGE = r"\x00-\x1f\x7f\x85\u2028\u2029|$"
Text = Annotated[str, Field(pattern=f"^[^{STRANGE}]*$")]


class Fields(BaseModel):
    """What all parts of a record share: frozen, exactly these fields, nothing converted."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_name=True, serialize_by_alias=True
    )


class Environment(Fields):
    """The machine and the versions that something was made with."""

    python: Text
    torch: Text
    torchvision: Text
    numpy: Text
    system: Text
    processor: Text
    instructions: Text | None = None  # the widest vectors that torch uses, as in "AVX512"
    native_bfloat16: bool | None = None
    device: Text  # "cpu", or the accelerator's name
    threads: Positive


def faults_of_device(environment: Environment, device: str) -> Iterator[str]:
    """What was made on a CPU names none but that."""
    if (environment.device == "cpu") != (device == "cpu"):
        yield f"environment.device: {environment.device}, of a run on {device}"


class Data(Fields):
    """The images that a run was trained and tested on."""

    description: Text  # what tables and figures call them
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # SHA-256 of all images and labels
    synthetic: bool
    classes: tuple[Text, ...]
    train_images: Positive
    test_images: Positive
    validation_images: Count = 0


class Final(Fields):
    """The network after its last epoch, in eval mode and float32, on whole splits."""

    train_loss: Size = None
    train_accuracy: Fraction | None = None
    test_loss: Size = None
    test_accuracy: Fraction | None = None
    validation_loss: Size = None  # of the part of the train split that was not trained on
    validation_accuracy: Fraction | None = None
    confusion_matrix: tuple[tuple[Count, ...], ...] | None = None  # [true class][predicted], test


class Epoch(Fields):
    """One pass over the train images, and the network after it."""

    epoch: Positive
    learning_rate: Rate  # of the last step; Muon's goes up and down with it
    running_loss: Size  # mean over the batches, while training
    batch_loss_quartiles: tuple[Size, Size, Size]
    gradient_norm: dict[Text, Size]  # layer -> mean over the steps, of its weight
    # the same of the first step alone: in epoch 1 that of the untrained network
    gradient_norm_first: dict[Text, Size] | None = None
    gradient_norm_total: Size  # of all parameters together, mean over the steps
    gradient_norm_largest: Size  # and the largest
    train_loss: Size  # on the first TRAIN_PART train images
    train_accuracy: Fraction
    test_loss: Size
    test_accuracy: Fraction

    @model_validator(mode="after")
    def _are_in_order(self) -> "Epoch":
        q1, median, q3 = self.batch_loss_quartiles
        if None not in (q1, median, q3) and not q1 <= median <= q3:
            raise ValueError("batch_loss_quartiles: not in order")
        return self


class Diverged(Fields):
    """The first step whose loss, or the epoch whose weights, were not finite."""

    epoch: Positive
    step: Positive  # of the epoch, from 1
    learning_rate: Rate  # of that step


class Timings(Fields):
    """Seconds; the only part of a record that differs between two equal runs."""

    epoch_seconds: tuple[Seconds, ...]


class Probe(Fields):
    """The image behind the activations and feature maps."""

    image_class: str


class Declared(Fields):
    """What makes a run the run that it is, as it was declared."""

    schema_: Literal[2] = Field(SCHEMA, alias="schema")
    network: str
    overrides: Annotated[dict[str, Any], AfterValidator(finite_within)] = {}
    dataset: Literal["mnist", "cifar10"]
    part: Part = "train"
    images: Positive | None = None  # the run was trained on so many, repeated; None: on all
    permuted: bool = False  # the pixels of every image were in one fixed random order
    recipe: Recipe
    seed: Count
    precision: Precision
    device: Device

    @model_validator(mode="after")
    def _is_a_recipe(self) -> "Declared":
        numbers = [each for each in vars(self.recipe).values() if not isinstance(each, str)]
        if not all(0 <= number < math.inf for number in numbers):
            raise ValueError("recipe: a number that is negative or not finite")
        if min(self.recipe.epochs, self.recipe.batch_size) < 1:
            raise ValueError("recipe: less than one epoch, or than one image in a batch")
        return self


class Computes(Fields):
    """What tells a network from others of as many parameters: see ``measuring.sizes.computed``."""

    logits: tuple[tuple[Finite, ...], ...]  # for two sizes of its weights, or as they begin
    dropout: tuple[Text, ...]  # in the order of the calls, as in "dropout 0.3"; then of layers
    initial: Finite  # mean over its parameters of the logarithm of their L2 norm
    torch: Text  # the version whose random numbers these are, as in "2.14"


class Record(Declared):
    """One run: what it was, and what came of it."""

    data: Data
    parameters: Positive | None = None  # that are trained
    forward_flops: Count | None = None  # of one image; a multiply-add is 2
    computes: Computes | None = None
    # layer -> pixels along one side; null where the whole image is seen
    receptive_field: dict[Text, Positive | None] | None = None
    probe: Probe | None = None
    shifted_test_accuracy: tuple[Fraction, ...] | None = None  # images moved by 0, 1, … pixels
    final: Final
    diverged: Diverged | None = None  # then training stopped, and nothing final is known
    epochs: tuple[Epoch, ...] = ()
    environment: Environment
    continued_in: tuple[Environment, ...] = ()  # where an interrupted run went on
    timings: Timings | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "Record":
        """What a table or figure divides by or counts on is there, and fits together."""
        faults = (*self._of_epochs(), *self._of_final())
        if faults:
            raise ValueError(faults[0])
        return self

    def _of_epochs(self) -> Iterator[str]:
        last = self.recipe.epochs
        expected = self.diverged.epoch - 1 if self.diverged else last
        if self.diverged and self.diverged.epoch > last:
            yield f"diverged.epoch: after the last of {last}"
        found = [each.epoch for each in self.epochs]
        are_all = len(found) == expected and found == [*range(1, len(found) + 1)]
        if (found or self.diverged) and not are_all:
            yield f"epochs: {len(found)} of {expected}, or not in order"
        if self.timings and len(self.timings.epoch_seconds) != expected:
            yield f"timings.epoch_seconds: of {len(self.timings.epoch_seconds)}, not {expected}"
        norms = [each.gradient_norm for each in self.epochs]
        firsts = [each.gradient_norm_first for each in self.epochs if each.gradient_norm_first]
        if len({tuple(each) for each in (*norms, *firsts)}) > 1:
            yield "epochs.gradient_norm: the layers differ between epochs"
        if norms and not norms[0]:
            yield "epochs.gradient_norm: no layer"
        for each in (self.environment, *self.continued_in):
            yield from faults_of_device(each, self.device)

    def _of_final(self) -> Iterator[str]:
        if self.diverged:
            if self.final != Final():
                yield "final: there is none of a run that diverged"
            return
        name = "test_accuracy" if self.part == "train" else "validation_accuracy"
        if getattr(self.final, name) is None:
            yield f"final.{name}: missing in a run on {self.part}"
        if self.probe and self.probe.image_class not in self.data.classes:
            yield f"probe.image_class: {self.probe.image_class!r} is none of data.classes"
        images, accuracy = self.data.test_images, self.final.test_accuracy
        yield from self._of_last_epoch()
        moved = self.shifted_test_accuracy
        if None not in (moved, accuracy) and (
            not moved or abs(moved[0] - accuracy) * images > self._tipped
        ):
            yield "shifted_test_accuracy: the first is not final.test_accuracy"
        matrix, classes = self.final.confusion_matrix, len(self.data.classes)
        if matrix is None:
            return
        if {len(matrix), *map(len, matrix)} != {classes}:
            yield f"final.confusion_matrix: not {classes} by {classes}"
            return
        if (total := sum(map(sum, matrix))) != images:
            yield f"final.confusion_matrix: of {total} images, not {images} (data.test_images)"
            return
        right = sum(row[place] for place, row in enumerate(matrix))
        if accuracy is not None and abs(right - accuracy * images) > 1e-6:
            yield f"final.confusion_matrix: {right} right, not {accuracy:.2%} (final.test_accuracy)"

    @property
    def _tipped(self) -> float:
        """How many images may be classified otherwise when the network is evaluated again.

        None on a CPU; some on another machine, or by another of a GPU's kernels.
        """
        return 1e-6 if self.device == "cpu" and not self.continued_in else 100

    def _of_last_epoch(self) -> Iterator[str]:
        """The network is that of the last epoch; right of its part of the train split is right."""
        if not self.epochs:
            return
        last, final = self.epochs[-1], self.final
        whole, images = final.train_accuracy, self.data.train_images
        part = min(TRAIN_PART, images)
        shares = {"test_accuracy": 1 / self.data.test_images, "test_loss": 0.001}
        if part == images:
            shares["train_loss"] = 0.001
        for name, share in shares.items():
            before, found = getattr(last, name), getattr(final, name)
            # a loss that is large is rounded by more
            most = self._tipped * share * max(1, before or 0)
            if None not in (before, found) and abs(found - before) > most:
                yield f"final.{name}: not that of the last epoch"
        if whole is None:
            return
        rest = round(whole * images) - round(last.train_accuracy * part)
        if not -self._tipped <= rest <= images - part + self._tipped:
            yield "final.train_accuracy: not that of the last epoch and the other images"


class Quartiles(Fields):
    """What the rounds of a measurement gave."""

    median: Finite
    q1: Finite
    q3: Finite

    @model_validator(mode="after")
    def _are_in_order(self) -> "Quartiles":
        if not self.q1 <= self.median <= self.q3:
            raise ValueError("q1, median and q3 are not in order")
        return self


# one for each pass: a process of its own in which all had their turn, round by round
Passes = Annotated[tuple[Quartiles, ...], Field(min_length=1)]


def over_passes(passes: Sequence[Quartiles]) -> Quartiles:
    """Quartiles of the medians of several passes; those of the rounds where there is one pass."""
    if len(passes) == 1:
        return passes[0]
    q1, median, q3 = np.quantile([each.median for each in passes], [0.25, 0.5, 0.75]).tolist()
    return Quartiles(median=median, q1=q1, q3=q3)


class BatchSizes(Fields):
    """Images per call of what was measured."""

    latency: Literal[1]
    throughput: Positive
    training: Positive


class Speed(Fields):
    """How fast a network is, measured apart from its training, in turn with others."""

    schema_: Literal[2] = Field(SCHEMA, alias="schema")
    network: Text | None = None  # whose it is, as its path has it: "cifar10/CNN7x7"
    parameters: Positive | None = None  # that are trained
    forward_flops: Count | None = None  # of one image
    computes: Computes | None = None
    precision: Precision  # of the training step; inference is float32
    device: Device
    rounds: Positive  # of each pass
    batch_sizes: BatchSizes
    environment: Environment
    began: tuple[str, ...]  # when each pass did: networks that were in one pass share it
    latency_seconds: Passes
    throughput_images_per_second: Passes
    training_images_per_second: Passes

    @model_validator(mode="after")
    def _is_whole(self) -> "Speed":
        """Every pass measured all, and tables divide by it."""
        for name in (
            "latency_seconds",
            "throughput_images_per_second",
            "training_images_per_second",
        ):
            passes = getattr(self, name)
            if len(passes) != len(self.began):
                raise ValueError(f"{name}: of {len(passes)} passes, began of {len(self.began)}")
            if any(each.q1 < 0 or each.median <= 0 for each in passes):
                raise ValueError(f"{name}: not above 0")
        for fault in faults_of_device(self.environment, self.device):
            raise ValueError(fault)
        return self


class Gradient(Fields):
    """Means over the entries of a gradient; None where there are no weights."""

    signed_mean_input: Number
    signed_mean_weights: Number
    mean_absolute_input: Size
    mean_absolute_weights: Size


class Case(Fields):
    """A layer or block by itself."""

    name: Text
    analogue_of: Text | None = None
    input_shape: tuple[Positive, ...]  # [batch, channels, height, width]
    output_shape: tuple[Positive, ...]
    parameters: Count
    gradient: Gradient
    forward_seconds_100: Passes  # of 100 iterations
    forward_backward_seconds_100: Passes

    @model_validator(mode="after")
    def _took_time(self) -> "Case":
        """Tables divide by it."""
        for name in ("forward_seconds_100", "forward_backward_seconds_100"):
            if any(each.q1 < 0 or each.median <= 0 for each in getattr(self, name)):
                raise ValueError(f"{name}: not above 0")
        return self


class Cases(Fields):
    """The layers or blocks of an experiment."""

    schema_: Literal[2] = Field(SCHEMA, alias="schema")
    device: Device
    environment: Environment
    cases: tuple[Case, ...]

    @model_validator(mode="after")
    def _are_of_the_same_passes(self) -> "Cases":
        for fault in faults_of_device(self.environment, self.device):
            raise ValueError(fault)
        timed = [
            (each.forward_seconds_100, each.forward_backward_seconds_100) for each in self.cases
        ]
        if len({len(passes) for both in timed for passes in both}) > 1:
            raise ValueError("cases: not all of as many passes")
        return self


Kind = TypeVar("Kind", Record, Speed, Cases)

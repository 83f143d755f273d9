"""The trial of an untrained network: what is refused before hours are spent, what is only told."""

import copy
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.transforms import v2

from tests.fakes import error_of
from tests.networks import Calls, Does, add_network, frozen, small
from tests.training.runs import RECIPE, RUN
from utils.data.batches import normalise
from utils.data.dataset import Dataset
from utils.measuring.probes import tell_once
from utils.measuring.trial import try_out

Build = Callable[..., nn.Module]
Attempt = Callable[..., None]


@pytest.fixture
def attempt(cifar10: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attempt]:
    """Tries out a network, as MyNet, for a run with these changes; nothing has been told yet."""

    def attempt(build: Build, weights: bool = False, **changes: object) -> None:
        add_network(monkeypatch, build)
        try_out(replace(RUN, network="MyNet", **changes), cifar10, weights)

    tell_once.cache_clear()
    yield attempt
    torch.set_float32_matmul_precision("highest")
    torch.autograd.set_detect_anomaly(False)


class Holds(nn.Module):
    """Keeps in its state what is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"epochs": 1}


class Masks(nn.Module):
    """Holds a mask for the whole image in a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, 1, 1).expand(1, 1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class Versioned(nn.Conv2d):
    """Asks the version of what it loads, as torchvision's MNASNet does: no safetensors has one."""

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:  # noqa: ANN401
        if not metadata.get("version"):
            raise ValueError("version should be 1")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class Flips(nn.Conv2d):
    """Takes weights without a version for old ones, whose channels are in another order."""

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:  # noqa: ANN401
        if not metadata.get("version"):
            state[f"{prefix}weight"] = state[f"{prefix}weight"].flip(1)
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class TakesAPart(nn.Sequential):
    """Leaves its head as it is, as one does who goes on with other classes."""

    def load_state_dict(self, state: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        known = {name: value for name, value in state.items() if not name.startswith("2.")}
        return super().load_state_dict(known, strict=False)


class Averages(nn.Module):
    """Answers with an average of its weights, which no gradient trains."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.average, self.network = copy.deepcopy(network), network

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                for each, now in zip(
                    self.average.parameters(), self.network.parameters(), strict=True
                ):
                    each.lerp_(now, 0.1)
        return (self.network if self.training else self.average)(x)


class Indexed(nn.Sequential):
    """Holds whole numbers as a parameter."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.order = nn.Parameter(torch.arange(10), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, self.order]


def shares(part: nn.Module = nn.PReLU()) -> nn.Module:  # noqa: B008 (it is what is tried)
    return small(part, channels=3)


BACKBONE = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).requires_grad_(False)


class LeavesOut(nn.Sequential):
    """Keeps less than it is, as an adapter does beside a large network."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        found = super().state_dict(*args, **kwargs)
        return {name: value for name, value in found.items() if not name.endswith("bias")}


class Grows(nn.Module):
    """Remembers all that it has seen."""

    def __init__(self, begun: bool = True) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0) if begun else None)

    def forward(self, x: Tensor) -> Tensor:
        before = () if self.seen is None else (self.seen,)
        self.seen = torch.cat([*before, x.mean()[None]])
        return x


class Late(nn.Module):
    """Makes a layer at its first call, or its weight at each."""

    def __init__(self, at_each_call: bool) -> None:
        super().__init__()
        self.at_each_call, self.layer = at_each_call, nn.Linear(10, 10) if at_each_call else None

    def forward(self, x: Tensor) -> Tensor:
        if self.at_each_call:
            self.layer.weight = nn.Parameter(nn.functional.normalize(self.layer.weight))
        elif self.layer is None:
            self.layer = nn.Linear(10, 10)
        return self.layer(x)


def drifts() -> nn.Module:
    """Its output changes a little with every call, in eval mode too."""
    calls = itertools.count()
    return small(Does(lambda x: x * (1 + 1e-6 * next(calls))), channels=3)


class Reads(nn.Module):
    """Goes through the image row by row, as this layer has it; a head behind the last row."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        read = self.layer(x.transpose(1, 2).flatten(2))  # [batch, rows, channels and columns]
        return self.head((read[0] if isinstance(read, tuple) else read)[:, -1])


def with_zero_head(network: Reads) -> nn.Module:
    nn.init.zeros_(network.head.weight)
    return network


class Forgets(nn.Sequential):
    """Forgets what a train() returns."""

    def train(self, mode: bool = True) -> None:
        super().train(mode)


DEPENDS = "its answer for an image depends on the others of the batch, in eval mode; "

REFUSED: dict[str, tuple[Build, str]] = {
    "behind zeros": (lambda: with_zero_head(Reads(nn.LSTM(96, 96))), DEPENDS),
    "an LSTM over images": (lambda: Reads(nn.LSTM(96, 96)), DEPENDS),
    "attention over images": (lambda: Reads(nn.TransformerEncoderLayer(96, 4, 32)), DEPENDS),
    "a softmax over images": (
        lambda: small(Does(lambda x: x * x.softmax(0)), nn.Conv2d(3, 4, 1), channels=4),
        DEPENDS,
    ),
    "a batch-norm of the batch": (
        lambda: small(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), channels=4),
        DEPENDS,
    ),
    "squeezes": (
        lambda: small(channels=3).append(Does(torch.squeeze)),
        "puts out [10] for 1 image, expected [1, 10]; a .squeeze() takes the batch aw",
    ),
    "squeezes before": (
        lambda: small(
            *(nn.AdaptiveAvgPool2d(1), Does(torch.squeeze), nn.BatchNorm1d(3), nn.Linear(3, 64)),
            channels=1,
        ),
        "takes no image by itself (ValueError: expected 2D or 3D input (got 1D inpu",
    ),
    "no return": (
        lambda: Forgets(*small(channels=3)),
        "its train() or eval() does not end with return self",
    ),
    "in place": (
        lambda: nn.Sequential(Does(lambda x: x.sub_(0.5)), *small(channels=3)),
        "changes the images that it is given, in place; mend it in models/, as in x = ",
    ),
    "anomaly": (
        lambda: [torch.autograd.set_detect_anomaly(True), small(channels=3)][1],
        "changes torch's anomaly detection, which is for all networks of the command; ",
    ),
    "no head": (
        lambda: small(channels=3)[:-1],
        "puts out [4, 192] for 4 images, expected [4, 10]: a number for each class; ",
    ),
    "pairs": (
        lambda: small(channels=3).append(Does(lambda x: (x, x))),
        "puts out a tuple for 4 images, expected [4, 10]: a number for each class; ",
    ),
    "late": (
        lambda: small(channels=3).append(Late(False)),
        "3.layer.weight is made in its forward, where no optimiser knows it; make it in",
    ),
    "anew": (
        lambda: small(channels=3).append(Late(True)),
        "3.layer.weight is made in its forward, where no optimiser knows it; make it in",
    ),
    "no weight": (
        lambda: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10)),
        "trains no convolution and no linear layer, whose gradients a record holds; ",
    ),
    "other channels": (
        lambda: small(nn.Conv2d(1, 4, 1), channels=4),
        "cannot be trained on tiny (RuntimeError: Given groups=1, weight of size ",
    ),
    "views": (
        lambda: small(nn.Conv2d(3, 4, 1), Does(lambda x: x.view(len(x), -1)), channels=4),
        "cannot be trained on tiny (RuntimeError: view size is not compatible with ",
    ),
    "draws": (
        lambda: small(Does(nn.functional.dropout), channels=3),
        "puts out something else each time it is shown the same images in eval mode; ",
    ),
    "drifts": (
        drifts,
        "puts out something else each time it is shown the same images in eval mode; ",
    ),
    "draws what it holds": (
        lambda: small(
            Does(partial(torch.mul, torch.tensor(np.random.default_rng().random(8, np.float32)))),
            channels=3,
        ),
        "is built otherwise each time from the same seeds (other logits for the same weights); ",
    ),
    "draws its weights": (
        lambda: draws_for_itself(torch.Generator().seed()),
        "is built otherwise each time from the same seeds (",
    ),
    "sets": (
        lambda: torch.set_float32_matmul_precision("medium") or small(channels=3),
        "changes torch's float32 matmul precision, which is for all networks of the ",
    ),
    "holds": (
        lambda: nn.Sequential(Holds(), *small(channels=3)),
        "cannot be trained on tiny (AttributeError: 'dict' object has no attribute ",
    ),
    "grows": (
        lambda: nn.Sequential(Grows(), *small(channels=3)),
        "0.seen changes its shape or type while it is trained, and would not fit into ",
    ),
    "observes": (
        lambda: torch.ao.quantization.prepare_qat(observed(), inplace=True),
        "1.weight_fake_quant.scale changes its shape or type while it is trained, ",
    ),
    "begins late": (
        lambda: nn.Sequential(Grows(False), *small(channels=3)),
        "0.seen is made in its forward, and would not fit into the network again; make ",
    ),
    "expanded": (
        lambda: small(Masks(), channels=3),
        "does not take its own state dict, with which a run goes on (RuntimeError: While copying ",
    ),
    "leaves out": (
        lambda: LeavesOut(*small(channels=3)),
        "does not take its own state dict, with which a run goes on (RuntimeError: Missing key(s) ",
    ),
    "takes a part": (
        lambda: TakesAPart(*small(channels=3)),
        "does not take its own state dict, with which a run goes on (2.weight and 1 more would be ",
    ),
    "lazy": (
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
        "cannot be trained on tiny (RuntimeError: Can't access the shape of an uninit",
    ),
    "a name": (
        lambda: Calls(["net"], **{"net": small(channels=3), "a|b": nn.Linear(10, 10)}),
        "the name of its layer 'a|b' would break tables and figures; leave out ",
    ),
    "made once": (
        shares,
        "1.weight: made once for all networks, as a default argument is, so that each ",
    ),
    "made once, frozen": (
        lambda: shares(BACKBONE),
        "1.1.running_mean and 2 more: made once for all networks, as a default argument is, so ",
    ),
    "frozen": (
        frozen,
        "trains no convolution and no linear layer, whose gradients a record holds; ",
    ),
    "an argument is missing": (
        lambda depth: frozen(),
        "cannot be trained on tiny (TypeError: <lambda>() missing 1 required ",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_a_network_that_cannot_be_trained_is_refused_in_a_line(
    build: Build, message: str, attempt: Attempt
) -> None:
    assert error_of(lambda: attempt(build)).startswith(f"MyNet: {message}")


def test_weights_that_cannot_be_kept_are_told_before_they_are_trained(attempt: Attempt) -> None:
    def sparse() -> nn.Module:
        network = small(channels=3)
        network.register_buffer("adjacent", torch.eye(2).to_sparse())
        return network

    attempt(sparse)
    text = error_of(lambda: attempt(sparse, weights=True))
    assert text.startswith("MyNet: cannot be trained on tiny (")


def test_weights_that_would_not_load_are_told_where_they_are_to_be_kept(attempt: Attempt) -> None:
    def build() -> nn.Module:
        return small(Versioned(3, 4, 1), channels=4)

    attempt(build)
    message = error_of(lambda: attempt(build, weights=True))
    told = "as --weights keeps it (ValueError: version should be 1); mend it in models/, or leave "
    assert message == f"MyNet: does not take its own state dict, {told}it out"


def test_weights_that_loading_would_convert_are_told_where_they_are_to_be_kept(
    attempt: Attempt,
) -> None:
    def build() -> nn.Module:
        return small(Flips(3, 4, 1), channels=4)

    attempt(build)
    message = error_of(lambda: attempt(build, weights=True))
    told = (
        "as --weights keeps it (1.weight would be otherwise); mend it in models/, or leave it out"
    )
    assert message == f"MyNet: does not take its own state dict, {told}"


def test_a_state_dict_is_taken_whatever_is_in_it(attempt: Attempt) -> None:
    buffers = {"a": torch.tensor([True]), "b": torch.tensor([math.nan, math.inf])}
    buffers |= {"c": torch.tensor(255, dtype=torch.uint8), "d": torch.zeros(0)}
    buffers |= {"e": torch.ones(3, dtype=torch.uint16), "f": torch.ones(2, 2).t()[:1]}
    buffers |= {"g": torch.ones(2, dtype=torch.float8_e5m2), "h": torch.ones(2, dtype=torch.double)}
    built = []

    def build() -> nn.Module:
        built.append(small(channels=3))
        for name, values in buffers.items():
            built[-1].register_buffer(name, values.clone())
        return built[-1]

    attempt(build, weights=True)
    for network in built:
        found = dict(network.named_buffers())
        torch.testing.assert_close(found, buffers, rtol=0, atol=0, equal_nan=True)


def test_what_answers_in_eval_mode_alone_is_not_trained(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(lambda: Averages(small(conv(), channels=3)))
    line = "MyNet: average.1.weight, average.1.bias, average.3.weight and 1 more: no gradient in "
    assert any(each.startswith(line) for each in caplog.messages)


def test_what_no_training_changes_may_be_shared(attempt: Attempt) -> None:
    constant, layer = torch.ones(1), nn.Conv2d(3, 3, 1).requires_grad_(False)

    def build() -> nn.Module:
        network = small(layer, channels=3)
        network.register_buffer("constant", constant)
        return network

    attempt(build)


def test_whole_numbers_may_be_a_parameter(attempt: Attempt) -> None:
    attempt(lambda: Indexed(*small(channels=3)), weights=True)


def observed() -> nn.Module:
    network = small(conv(), channels=3)
    network.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    return network.train()


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))


@pytest.mark.parametrize(
    "size, part, images", [(21, "train", 64), (57, "train minus validation", 58)]
)
def test_a_batch_norm_that_would_meet_a_batch_of_one_is_a_line(
    size: int, part: str, images: int, attempt: Attempt
) -> None:
    recipe = replace(RECIPE, batch_size=size)
    text = error_of(lambda: attempt(normed, part=part, recipe=recipe))
    assert text.startswith("MyNet: cannot be trained on a batch of 1 (ValueError: Expected more ")
    assert text.endswith(
        f", which is the last of {images} images in batches of {size}; mend it in models/, or give "
        "its recipe another batch_size"
    )


class Caches(nn.Module):
    """Makes at its first call what it then keeps, as of the places of patches."""

    kept = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.linspace(0.5, 1, x.shape[-1], device=x.device)
        return x * self.kept


def near_a_tenth() -> nn.Module:
    """Its logits happen to be what probabilities could be."""
    network = small(channels=3)
    nn.init.constant_(network[-1].bias, 0.1)
    nn.init.normal_(network[-1].weight, std=1e-4)
    return network


@pytest.mark.parametrize(
    "build",
    [
        lambda: small(nn.Conv2d(3, 4, 1), Caches(), nn.Conv2d(4, 4, 1), channels=4),
        lambda: small(nn.Conv2d(3, 4, 1), Does(torch.log), nn.Conv2d(4, 4, 1), channels=4),
        normed,
        lambda: nn.Sequential(Does(Tensor.requires_grad_), *small(channels=3)),
        lambda: Reads(nn.LSTM(96, 96, batch_first=True)),
        lambda: Reads(nn.TransformerEncoderLayer(96, 4, 32, batch_first=True)),
        near_a_tenth,
    ],
    ids=[
        *("caches", "not finite", "batch-norm", "gradient of images", "an LSTM", "attention"),
        "near 0.1",
    ],
)
def test_a_network_is_not_refused_for_what_training_can_take_or_tell(
    build: Build, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(build, recipe=replace(RECIPE, batch_size=64))
    assert not [line for line in caplog.messages if "probabilities" in line]


class Uses(nn.Module):
    """Holds something, and what is done with it."""

    def __init__(self, held: object, use: Callable[["Uses", Tensor], Tensor]) -> None:
        super().__init__()
        self.held, self.use = held, use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def conv() -> nn.Module:
    return nn.Conv2d(3, 3, 1)


def first(layer: Uses, x: Tensor) -> Tensor:
    return layer.held[0](x)


# of which torch knows nothing
ELSEWHERE: dict[str, tuple[str, Build]] = {
    "list": ("Conv2d", lambda: Uses([conv()], first)),
    "pairs": ("Conv2d", lambda: Uses([(conv(), nn.ReLU())], lambda m, x: m.held[0][0](x))),
    "dicts": ("Conv2d", lambda: Uses({"a": {"b": conv()}}, lambda m, x: m.held["a"]["b"](x))),
    "no module": (
        "Conv2d",
        lambda: Uses(SimpleNamespace(layer=conv()), lambda m, x: m.held.layer(x)),
    ),
    "closure": ("Conv2d", lambda: Does(partial(nn.Module.__call__, conv()))),
    "each call": ("Conv2d", lambda: Does(lambda x: conv()(x))),
    "in training": (
        "Conv2d",
        lambda: Uses([conv()], lambda m, x: first(m, x) if m.training else x),
    ),
    "frozen": ("Conv2d", lambda: Uses([conv().requires_grad_(False)], first)),
    "statistics": ("BatchNorm2d", lambda: Uses([nn.BatchNorm2d(3, affine=False)], first)),
    "parameters": (
        "",
        lambda: Uses([conv().weight], lambda m, x: nn.functional.conv2d(x, m.held[0])),
    ),
    "tensor": (
        "",
        lambda: Uses(
            conv().weight.detach().requires_grad_(), lambda m, x: nn.functional.conv2d(x, m.held)
        ),
    ),
}


@pytest.mark.parametrize(("kind", "build"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_weights_that_torch_does_not_see_are_refused_wherever_they_are_held(
    kind: str, build: Build, attempt: Attempt
) -> None:
    assert error_of(lambda: attempt(lambda: small(build(), channels=3))).startswith(
        f"MyNet: runs a layer ({kind}) that is no part of it, which torch would not train and no "
        if kind
        else "MyNet: a tensor [3, 3, 1, 1] requires a gradient and is no parameter of it, where "
    )


def held_besides() -> nn.Module:
    layer = Uses([conv()], first)
    layer.layers = nn.ModuleList(layer.held)
    return layer


def with_dummy() -> nn.Module:
    """A reentrant checkpoint asks for a tensor that requires a gradient; nobody reads it."""
    again = partial(checkpoint, lambda x, _: x.tanh(), use_reentrant=True)
    return Uses(torch.ones(1, requires_grad=True), lambda m, x: again(x, m.held))


class TrainsAlone(torch.autograd.Function):
    """Has a backward in training mode alone, as cuDNN's recurrent layers."""

    @staticmethod
    def forward(context: Any, x: Tensor, is_training: bool) -> Tensor:  # noqa: ANN401
        context.is_training = is_training
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        if not context.is_training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return gradient, None


class Skips(nn.Module):
    """Stochastic depth; in training alone, with every other step, or from some step on."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = conv(), kind
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.layer(x) if self.kind == "at random" else x
        self.steps += 1
        runs = {
            "at random": torch.rand(()) < 0.5,
            "every other": self.steps % 2 == 0,
            "late": self.steps > 7,
        }
        return x + self.layer(x) if runs[self.kind] else x


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
@pytest.mark.parametrize(
    "build",
    [
        lambda: Uses([nn.ReLU(), nn.Tanh()], first),
        lambda: Uses(
            v2.Compose([v2.RandomHorizontalFlip()]), lambda m, x: m.held(x) if m.training else x
        ),
        lambda: Uses(conv(), lambda m, x: nn.Sequential(m.held, nn.ReLU())(x)),
        held_besides,
        lambda: Uses(torch.compile(conv(), backend="eager"), lambda m, x: m.held(x)),
        with_dummy,
        lambda: Uses(None, lambda m, x: TrainsAlone.apply(x, m.training)),
        *(partial(Skips, kind) for kind in ("at random", "every other", "late")),
    ],
    ids=[
        *("acts", "transforms", "put together", "besides", "compiled", "dummy", "cuDNN"),
        *("random", "other", "late"),
    ],
)
def test_what_is_trained_after_all_is_neither_refused_nor_told(
    build: Build, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    sgd = replace(RECIPE, optimizer="sgd", momentum=0.9)
    attempt(lambda: small(conv(), build(), channels=3), recipe=sgd)
    ours = [each.message for each in caplog.records if each.name.startswith("utils")]
    assert not [line for line in ours if "receptive" not in line]


def test_an_expert_that_one_image_chooses_is_trained(
    attempt: Attempt, cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    means = normalise(cifar10.x_train, cifar10).mean((1, 2, 3))
    assert means.argmax() > 3
    bound = means.topk(2).values.mean()

    def expert(layer: Uses, x: Tensor) -> Tensor:
        chosen = x.mean((1, 2, 3), keepdim=True) > bound
        return torch.where(chosen, layer.held(x), x) if chosen.any() else x

    attempt(lambda: nn.Sequential(Uses(conv(), expert), *small(channels=3)))
    assert not [line for line in caplog.messages if "no gradient" in line]


class Anneals(nn.Module):
    """Cools down with every step."""

    turns = 0  # a class's default, until the first step makes a number of its own

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.generator, self.steps, self.kind = torch.Generator(), 0, kind
        self.size = 0
        self.register_buffer("mean", torch.zeros(()), persistent=kind == "kept")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self.kind == "drawn":
            return x * torch.rand((), generator=self.generator)
        if self.kind == "mixed":
            self.size = np.random.beta(0.2, 0.2) * random.random()
            return self.size * x + (1 - self.size) * x.flip(0)
        if self.kind == "shown":
            self.size, self.sparsity, self.seen = len(x), x.mean().item(), x.detach()
        elif self.kind == "done":
            self.steps = True
        elif self.kind == "default":
            self.turns += 1
        elif self.kind == "made":
            self.made = getattr(self, "made", 0) + 1
            return x / self.made
        elif self.kind == "cached":
            if not hasattr(self, "grid"):
                self.grid, self.is_made = torch.linspace(0, 1, 8), True
            return x + self.grid
        elif self.kind == "number":
            self.steps += 1
        else:
            self.mean = self.mean + 1
        return x / (1 + self.steps + self.turns + self.mean)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        *(("number", "1.steps"), ("drawn", "1.generator"), ("passing", "1.mean")),
        *(("done", "1.steps"), ("default", "1.turns"), ("made", "1.made")),
        *(("kept", ""), ("shown", ""), ("mixed", ""), ("cached", "")),
    ],
)
def test_what_no_checkpoint_keeps_is_told(
    kind: str, changed: str, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(lambda: small(Anneals(kind), channels=3))
    check_told(changed, caplog.messages)


def check_told(changed: str, messages: list[str]) -> None:
    """That this changes, and nothing else; where it is empty, that nothing does."""
    told = [line for line in messages if "checkpoint" in line]
    start = f"MyNet: {changed}: changes as it runs, and is in no checkpoint: "
    assert [line.startswith(start) for line in told] == [True] * bool(changed)


class Remembers(nn.Module):
    """Begins with None, and has something in its place from the first step on."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.held, self.shape, self.kind = None, (), kind
        self.warm = nn.Identity()
        self.register_buffer("grid", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "found once":  # and not again where the weights have changed
            self.held = x.detach().std() if self.held is None else self.held
            return x / self.held
        if self.kind == "found in eval mode":
            self.held = None if self.training else x.std() if self.held is None else self.held
            return x if self.training else x / self.held
        if self.kind == "found for training":
            found, self.held = self.held, None if self.training else x.detach().std()
            return x if found is None or not self.training else x / found
        if self.kind == "grid in eval mode" and not self.training:
            self.held = torch.linspace(0, 1, x.shape[-1]) if self.held is None else self.held
            return x + self.held
        if not self.training:
            return x
        if self.kind == "mean":
            mean = x.detach().mean()
            self.held = mean if self.held is None else 0.9 * self.held + 0.1 * mean
            x = x - self.held
        if self.kind == "begun":
            self.held = True
        if self.kind == "passing":
            self.steps = x.shape[-1]
            if hasattr(self, "seen") and not hasattr(self, "late"):
                self.register_buffer("late", torch.ones(1), persistent=False)
            self.seen = True
        if self.kind == "less":
            self.steps = x.shape[-1]
            if hasattr(self, "warm"):
                del self.warm
        if self.kind == "layer":
            self.held = self.held or nn.Dropout(0.5)
            return self.held(x)
        if self.kind == "new layer":
            self.drop = getattr(self, "drop", nn.Dropout(0.5))
            return self.drop(x)
        if self.kind == "looked at":
            self.held, self.shape = x.mean(), len(x)
        if self.grid is None:
            self.grid = torch.linspace(0, 1, x.shape[-1])
        return x + self.grid


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        *(("mean", "2.held"), ("begun", "2.held"), ("looked at", ""), ("grid", "")),
        *(("layer", ""), ("new layer", ""), ("less", ""), ("passing", "2.late")),
        *(("found once", "2.held"), ("found in eval mode", "")),
        *(("found for training", "2.held"), ("grid in eval mode", "")),
    ],
)
def test_what_begins_with_none_is_told_where_it_is_read(
    kind: str, changed: str, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(lambda: small(conv(), Remembers(kind), channels=3))
    check_told(changed, caplog.messages)


class Auxiliary(nn.Linear):
    """More logits in training than in eval mode, and a number that is looked at."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = len(x)
        return super().forward(x)[:, : None if self.training else 10]


def test_other_outputs_in_training_are_no_memory(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(lambda: small(channels=3)[:-1].append(Auxiliary(192, 12)))
    check_told("", caplog.messages)


def draws_for_itself(seed: int = 42) -> nn.Module:
    network = small(channels=3)
    for weight in network.parameters():
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(seed))
    return network


class Detaches(nn.Module):
    """Keeps gradients from all that comes before it, and a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.left_over = nn.Conv2d(3, 512, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Multiplies(nn.Module):
    """A linear layer by hand; what is one number for each feature is no matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(3072, 8)), nn.Parameter(torch.ones(1, 8))
        self.fixed = nn.Parameter(torch.eye(8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight @ self.fixed * self.scale


def weight_normed() -> nn.Module:
    return small(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), channels=4)


TOLD: dict[str, tuple[Build, str]] = {
    "probabilities": (
        lambda: small(channels=3).append(nn.Softmax(1)),
        "puts out nothing below 0 or above 1, as probabilities are; the loss takes l",
    ),
    "a sigmoid": (
        lambda: small(channels=3).append(nn.Sigmoid()),
        "puts out nothing below 0 or above 1, as probabilities are; the loss takes logits",
    ),
    "no gradient": (
        lambda: small(conv().requires_grad_(False), conv(), Detaches(), channels=3),
        "2.weight, 2.bias, 3.left_over.weight and 1 more: no gradient in 20 passes: not ",
    ),
    "by hand": (
        lambda: nn.Sequential(nn.Flatten(), Multiplies(), nn.Linear(8, 10)),
        "1.weight: of no nn.Conv2d, CustomConv or nn.Linear: not trained by Muon, no gr",
    ),
    "weight norm": (
        weight_normed,
        "1.parametrizations.weight.original1: what weights are computed from: not trained",
    ),
    "extends": (
        lambda: Calls(list("abc"), a=nn.Conv2d(3, 3, 1), c=small(channels=3), b=nn.Conv2d(3, 3, 1)),
        "c.2 runs last and b is declared last, which counts as that",
    ),
    "leaves": (
        lambda: Calls(["net"], left_over=nn.Linear(10, 10), net=small(channels=3)),
        "net.2 runs first and left_over is declared first, which counts as that",
    ),
    "seeds itself": (
        lambda: torch.manual_seed(42) and small(channels=3),
        "begins alike with every seed, so that ± is of the order of images al",
    ),
    "draws for itself": (
        draws_for_itself,
        "begins alike with every seed, so that ± is of the order of images al",
    ),
}


def test_what_muon_trains_is_told_where_there_is_muon(
    attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(weight_normed)
    assert not caplog.messages


@pytest.mark.parametrize(("build", "line"), TOLD.values(), ids=TOLD)
def test_what_a_network_does_otherwise_than_is_said_of_it_is_told(
    build: Build, line: str, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(build, recipe=replace(RECIPE, muon_rate=0.02))
    told, *more = (each for each in caplog.messages if "no receptive fields" not in each)
    assert told.startswith(f"MyNet: {line}")
    assert ["no gradient" in each for each in more] == [True] * ("left_over is" in line)

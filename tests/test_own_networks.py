"""Networks of one's own, of whatever parts: they train, count and render as the others do."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation
from torchvision.transforms import v2

import models
from models import CustomConv
from models.registry import MODELS
from tests.fake_records import make_experiment
from tests.fakes import error_of, leave_pixels_out
from tests.training.runs import RECIPE, RUN, nothing
from utils import one_run, runner
from utils.data.dataset import Dataset
from utils.experiment import Compute, LayerCase, Row
from utils.measuring import probes, speed
from utils.measuring.probes import probe
from utils.measuring.trial import try_out
from utils.plan import check_recipe
from utils.records.files import read_arrays
from utils.records.runs import find_records, identity
from utils.records.schema import Record


def small(*features: nn.Module, channels: int) -> nn.Sequential:
    """Images in, eight by eight; logits out."""
    return nn.Sequential(nn.AvgPool2d(4), *features, nn.Flatten(), nn.Linear(64 * channels, 10))


def with_weight_norm(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    network = small(norm(nn.Conv2d(3, 4, 3, padding=1)), nn.ReLU(), channels=4)
    network[-1] = norm(network[-1])
    return network


class Twice(nn.Module):
    """One convolution and one activation, called twice; a layer by the name of the second call."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.act = nn.AvgPool2d(4), nn.ReLU()
        self.first, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.conv_1, self.head = nn.Conv2d(4, 4, 1), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(self.pool(x)))
        x = self.act(self.conv(x))
        x = self.act(self.conv(x))
        return self.head(self.conv_1(x).flatten(1))


def tied() -> nn.Module:
    network = small(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), channels=4
    )
    network[3].weight = network[2].weight
    network.append(nn.Linear(10, 10))
    network.append(nn.Linear(10, 10))
    network[-1].weight = network[-2].weight
    return network


def of_torchvisions_parts() -> nn.Module:
    gate = SqueezeExcitation(4, 2)
    return small(Conv2dNormActivation(3, 4), gate, Conv2dNormActivation(4, 4), channels=4)


class Decides(nn.Module):
    """torch.fx cannot trace what depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small(nn.Conv2d(3, 4, 3, padding=1), channels=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) if x.sum() < 1e30 else self.layers(-x)


class Remembers(nn.Module):
    """Assigns a buffer in its forward, which torch.fx would fill with a sign of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), channels=4)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.mean()
        return self.layers(x)


OWN: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: with_weight_norm(parametrizations.weight_norm),
    "weight norm of old": lambda: with_weight_norm(nn.utils.weight_norm),
    "custom, normed": lambda: small(
        parametrizations.weight_norm(CustomConv(3, 4, 3, padding=1)), channels=4
    ),
    "called twice": Twice,
    "tied": tied,
    "parts": of_torchvisions_parts,
    "decides": Decides,
    "remembers": Remembers,
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
}
FIGURES = (
    *("gradient_flow", "gradient_norms"),
    *("receptive_field", "filters", "activations", "feature_maps"),
)
EXPERIMENT = make_experiment(
    [Row("CNN7x7"), *map(Row, OWN)],
    recipe=replace(RECIPE, epochs=1, muon_rate=0.02),
    figures=FIGURES,
)
FLAGS = ["--quick", "--epochs", "1", "--threads", "1", "--weights", "--out-dir"]


@pytest.fixture(scope="module")
def known(cifar10: Dataset) -> Iterator[None]:
    """The registry knows them, and a command has few images."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, build in OWN.items():
            monkeypatch.setitem(MODELS, name, MODELS["CNN7x7"]._replace(build=build))
        monkeypatch.setattr(runner, "load_quick_dataset", lambda name: cifar10)
        leave_pixels_out(monkeypatch)
        yield


@pytest.fixture(scope="module")
def folder(known: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a command leaves that trains, measures and renders all of them."""
    folder = tmp_path_factory.mktemp("own")
    assert runner.main([EXPERIMENT], "", [*FLAGS, str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Record]:
    """Label -> record."""
    records = find_records(EXPERIMENT, folder / "results" / "quick")
    return {each.row.label: each.record for each in records}


def test_all_of_them_stand_in_the_table_and_in_the_figures(folder: Path) -> None:
    table = folder / "results" / "quick" / EXPERIMENT.name / "table.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["model"] for row in rows] == ["CNN7x7", *OWN]
    assert all(float(row["latency_ms"]) > 0 and int(row["parameters"]) for row in rows)
    drawn = {path.stem for path in (folder / "plots" / "quick" / EXPERIMENT.name).iterdir()}
    assert set(FIGURES) <= drawn
    seen = {
        each.row.label
        for each in find_records(EXPERIMENT, folder / "results" / "quick")
        if {"filters", "activations", "receptive_field"}
        <= set(read_arrays(each.path.with_suffix(".npz")))
    }
    # behind the gate of "parts" a unit sees the whole image
    assert seen == {"CNN7x7", *OWN} - {"decides", "one layer", "parts"}


def test_their_weights_come_back(folder: Path) -> None:
    flags = [*FLAGS[:1], "--evaluate", "--out-dir", str(folder)]
    assert runner.main([EXPERIMENT], "", flags) == 0


def test_gradient_norms_are_those_of_what_a_weight_is_made_of(found: dict[str, Record]) -> None:
    def layers(name: str) -> list[str]:
        norms = found[name].epochs[0].gradient_norm
        assert all(norm > 0 for norm in norms.values())
        return list(norms)

    for name in ("weight norm", "weight norm of old", "custom, normed"):
        assert len(layers(name)) == 2
    assert layers("called twice") == ["first", "conv", "conv_1", "head"]
    assert layers("tied") == ["1", "2", "3", "5", "6", "7"]
    assert layers("parts") == ["1.0", "2.fc1", "2.fc2", "3.0", "5"]
    tied_norms = found["tied"].epochs[0].gradient_norm
    assert tied_norms["2"] == tied_norms["3"] != tied_norms["1"]


def test_they_are_counted_by_what_they_compute(found: dict[str, Record]) -> None:
    first, plain = 2 * 64 * 9 * 3 * 4, 2 * 64 * 9 * 4 * 4
    point, head = 2 * 64 * 4 * 4, 2 * 256 * 10
    assert found["called twice"].forward_flops == first + 2 * plain + point + head
    assert found["weight norm"].forward_flops == first + head
    assert found["custom, normed"].forward_flops == first + head
    shared = 4 * 4 * 9 + 10 * 10  # one of two convolutions, one of two linear layers
    assert found["tied"].parameters == 3 * 4 + 4 + shared + 2 * 4 + 256 * 10 + 10 + 2 * 10


def test_a_layer_that_is_called_again_has_a_name_of_its_own(found: dict[str, Record]) -> None:
    fields = found["called twice"].receptive_field
    # pixels: 4 of the pooling, and 4 apart behind it
    assert fields == {"pool": 4, "first": 12, "conv": 20, "conv_2": 28, "conv_1": 28}


def test_what_cannot_be_seen_is_left_out_and_told_once(
    known: None, cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    probes.tell_once.cache_clear()
    facts, arrays = probe(models.build("decides"), cifar10, "decides")
    probe(models.build("decides"), cifar10, "decides")
    assert facts["receptive_field"] == {} and arrays == {}
    (line,) = caplog.messages
    assert line.startswith(
        "decides: no receptive fields and feature maps: TraceError: symbolically"
    )
    assert "\n" not in line


def test_what_hooks_of_the_network_itself_do_is_not_seen(
    cifar10: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    probes.tell_once.cache_clear()
    network = small(nn.Conv2d(3, 4, 1), channels=4)
    network.register_forward_pre_hook(lambda module, images: (images[0] * 10,))
    assert probe(network, cifar10, "net")[1] == {}
    assert caplog.messages[0].startswith("net: no receptive fields and feature maps: NotImplemen")


@pytest.mark.filterwarnings("error")
def test_activations_beyond_float16_are_its_largest_number(cifar10: Dataset) -> None:
    network = small(nn.Conv2d(3, 4, 1), channels=4)
    nn.init.constant_(network[1].bias, 1e6)
    assert (probe(network, cifar10, "net")[1]["activations"] == np.finfo(np.float16).max).all()


def test_activations_of_a_layer_called_twice_are_those_of_each_call(
    known: None, cifar10: Dataset
) -> None:
    network = models.build("called twice").eval()
    seen: list[Tensor] = []
    network.act.register_forward_hook(lambda module, inputs, output: seen.append(output))
    _, arrays = probe(network, cifar10, "net")
    seen.clear()
    with torch.no_grad():
        network(probes.normalise(cifar10.x_test[:1], cifar10))
    for name, value in zip(("first", "conv", "conv_2"), seen, strict=True):
        difference = torch.from_numpy(arrays[f"feature_maps/{name}"].astype("float32")) - value[0]
        assert difference.abs().max() < 1e-2


class Views(nn.Module):
    """Flattens as it is often shown."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1)


class Draws(nn.Module):
    """Forgets that nothing is dropped in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x)


class Holds(nn.Module):
    """Keeps in its state what is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"epochs": 1}


class Grows(nn.Module):
    """Remembers all that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, x.mean()[None]])
        return x


class Caches(nn.Module):
    """Makes at its first call what it then keeps, as of the places of patches."""

    kept = None

    def forward(self, x: Tensor) -> Tensor:
        if self.kept is None:
            self.kept = torch.linspace(0.5, 1, x.shape[-1], device=x.device)
        return x * self.kept


class Logs(nn.Module):
    """Is not defined for what is negative."""

    def forward(self, x: Tensor) -> Tensor:
        return x.log()


@pytest.mark.parametrize("layer", [Caches, Logs])
def test_a_network_is_not_refused_for_what_training_can_take_or_tell(
    layer: type[nn.Module], cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = MODELS["CNN7x7"]._replace(
        build=lambda: small(nn.Conv2d(3, 4, 1), layer(), nn.Conv2d(4, 4, 1), channels=4)
    )
    monkeypatch.setitem(MODELS, "MyNet", mine)
    try_out(replace(RUN, network="MyNet"), cifar10)


class Anneals(nn.Module):
    """Cools down with every step."""

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
        if self.kind == "shown":
            self.size, self.sparsity, self.seen = len(x), x.mean().item(), x.detach()
        elif self.kind == "done":
            self.steps = True
        elif self.kind == "number":
            self.steps += 1
        else:
            self.mean = self.mean + 1
        return x / (1 + self.steps + self.mean)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        *(("number", "1.steps"), ("drawn", "1.generator"), ("passing", "1.mean")),
        *(("done", "1.steps"), ("kept", ""), ("shown", "")),
    ],
)
def test_what_no_checkpoint_keeps_is_told(
    kind: str,
    changed: str,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    probes.tell_once.cache_clear()
    network = MODELS["CNN7x7"]._replace(build=lambda: small(Anneals(kind), channels=3))
    monkeypatch.setitem(MODELS, "MyNet", network)
    try_out(replace(RUN, network="MyNet"), cifar10)
    told = [line for line in caplog.messages if "checkpoint" in line]
    start = f"MyNet: {changed}: changes in training, and is in no checkpoint: "
    assert [line.startswith(start) for line in told] == [True] * bool(changed)


class Sets(nn.Module):
    """Would have all networks of the command trained its way."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_float32_matmul_precision("medium")

    def forward(self, x: Tensor) -> Tensor:
        return x


class Drifts(Anneals):
    """Changes a little whenever it is called, in eval mode too."""

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        return x * (1 + 1e-6 * self.steps)


class Extends(models.CNN7x7):
    """A network of the study with one convolution more, which is declared behind the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.extra(self.features(x)))


class Leaves(nn.Module):
    """Declares a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.left_over = nn.Linear(3072, 10), nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class Calls(nn.Module):
    """Holds something, and what is done with it."""

    def __init__(self, held: object, use: Callable[["Calls", Tensor], Tensor]) -> None:
        super().__init__()
        self.held, self.use = held, use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self, x)


def conv() -> nn.Module:
    return nn.Conv2d(3, 3, 1)


def first(layer: Calls, x: Tensor) -> Tensor:
    return layer.held[0](x)


def in_closure() -> nn.Module:
    layer = conv()
    return Calls(None, lambda _, x: layer(x))


# of which torch knows nothing
ELSEWHERE: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "list": ("Conv2d", lambda: Calls([conv()], first)),
    "pairs": ("Conv2d", lambda: Calls([(conv(), nn.ReLU())], lambda m, x: m.held[0][0](x))),
    "dicts": ("Conv2d", lambda: Calls({"a": {"b": conv()}}, lambda m, x: m.held["a"]["b"](x))),
    "no module": (
        "Conv2d",
        lambda: Calls(SimpleNamespace(layer=conv()), lambda m, x: m.held.layer(x)),
    ),
    "closure": ("Conv2d", in_closure),
    "each call": ("Conv2d", lambda: Calls(None, lambda m, x: conv()(x))),
    "in training": (
        "Conv2d",
        lambda: Calls([conv()], lambda m, x: first(m, x) if m.training else x),
    ),
    "frozen": ("Conv2d", lambda: Calls([conv().requires_grad_(False)], first)),
    "statistics": ("BatchNorm2d", lambda: Calls([nn.BatchNorm2d(3, affine=False)], first)),
    "parameters": (
        "",
        lambda: Calls([conv().weight], lambda m, x: nn.functional.conv2d(x, m.held[0])),
    ),
    "tensor": (
        "",
        lambda: Calls(
            conv().weight.detach().requires_grad_(), lambda m, x: nn.functional.conv2d(x, m.held)
        ),
    ),
}


@pytest.mark.parametrize(("kind", "build"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_weights_that_torch_does_not_see_are_refused_wherever_they_are_held(
    kind: str, build: Callable[[], nn.Module], cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = MODELS["CNN7x7"]._replace(build=lambda: small(build(), channels=3))
    monkeypatch.setitem(MODELS, "MyNet", mine)
    text = error_of(lambda: try_out(replace(RUN, network="MyNet"), cifar10))
    assert text.startswith(
        f"MyNet: runs a layer ({kind}) that is no part of it, which torch would not train and no "
        if kind
        else "MyNet: a tensor [3, 3, 1, 1] requires a gradient and is no parameter of it, where "
    )


def held_besides() -> nn.Module:
    layer = Calls([conv()], first)
    layer.layers = nn.ModuleList(layer.held)
    return layer


def compiled() -> nn.Module:
    return Calls(torch.compile(conv(), backend="eager"), lambda m, x: m.held(x))


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
        lambda: Calls([nn.ReLU(), nn.Tanh()], first),
        lambda: Calls(
            v2.Compose([v2.RandomHorizontalFlip()]), lambda m, x: m.held(x) if m.training else x
        ),
        lambda: Calls(conv(), lambda m, x: nn.Sequential(m.held, nn.ReLU())(x)),
        held_besides,
        compiled,
        *(partial(Skips, kind) for kind in ("at random", "every other", "late")),
    ],
    ids=["acts", "transforms", "put together", "besides", "compiled", "random", "other", "late"],
)
def test_what_is_trained_after_all_is_neither_refused_nor_told(
    build: Callable[[], nn.Module],
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    probes.tell_once.cache_clear()
    mine = MODELS["CNN7x7"]._replace(build=lambda: small(conv(), build(), channels=3))
    monkeypatch.setitem(MODELS, "MyNet", mine)
    sgd = replace(RECIPE, optimizer="sgd", momentum=0.9)
    try_out(replace(RUN, network="MyNet", recipe=sgd), cifar10)
    ours = [each.message for each in caplog.records if each.name.startswith("utils")]
    assert not [line for line in ours if "receptive" not in line]


class Detaches(nn.Module):
    """Keeps gradients from all that comes before it, and a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.left_over = nn.Conv2d(3, 512, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def test_what_no_gradient_reaches_is_told(
    cifar10: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    probes.tell_once.cache_clear()
    fixed = conv().requires_grad_(False)
    mine = MODELS["CNN7x7"]._replace(build=lambda: small(fixed, conv(), Detaches(), channels=3))
    monkeypatch.setitem(MODELS, "MyNet", mine)
    try_out(replace(RUN, network="MyNet"), cifar10)
    assert caplog.messages[0].startswith(
        "MyNet: 2.weight, 2.bias, 3.left_over.weight and 1 more: no gradient in 20 passes: not "
    )


class Multiplies(nn.Module):
    """A linear layer by hand; what is one number for each feature is no matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(3072, 8)), nn.Parameter(torch.ones(1, 8))
        self.fixed = nn.Parameter(torch.eye(8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight @ self.fixed * self.scale


def seeds_itself() -> nn.Module:
    torch.manual_seed(42)
    return small(channels=3)


def draws_for_itself() -> nn.Module:
    network = small(channels=3)
    for weight in network.parameters():
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(42))
    return network


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (Extends, "MyNet: classifier.1 runs last and extra is declared last, which counts as that"),
        (
            lambda: nn.Sequential(*small(channels=3), nn.Softmax(1)),
            "MyNet: puts out probabilities; the loss takes logits: leave out its softmax",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), Multiplies(), nn.Linear(8, 10)),
            "MyNet: 1.weight: of no nn.Conv2d, CustomConv or nn.Linear: not trained by Muon, no gr",
        ),
        (
            lambda: with_weight_norm(nn.utils.weight_norm),
            "MyNet: 1.weight_v: what weights are computed from: not trained by Muon",
        ),
        (Leaves, "MyNet: fc runs last and left_over is declared last, which counts as that"),
        (
            seeds_itself,
            "MyNet: begins alike with every seed, so that ± is of the order of images al",
        ),
        (draws_for_itself, "MyNet: begins alike with every seed, so that ± is of the order of im"),
    ],
)
def test_what_a_network_does_otherwise_than_is_said_of_it_is_told(
    build: Callable[[], nn.Module],
    line: str,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    probes.tell_once.cache_clear()
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=build))
    try_out(replace(RUN, network="MyNet"), cifar10)
    told, *more = caplog.messages
    assert told.startswith(line)
    assert ["no gradient" in each for each in more] == [True] * (build is Leaves)


class Halts(nn.Module):
    """Computes more or less, by what it has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = nn.Linear(3072, 10), nn.Linear(3072, 10)
        self.register_buffer("sure", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.sure.fill_(True)
        out = self.short(x.flatten(1))
        return out if self.sure else out + self.long(x.flatten(1))


def test_what_a_network_computes_is_counted_before_it_has_learned(
    tmp_path: Path, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=Halts))
    run = replace(RUN, network="MyNet", recipe=replace(RECIPE, epochs=1))
    kept = one_run.train_one(run, nothing, cifar10, tmp_path / "run.checkpoint.pt", False)
    assert kept.record.forward_flops == 2 * 2 * 3072 * 10


class Sparse(nn.Module):
    """Has a buffer of a kind that is no plain array."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacent", torch.eye(2).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_weights_that_cannot_be_kept_are_told_before_they_are_trained(
    cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = MODELS["CNN7x7"]._replace(build=lambda: small(Sparse(), channels=3))
    monkeypatch.setitem(MODELS, "MyNet", mine)
    run = replace(RUN, network="MyNet")
    try_out(run, cifar10)
    text = error_of(lambda: try_out(run, cifar10, weights=True))
    assert text.startswith("MyNet: cannot be trained on tiny (")


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


class Pairs(nn.Linear):
    """Puts out more than logits."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


def called(name: str) -> nn.Module:
    network = small(channels=3)
    network.add_module(name, nn.Linear(10, 10))
    return network


def frozen() -> nn.Module:
    return small(nn.Conv2d(3, 4, 1), channels=4).requires_grad_(False)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: small(channels=3)[:-1],
            "MyNet: puts out [4, 192] for 4 images, expected [4, 10]: a number for each class; ",
        ),
        (
            lambda: small(channels=3).append(Pairs(10, 10)),
            "MyNet: puts out a tuple for 4 images, expected [4, 10]: a number for each class; ",
        ),
        (
            lambda: small(channels=3).append(Late(False)),
            "MyNet: 3.layer.weight is made in its forward, where no optimiser knows it; make it in",
        ),
        (
            lambda: small(channels=3).append(Late(True)),
            "MyNet: 3.layer.weight is made in its forward, where no optimiser knows it; make it in",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10)),
            "MyNet: has no convolution and no linear layer, whose gradients a record holds; ",
        ),
        (
            lambda: small(nn.Conv2d(1, 4, 1), channels=4),
            "MyNet: cannot be trained on tiny (RuntimeError: Given groups=1, weight of size ",
        ),
        (
            lambda: small(nn.Conv2d(3, 4, 1), Views(), channels=4),
            "MyNet: cannot be trained on tiny (RuntimeError: view size is not compatible with ",
        ),
        (
            lambda: small(Draws(), nn.Conv2d(3, 4, 1), channels=4),
            "MyNet: puts out something else each time it is shown the same images in eval mode; ",
        ),
        (
            lambda: small(Drifts("number"), nn.Conv2d(3, 4, 1), channels=4),
            "MyNet: puts out something else each time it is shown the same images in eval mode; ",
        ),
        (
            lambda: small(Sets(), nn.Conv2d(3, 4, 1), channels=4),
            "MyNet: changes torch's float32 matmul precision, which is for all networks of the ",
        ),
        (
            lambda: nn.Sequential(Holds(), *small(channels=3)),
            "MyNet: cannot be trained on tiny (AttributeError: 'dict' object has no attribute ",
        ),
        (
            lambda: nn.Sequential(Grows(), *small(channels=3)),
            "MyNet: a buffer changes its shape while it is trained, and would not fit into the ",
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
            "MyNet: cannot be trained on tiny (RuntimeError: Can't access the shape of an uninit",
        ),
        (
            lambda: called("a|b"),
            "MyNet: the name of its layer 'a|b' would break tables and figures; leave out ",
        ),
        (frozen, "MyNet: cannot be trained on tiny (RuntimeError: element 0 of tensors does not "),
        (
            lambda depth: frozen(),
            "MyNet: cannot be trained on tiny (TypeError: <lambda>() missing 1 required ",
        ),
    ],
    ids=[
        *(
            "no head",
            "pairs",
            "late",
            "anew",
            "no weight",
            "other channels",
            "views",
            "draws",
            "drifts",
            "sets",
            "holds",
            "grows",
            "lazy",
            "a name",
        ),
        *("frozen", "an argument is missing"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_in_a_line(
    build: Callable[..., nn.Module], message: str, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=build))
    run = replace(RUN, network="MyNet")
    assert error_of(lambda: try_out(run, cifar10)).startswith(message)
    torch.set_float32_matmul_precision("highest")


def test_it_is_refused_before_anything_is_trained_or_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=frozen))
    monkeypatch.setattr(one_run, "train", None)  # it would raise
    kept = tmp_path / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.npz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    experiment = make_experiment(["CNN7x7", "MyNet"], recipe=EXPERIMENT.recipe)
    assert runner.main([experiment], "", [*FLAGS[:-1], "--fresh", "--out-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: MyNet: cannot be trained")
    assert kept.read_bytes() == b"kept"


class Limited(nn.Module):
    """Fails where so many images come at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.layers, self.most = small(nn.Conv2d(3, 4, 1), channels=4), most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == self.most:
            raise ValueError("too many\nimages")
        return self.layers(x)


def test_what_cannot_be_measured_is_a_line_and_the_rest_is_measured_and_rendered(
    known: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speed, "THROUGHPUT_BATCH", 24)
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=lambda: Limited(24)))
    cases = (LayerCase("ReLU", nn.ReLU, (1, 2, 4, 4)), LayerCase("MyLayer", frozen, (1, 3, 9, 9)))
    experiment = replace(
        make_experiment(["CNN7x7", "MyNet"], recipe=EXPERIMENT.recipe, figures=()), cases=cases
    )
    flags = [*FLAGS, str(tmp_path)]
    assert runner.main([experiment], "", flags) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "\ncifar10 MyNet: cannot be measured (ValueError: too many)\n" in told
    assert "\nMyLayer: cannot be measured (RuntimeError: mat1 and mat2 shapes cannot be " in told
    assert told.splitlines()[-1] == "error: cannot be measured: MyLayer, cifar10 MyNet"
    table = tmp_path / "results" / "quick" / experiment.name / "training.csv"
    first, second = csv.DictReader(table.open(encoding="utf-8"))
    assert (bool(first["latency_ms"]), bool(second["latency_ms"])) == (True, False)
    monkeypatch.setattr(speed, "measure_speed", None)  # it would raise: all that can be, is
    assert runner.main([experiment], "", flags) == 1
    assert "no speed is measured" not in capsys.readouterr().err
    again = ["--measure", *(each for each in flags if each != "--weights")]
    assert runner.main([experiment], "", again) == 1  # as where a later step raises
    assert capsys.readouterr().err.splitlines()[-1].endswith("MyNet, the speed of networks")


def test_overrides_are_numbers_of_any_type_and_nothing_that_cannot_be_recorded(
    cifar10: Dataset,
) -> None:
    numpys = replace(RUN, overrides={"widths": (np.int64(4), np.int64(6))})
    try_out(numpys, cifar10)
    assert identity(numpys)["overrides"] == {"widths": [4, 6]}
    for value in ({4, 6}, float("nan"), torch.float32):
        run = replace(RUN, overrides={"widths": value})
        text = error_of(lambda run=run: check_recipe(run, cifar10, False))
        assert text.startswith(f"{run.title}: cannot be recorded (")
        assert text.endswith("hold finite numbers, words and lists of them")


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))


@pytest.mark.parametrize(
    "size, part, images",
    [(21, "train", 64), (57, "train minus validation", 58), (64, "train", None)],
)
def test_a_batch_norm_that_would_meet_a_batch_of_one_is_a_line(
    size: int, part: str, images: int | None, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=normed))
    run = replace(RUN, network="MyNet", part=part, recipe=replace(RECIPE, batch_size=size))
    if images is None:
        try_out(run, cifar10)
        return
    text = error_of(lambda: try_out(run, cifar10))
    assert text.startswith("MyNet: cannot be trained on a batch of 1 (ValueError: Expected more ")
    assert text.endswith(
        f", which is the last of {images} images in batches of {size}; mend it in models/, or give "
        "its recipe another batch_size"
    )


def test_a_network_is_tried_out_with_each_recipe_and_precision_and_not_with_each_seed() -> None:
    others = [
        replace(RUN, seed=7, name="other"),
        replace(RUN, recipe=replace(RECIPE, epochs=9)),
        replace(RUN, recipe=replace(RECIPE, optimizer="sgd")),
        replace(RUN, compute=Compute(precision="bfloat16")),
        replace(RUN, overrides={"widths": (4, 6)}),
    ]
    assert [runner.tried_as(run) == runner.tried_as(RUN) for run in others] == [True] * 2 + [
        False
    ] * 3

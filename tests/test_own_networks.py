"""Networks of one's own, of whatever parts: they train, count and render as the others do."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

import models
from models import CustomConv
from models.registry import MODELS
from tests.fake_records import make_experiment
from tests.fakes import error_of, leave_pixels_out
from tests.training.runs import RECIPE, RUN, nothing
from utils import one_run, runner
from utils.data.dataset import Dataset
from utils.experiment import Compute, LayerCase, Row
from utils.measuring import prediction, probes, speed
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


def test_one_that_raises_at_a_picture_fails_alone(
    folder: Path,
    tmp_path: Path,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(cifar10.x_test[0].permute(1, 2, 0).numpy()).save(picture)
    monkeypatch.setattr(prediction, "load_quick_dataset", lambda name: cifar10)
    monkeypatch.setattr(Twice, "forward", lambda network, x: x.squeeze(0).mean(0))
    flags = [*FLAGS[:1], "--predict", str(picture), "--out-dir", str(folder)]
    assert runner.main([EXPERIMENT], "", flags) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "error: cannot be asked: called twice"
    assert told.out.count(" cannot be asked (") == 1
    assert told.out.count(" %, ") == 2 * len(OWN)  # three classes of each of the others


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


class Listed(nn.Module):
    """Keeps its convolutions where torch does not see them."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = [nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.convs[1](self.convs[0](x))


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
            lambda: nn.Sequential(*small(channels=3), nn.Sigmoid()),
            "MyNet: puts out probabilities; the loss takes logits: leave out its softmax or sigm",
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
    (told,) = caplog.messages
    assert told.startswith(line)


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


class Activates(nn.Module):
    """An activation, as a network's forward may have it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


def test_a_forward_that_was_edited_after_training_is_noticed(
    known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = MODELS["CNN7x7"]._replace(
        build=lambda: small(nn.Conv2d(3, 4, 1), Activates(), channels=4)
    )
    monkeypatch.setitem(MODELS, "MyNet", mine)
    experiment = make_experiment(["MyNet"], recipe=EXPERIMENT.recipe, figures=(), timed=False)
    flags = [*FLAGS, str(tmp_path)]
    assert runner.main([experiment], "", flags) == 0
    assert runner.main([experiment], "", flags) == 0
    monkeypatch.setattr(Activates, "forward", lambda layer, x: nn.functional.gelu(x))
    for more in ([], ["--seeds", "0", "1"]):
        assert runner.main([experiment], "", [*flags, *more]) == 2
        assert (
            capsys.readouterr()
            .err.splitlines()[-1]
            .endswith(
                "MyNet-seed0.json: other logits for the same weights, by the network as it is now; "
                "delete it and run the script again"
            )
        )
    assert runner.main([experiment], "", [*flags, "--fresh"]) == 0


class Squeezes(nn.Module):
    """Loses a batch of one: on the way to the head, or behind it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze()


class Subtracts(nn.Module):
    """Changes what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.5)


class Reads(nn.Module):
    """Goes through the image row by row, as this layer has it; a head behind the last row."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        read = self.layer(x.transpose(1, 2).flatten(2))  # [batch, rows, channels and columns]
        return self.head((read[0] if isinstance(read, tuple) else read)[:, -1])


class OverImages(nn.Module):
    """A softmax over the wrong dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.softmax(0)


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


DEPENDS = "MyNet: its answer for an image depends on the others of the batch, in eval mode; "


@pytest.mark.parametrize(
    "build",
    [
        lambda: Reads(nn.LSTM(96, 96)),
        lambda: Reads(nn.TransformerEncoderLayer(96, 4, 32)),
        lambda: small(OverImages(), nn.Conv2d(3, 4, 1), channels=4),
        lambda: small(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), channels=4),
    ],
    ids=["an LSTM", "attention", "a softmax", "a batch-norm"],
)
def test_an_answer_that_depends_on_other_images_is_refused(
    build: Callable[[], nn.Module], cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=build))
    assert error_of(lambda: try_out(replace(RUN, network="MyNet"), cifar10)).startswith(DEPENDS)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Reads(nn.LSTM(96, 96, batch_first=True)),
        lambda: Reads(nn.TransformerEncoderLayer(96, 4, 32, batch_first=True)),
        lambda: small(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), channels=4),
    ],
    ids=["an LSTM", "attention", "a batch-norm"],
)
def test_one_that_does_not_is_tried_as_it_is(
    build: Callable[[], nn.Module], cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "MyNet", MODELS["CNN7x7"]._replace(build=build))
    try_out(replace(RUN, network="MyNet"), cifar10)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: nn.Sequential(*small(channels=3), Squeezes()),
            "MyNet: puts out [10] for 1 image, expected [1, 10]; a .squeeze() takes the batch aw",
        ),
        (
            lambda: small(
                nn.AdaptiveAvgPool2d(1), Squeezes(), nn.BatchNorm1d(3), nn.Linear(3, 64), channels=1
            ),
            "MyNet: takes no image by itself (ValueError: expected 2D or 3D input (got 1D inpu",
        ),
        (
            lambda: nn.Sequential(Subtracts(), *small(channels=3)),
            "MyNet: changes the images that it is given, in place; mend it in models/, as in x = ",
        ),
        (
            lambda: [torch.autograd.set_detect_anomaly(True), small(channels=3)][1],
            "MyNet: changes torch's anomaly detection, which is for all networks of the command; ",
        ),
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
            lambda: small(Listed(), channels=3),
            "MyNet: 1.convs holds layers in a plain list or dict, where torch does not see and ",
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
        *("squeezes", "squeezes before", "in place", "anomaly"),
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
            "listed",
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
    torch.autograd.set_detect_anomaly(False)


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

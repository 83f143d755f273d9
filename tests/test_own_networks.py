"""Networks of one's own, of whatever parts: they train, count and render as the others do."""

import csv
import shlex
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

from models import CustomConv
from tests.fake_records import make_experiment
from tests.fakes import error_of, leave_pixels_out, measure_once
from tests.networks import Calls, Does, add_network, frozen, small
from tests.training.runs import RECIPE, RUN
from utils import one_run, runner
from utils.data.dataset import Dataset
from utils.experiment import Compute, LayerCase, Row
from utils.measuring import prediction, speed
from utils.measuring.trial import try_out
from utils.plan import check_recipe
from utils.records.files import read_arrays
from utils.records.runs import find_records, identity
from utils.records.schema import Record


def with_weight_norm(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    network = small(norm(nn.Conv2d(3, 4, 3, padding=1)), nn.ReLU(), channels=4)
    network[-1] = norm(network[-1])
    return network


def twice() -> nn.Module:
    """One convolution and one activation, called twice; a layer by the name of the second call."""
    return Calls(
        ["pool", "first", "act", "conv", "act", "conv", "act", "conv_1", "head"],
        pool=nn.AvgPool2d(4),
        act=nn.ReLU(),
        first=nn.Conv2d(3, 4, 3, padding=1),
        conv=nn.Conv2d(4, 4, 3, padding=1),
        conv_1=nn.Conv2d(4, 4, 1),
        head=nn.Sequential(nn.Flatten(), nn.Linear(256, 10)),
    )


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
    """Computes less or more by numbers, which torch.fx cannot trace, and by what it has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small(nn.Conv2d(3, 4, 3, padding=1), channels=4)
        self.register_buffer("sure", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.sure.fill_(True)
        out = self.layers(x)
        return out if x.sum() < 1e30 and self.sure else out + self.layers(-x)


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
    "called twice": twice,
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
            add_network(monkeypatch, build, name)
        monkeypatch.setattr(runner, "load_quick_dataset", lambda name: cifar10)
        leave_pixels_out(monkeypatch)
        measure_once(monkeypatch, images=24)
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


def test_one_that_was_edited_is_asked_of_no_picture(
    folder: Path,
    tmp_path: Path,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(cifar10.x_test[0].permute(1, 2, 0).numpy()).save(picture)
    monkeypatch.setattr(prediction, "load_quick_dataset", lambda name: cifar10)
    network = twice()
    network.forward = lambda x: x.squeeze(0).mean(0)
    add_network(monkeypatch, lambda: network, "called twice")
    flags = [*FLAGS[:1], "--predict", str(picture), "--out-dir", str(folder)]
    assert runner.main([EXPERIMENT], "", flags) == 1
    told = capsys.readouterr()
    line, last = told.err.splitlines()[-2:]
    assert "called twice-seed0.json: forward_flops " in line
    assert last == "error: cannot be asked: called twice"
    assert told.out.count(" %, ") == 2 * len(OWN)  # three classes of each of the others


def test_gradient_norms_are_those_of_what_a_weight_is_made_of(found: dict[str, Record]) -> None:
    def layers(name: str) -> list[str]:
        norms = found[name].epochs[0].gradient_norm
        assert all(norm > 0 for norm in norms.values())
        return list(norms)

    for name in ("weight norm", "weight norm of old", "custom, normed"):
        assert len(layers(name)) == 2
    assert layers("called twice") == ["first", "conv", "conv_1", "head.1"]
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
    assert found["decides"].forward_flops == 2 * (first + head)  # as long as it is untrained
    shared = 4 * 4 * 9 + 10 * 10  # one of two convolutions, one of two linear layers
    assert found["tied"].parameters == 3 * 4 + 4 + shared + 2 * 4 + 256 * 10 + 10 + 2 * 10


def test_it_is_refused_before_anything_is_trained_or_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_network(monkeypatch, frozen)
    monkeypatch.setattr(one_run, "train", None)  # it would raise
    kept = tmp_path / "results" / "quick" / "runs" / "cifar10" / "CNN7x7-seed0.npz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    experiment = make_experiment(["CNN7x7", "MyNet"], recipe=EXPERIMENT.recipe)
    assert runner.main([experiment], "", [*FLAGS[:-1], "--fresh", "--out-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: MyNet: trains no conv")
    assert kept.read_bytes() == b"kept"


def small_with(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return small(nn.Conv2d(3, 4, 1), Does(function), channels=4)


def test_a_forward_that_was_edited_after_training_is_noticed(
    known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("Mine, plain", "MyNet"), Row("CNN7x7")]
    experiment = make_experiment(rows, recipe=EXPERIMENT.recipe, figures=(), timed=False)
    flags = [*FLAGS, str(tmp_path)]
    add_network(monkeypatch, lambda: small_with(torch.relu))
    assert runner.main([experiment], "", [*flags, "--seeds", "0", "1"]) == 0
    assert runner.main([experiment], "", flags) == 0
    add_network(monkeypatch, lambda: small_with(nn.functional.gelu))
    for more in ([], ["--seeds", "0", "2"]):
        assert runner.main([experiment], "", [*flags, *more]) == 2
        _, told = capsys.readouterr().err.splitlines()[-1].split("MyNet-seed0.json and 1 more: ")
        what, advice = told.split("; ")
        assert what == "other logits for the same weights, by the network as it is now"
        assert advice.startswith("--fresh --models 'Mine, plain' --seeds 0 1 trains anew, and ")
    advised = shlex.split(advice.partition(" trains anew")[0])
    assert runner.main([experiment], "", [*flags, *advised]) == 0


def with_layers(convolution: str, head: str) -> nn.Module:
    named = {convolution: nn.Conv2d(3, 4, 4, 4), head: nn.Linear(256, 10)}
    return Calls([convolution, "flat", head], flat=nn.Flatten(), **named)


def test_layers_that_were_renamed_are_noticed_before_another_seed_is_trained(
    known: None,
    cifar10: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [Row("Mine, plain", "MyNet"), Row("CNN7x7")]
    experiment = make_experiment(rows, recipe=EXPERIMENT.recipe, figures=(), timed=False)
    flags = [*FLAGS, str(tmp_path)]
    add_network(monkeypatch, lambda: with_layers("a", "b"))
    assert runner.main([experiment], "", [*flags, "--seeds", "0", "1"]) == 0
    add_network(monkeypatch, lambda: with_layers("a", "head"))
    assert runner.main([experiment], "", flags) == 0  # it computes the same
    picture = tmp_path / "a.png"
    Image.new("RGB", (9, 9)).save(picture)
    monkeypatch.setattr(prediction, "load_quick_dataset", lambda name: cifar10)
    capsys.readouterr()
    asking = ["--quick", "--out-dir", str(tmp_path), "--predict", "none.png", str(picture)]
    assert runner.main([experiment], "", asking) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == (
        "error: --predict none.png: No such file or directory; give a picture; cannot be asked: "
        "Mine, plain"
    )
    assert runner.main([experiment], "", [*asking, "--models", "CNN7x7"]) == 2
    told = capsys.readouterr()
    assert "  CNN7x7" in told.out and told.err.endswith(
        "none.png: No such file or directory; give a picture\n"
    )
    assert "Mine, plain          cannot be asked (" in out and "head.weight is missing" in out
    assert any(line.startswith("  CNN7x7") and line.count(" %") == 3 for line in out.splitlines())
    monkeypatch.setattr(one_run, "train", None)  # it would raise
    assert runner.main([experiment], "", [*flags, "--seeds", "2"]) == 2
    _, told = capsys.readouterr().err.splitlines()[-1].split("MyNet-seed0.json: ")
    assert told == (
        "gradient_norm of a, b (not a, head), by the network as it is now; give models/ back what "
        "it had, or --fresh --models 'Mine, plain' --seeds 0 1 trains anew"
    )


def too_many(x: Tensor) -> Tensor:
    """Fails where so many images come at once."""
    if len(x) == 24:
        raise ValueError("too many\nimages")
    return x


def test_what_cannot_be_measured_is_a_line_and_the_rest_is_measured_and_rendered(
    known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_network(monkeypatch, lambda: small(Does(too_many), channels=3))
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

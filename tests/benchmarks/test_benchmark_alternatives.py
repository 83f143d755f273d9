"""Alternatives to the training step: each computes the same, one that cannot run is left out."""

import json

import pytest
import torch

from benchmarks import alternatives
from benchmarks.alternatives import ALTERNATIVES, markdown, measure, step_with, works
from benchmarks.timing import Effort, Setting
from tests.fakes import TINY_CIFAR10, make_arrays
from utils.data.dataset import make_dataset
from utils.experiment import Recipe, Run
from utils.training.loop import Compute

RECIPE = Recipe(1, "sgd", 0.1, 1e-3, batch_size=8, crop_padding=1, label_smoothing=0.1)
RUN = Run("kernel_size", "CNN7x7", "cifar10", RECIPE, seed=0)
CPU = torch.device("cpu")
DATA = make_dataset(make_arrays(TINY_CIFAR10), "cifar10", "tiny", TINY_CIFAR10.classes)
SETTING = Setting(True, Effort(1, 1, 1, 1.0), torch.get_num_threads(), CPU, lambda name: DATA)


@pytest.mark.parametrize("name", [name for name in ALTERNATIVES if name != "torch.compile"])
def test_every_alternative_computes_the_same(name: str) -> None:
    losses = {}
    for each in (name, alternatives.OURS):
        torch.manual_seed(0)
        step = step_with(ALTERNATIVES[each], RUN, Compute(CPU), SETTING)
        losses[each] = torch.stack([step() for _ in range(3)])
    torch.testing.assert_close(losses[name], losses[alternatives.OURS], rtol=1e-4, atol=1e-5)
    assert losses[name][0] > losses[name][-1]  # it learns: the optimiser's step is in it


def test_what_is_changed_is_changed() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    network = network.to(memory_format=torch.channels_last)
    images = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, fused=True)
    _, _, first = ALTERNATIVES["channels first"](network, [optimizer], images)
    assert first.is_contiguous() and network[0].weight.is_contiguous()
    ALTERNATIVES["ReLU in place"](network, [optimizer], images)
    assert network[1].inplace
    ALTERNATIVES["optimiser not fused"](network, [optimizer], images)
    assert not optimizer.param_groups[0]["fused"]


def test_what_cannot_be_compiled_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails() -> None:
        raise RuntimeError("No working C++ compiler found\nand much more")

    assert works(lambda: None) and not works(fails)
    assert "torch.compile left out: No working C++ compiler found" in caplog.text
    assert "much more" not in caplog.text


def test_the_section_measures_and_its_table_has_every_alternative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alternatives, "distinct_runs", lambda quick: [RUN])
    monkeypatch.setattr(alternatives, "NETWORKS", (("kernel_size", "CNN7x7"),))
    record = json.loads(json.dumps(measure(SETTING)))
    heading, _, row, *_ = markdown(record).splitlines()
    assert heading == (
        "| Model | Ours, ms | channels first, × | ReLU in place, × | optimiser not fused, × |"
    )
    assert row.startswith("| CNN7x7 |")
    assert "Geometric means: channels first" in markdown(record)


@pytest.mark.parametrize(
    "warning, expected", [(None, "bfloat16"), ("takes twice as long", "float32")]
)
def test_the_precision_is_one_that_nobody_is_warned_of(
    warning: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alternatives, "warn_if_slower", lambda *_: warning)
    assert alternatives.worthwhile_precision(CPU) == expected


def test_the_networks_are_declared() -> None:
    declared = {(run.experiment, run.model) for run in alternatives.distinct_runs()}
    assert set(alternatives.NETWORKS) <= declared

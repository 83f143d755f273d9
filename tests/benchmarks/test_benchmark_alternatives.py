"""Alternatives to the training step compute the same; runs side by side are the same runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import jobs
from benchmarks.alternatives import ALTERNATIVES, OURS, works
from benchmarks.step_actions import BareStep
from tests.fakes import TINY, TINY_CIFAR10, make_arrays
from utils.data.dataset import make_dataset, save_mapped
from utils.experiment import Recipe, Run
from utils.runner import MappedLoader

CPU = torch.device("cpu")
RECIPE = Recipe(1, "sgd", 0.1, 1e-3, batch_size=8, crop_padding=1, label_smoothing=0.1)
RUN = Run("CNN7x7", "cifar10", RECIPE, seed=0, name="CNN7x7")
DATA = make_dataset(make_arrays(TINY_CIFAR10), "cifar10", "tiny", TINY_CIFAR10.classes)


def changed(name: str) -> BareStep:
    torch.manual_seed(0)
    step = BareStep(RUN, DATA)
    ALTERNATIVES[name](step)
    return step


@pytest.mark.parametrize("name", [name for name in ALTERNATIVES if name != "torch.compile"])
def test_every_alternative_computes_the_same(name: str) -> None:
    losses = {}
    for each in (name, OURS):
        step = changed(each)
        losses[each] = torch.stack([step() for _ in range(3)])
    torch.testing.assert_close(losses[name], losses[OURS], rtol=1e-4, atol=1e-5)
    assert losses[name][0] > losses[name][-1]  # it learns: the optimiser's step is in it


def test_what_is_changed_is_changed() -> None:
    def facts(step: BareStep) -> tuple[bool, bool, bool]:
        modules = list(step.network.modules())
        (conv, *_), (relu, *_) = (
            [module for module in modules if isinstance(module, kind)]
            for kind in (torch.nn.Conv2d, torch.nn.ReLU)
        )
        fused = step.optimizers[0].param_groups[0]["fused"]
        return conv.weight.is_contiguous(), relu.inplace, fused

    assert facts(changed(OURS)) == (False, False, True)
    assert facts(changed("channels first")) == (True, False, True)
    assert facts(changed("ReLU in place")) == (False, True, True)
    assert facts(changed("optimiser not fused")) == (False, False, False)


def test_what_cannot_be_compiled_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(step: BareStep) -> None:
        raise RuntimeError("No working C++ compiler found\nand much more")

    assert works(changed(OURS))
    monkeypatch.setattr(BareStep, "__call__", fails)
    assert not works(changed(OURS))
    assert "torch.compile left out: No working C++ compiler found" in caplog.text
    assert "much more" not in caplog.text


@pytest.fixture
def load(tmp_path: Path) -> MappedLoader:
    for name, each in TINY.items():
        data = make_dataset(make_arrays(each), name, "tiny", each.classes)
        save_mapped(data, tmp_path / f"{name}.pt")
    return MappedLoader(tmp_path, "cpu")


@pytest.mark.parametrize("number, threads", [(1, 2), (2, 1)])
def test_both_ways_to_train_have_two_threads(
    number: int, threads: int, monkeypatch: pytest.MonkeyPatch, load: MappedLoader
) -> None:
    given = []
    for way in ("one_after_another", "side_by_side"):
        monkeypatch.setattr(jobs, way, lambda runs, *rest: given.extend(runs) or {})
    jobs.train(jobs.declared(True), number, load)
    assert {run.compute.threads for run in given} == {threads}


def test_a_run_that_fails_makes_the_measurement_fail(load: MappedLoader) -> None:
    threads = torch.get_num_threads()
    run = jobs.declared(True)[0]
    jobs.train([run], 1, load)
    with pytest.raises(RuntimeError, match="1 of 1 runs failed"):
        jobs.train([replace(run, network="nothing")], 1, load)
    torch.set_num_threads(threads)


def test_the_table_of_jobs_divides_round_by_round() -> None:
    seconds = {"1": [10.0, 20.0, 40.0], "2": [8.0, 15.0, 20.0]}
    text = jobs.markdown({"runs": ["a", "b"], "train_images": 10, "seconds": seconds})
    assert "| 2 | 20.0 (15.0–30.0) | 15.0 (11.5–17.5) | 0.75 (0.62–0.78) |" in text

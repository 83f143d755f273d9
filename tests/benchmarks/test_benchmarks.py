"""The usual loop sees our images, ratios are right, the command measures and renders.

No test here asserts how long anything takes.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import bench, layers, steps
from benchmarks.setting import Setting
from benchmarks.step_actions import BareStep, each_segment, optimizer_step, whole_cycles
from benchmarks.usual_loop import PREFETCHED, UsualLoop, usual_dataset, usual_transform
from tests.fakes import TINY_CIFAR10, TINY_MNIST, make_tiny, read_once
from utils import REPOSITORY
from utils.data.batches import augmented_views, normalise
from utils.data.dataset import Dataset, load_quick_dataset
from utils.data.sources import Official
from utils.experiment import Recipe, Run
from utils.records.files import read_json, write_json
from utils.training import optimizers

CPU = torch.device("cpu")
RECIPE = Recipe(10, "sgd", 0.01, 0.0, batch_size=4, crop_padding=1)
RUN = Run("FCNet", "mnist", RECIPE, 0, name="FCNet")
DECLARED = dict(steps.distinct_runs(Setting(False, 1, CPU, load_quick_dataset)))


def tiny(official: Official) -> Dataset:
    return make_tiny(replace(official, train_images=60))


# The usual loop


@pytest.mark.parametrize("official", [TINY_MNIST, TINY_CIFAR10], ids=lambda each: each.name)
def test_without_augmentation_the_usual_dataset_has_our_pixels_and_labels(
    official: Official,
) -> None:
    data = tiny(official)
    usual = usual_dataset(data, replace(RECIPE, crop_padding=0))
    images, labels = zip(*(usual[index] for index in range(len(usual))), strict=True)
    torch.testing.assert_close(torch.stack(images), normalise(data.x_train, data))
    assert torch.tensor(labels).equal(data.y_train)


def test_the_usual_augmentation_is_that_of_the_recipe() -> None:
    def names(recipe: Recipe) -> list[str]:
        return [type(part).__name__ for part in usual_transform(data, recipe).transforms]

    data = tiny(TINY_CIFAR10)
    assert names(replace(RECIPE, crop_padding=0)) == ["ToTensor", "Normalize"]
    cropped = usual_transform(data, replace(RECIPE, crop_padding=3)).transforms[0]
    assert (tuple(cropped.size), cropped.padding) == ((32, 32), 3)
    assert names(replace(RECIPE, flip=True))[:2] == ["RandomCrop", "RandomHorizontalFlip"]


def test_a_segment_of_the_usual_loop_trains_on_as_many_images_and_leaves_no_worker() -> None:
    loop, seen = UsualLoop(RUN, tiny(TINY_MNIST)), []
    loop.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    loop.start()
    workers = set(torch.multiprocessing.active_children())
    assert len(seen) == PREFETCHED and workers
    loop.go_on(12)
    loop.stop()
    assert seen == [4] * (PREFETCHED + 3)
    assert not workers & set(torch.multiprocessing.active_children())


# Our step and its parts


def test_segments_go_through_the_train_split() -> None:
    data, recipe = tiny(TINY_MNIST), replace(RECIPE, crop_padding=0)
    views = augmented_views(data.x_train, recipe)
    segments = each_segment(replace(RUN, recipe=recipe), data, views, 5)  # 20 of 60 images
    parts = [next(segments) for _ in range(4)]
    seen = torch.cat([images[:, 0, :, 0, 0] for _, images in parts[:3]])
    assert torch.equal(seen.flatten(1).unique(dim=0), data.x_train.flatten(1).unique(dim=0))
    assert [len(part.y_train) for part, _ in parts] == [20] * 4
    assert torch.equal(parts[3][1], parts[0][1])


def test_the_bare_step_trains_on_one_batch_of_the_recipes_size() -> None:
    step, sizes = BareStep(RUN, tiny(TINY_MNIST)), []
    step.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    before = [parameter.clone() for parameter in step.network.parameters()]
    step()
    assert sizes == [RECIPE.batch_size]
    assert not any(map(torch.equal, before, step.network.parameters()))


def test_a_segment_has_the_dear_steps_of_a_large_layer_as_often_as_every_other() -> None:
    for batches, whole in ((50, 48), (38, 32), (8, 8), (7, 7)):
        assert whole_cycles(DECLARED["DeepFCNet"], batches) == whole
    assert whole_cycles(DECLARED["CNN7x7"], 19) == 19  # its steps are all alike


def test_every_update_of_a_large_layer_is_orthogonal_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = DECLARED["DeepFCNet"]
    bare = BareStep(replace(run, recipe=replace(run.recipe, batch_size=8)), tiny(TINY_CIFAR10))
    made: list[torch.Tensor] = []
    monkeypatch.setattr(optimizers, "orthogonal", lambda x, steps: made.append(x) or x)
    step = optimizer_step(bare, always_orthogonal=True)
    made.clear()
    step()
    step()
    assert len(made) == 2 * 3  # one for each hidden layer


# The section


def test_every_network_of_the_reports_tables_is_measured_once() -> None:
    runs = steps.distinct_runs(Setting(False, 1, CPU, load_quick_dataset))
    assert len({(run.network, run.dataset) for _, run in runs}) == len(runs) == 13
    assert "CNN3x3 = ShallowCNN" in DECLARED


def test_ratios_are_those_of_the_same_round() -> None:
    seconds = {  # two rounds, the second twice as slow
        "usual": 6.0,
        "loop float32": 2.0,
        "bare float32": 1.6,
        "optimizer float32": 0.4,
        "orthogonal float32": 0.5,  # of one step
        "checkpoint": 0.4,
        "views": 0.8,
        "product": 1.0,
    }
    row = {
        "step_flops_per_image": 2e6,
        "batch_size": 8,
        "batches": 10,
        "batches_per_epoch": 40,
        "epochs": 2,
        "seconds": {name: [value, 2 * value] for name, value in seconds.items()},
    }
    found = {name: each.median for name, each in steps.ratios(row, "float32", 1000).items()}
    assert found["times_usual"] == 3.0
    # a quarter of an epoch owes a quarter of a checkpoint and an eighth of the views of 2 epochs
    assert found["overhead"] == pytest.approx((2 + 0.1 + 0.1) / 1.6 - 1)
    assert found["always_orthogonal"] == pytest.approx(6 / (2 - 0.4 + 10 * 0.5))
    # 80 images of 2 MFLOPs in 1.6 s are 0.1 GFLOP/s, the product had 2 GFLOP/s
    assert found["of_product"] == pytest.approx(0.05)
    assert found["images_per_second"] == np.median([40, 20])


def test_one_network_is_measured_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "distinct_runs", lambda setting: [("FCNet", RUN)])
    monkeypatch.setattr(steps, "QUICK_PRODUCT_SIZE", 64)
    data = tiny(TINY_MNIST)
    record = json.loads(json.dumps(steps.measure(Setting(True, 1, CPU, lambda name: data))))
    (row,) = record["rows"]
    assert row["batches"] == 4 and len(row["seconds"]["usual"]) == 1
    assert "| FCNet | tiny |" in steps.markdown(record)


# The command


def test_a_cheap_section_is_measured_and_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layers, "SHAPES", ((2, 4, 4, 4), (1, 3, 4, 4)))
    monkeypatch.setattr(layers, "PAIRS", layers.PAIRS[:2])
    monkeypatch.setattr(bench, "others_running", lambda: 1.25)
    assert bench.main(["--quick", "--only", "layers", "--out-dir", str(tmp_path)]) == 0
    folder = tmp_path / "results" / "quick" / "benchmarks"
    assert len(read_json(folder / "layers.json")["rows"]) == 4
    page = (folder / "speed.md").read_text()
    assert page.strip() in capsys.readouterr().out
    assert "a quick run, beside 1.2 threads of other programs: in doubt." in page
    assert not (tmp_path / "docs").exists()


def test_the_page_is_what_the_records_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_once(monkeypatch)
    text = bench.render(REPOSITORY / "results", tmp_path)
    assert (REPOSITORY / "docs" / "speed.md").read_text() == text, "run `make render`"
    row = read_json(REPOSITORY / "results" / "benchmarks" / "steps.json")["rows"][0]
    seconds = {name: np.array(each) for name, each in row["seconds"].items()}
    times = np.median(seconds["usual"] / seconds["loop float32"])
    (line,) = (each for each in text.splitlines() if each.startswith("| FCNet | MNIST | "))
    assert f" | {times:.2f} (" in line


def test_ctrl_c_keeps_the_finished_sections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(setting: Setting) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.steps, "measure", lambda setting: {"rows": []})
    monkeypatch.setattr(bench.layers, "measure", interrupted)
    assert bench.main(["--quick", "--only", "layers", "steps", "--out-dir", str(tmp_path)]) == 130
    assert (tmp_path / "results" / "quick" / "benchmarks" / "steps.json").exists()
    assert "interrupted; finished sections are on record" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--only", "stepps"], "argument --only: invalid choice: 'stepps'"),
        (["--render", "--only", "layers"], "--only chooses what is measured"),
        (["--threads", "0"], "--threads 0: must be between 1"),
        (["--render", "--quick"], "no records in"),
    ],
)
def test_a_mistake_costs_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main([*flags, "--out-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("change", [{"schema": 1}, {"rows": None}, {"rows": []}])
def test_a_record_that_cannot_be_rendered_is_named(
    change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / "benchmarks" / "steps.json"
    write_json(path, read_json(REPOSITORY / "results" / "benchmarks" / path.name) | change)
    assert bench.main(["--render", "--out-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: cannot be rendered (")

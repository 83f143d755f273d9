"""Benchmarks: the usual loop sees our images, ratios are right, claims say what was reached.

No test here asserts how long anything takes.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bench, step_actions, steps, steps_report
from benchmarks.step_actions import OurLoop, bare_step, whole_cycles
from benchmarks.steps import distinct_runs, facts, ratios, segments
from benchmarks.time_shares import is_arithmetic, time_shares
from benchmarks.timing import (
    FULL,
    QUICK,
    Claim,
    Effort,
    Setting,
    Staged,
    as_records,
    claim_lines,
    geometric_mean,
    in_turn,
    ratio,
)
from benchmarks.usual_loop import (
    PREFETCHED,
    UsualLoop,
    usual_batch_size,
    usual_dataset,
    usual_transform,
)
from tests.fake_records import ENVIRONMENT
from tests.fakes import TINY_CIFAR10, TINY_MNIST, make_arrays
from utils import REPOSITORY
from utils.data.batches import augmented_views, normalise
from utils.data.dataset import Dataset, make_dataset
from utils.errors import UserError
from utils.experiment import Recipe, Run
from utils.measuring.flops import step_flops
from utils.records.files import write_json
from utils.training import optimizers
from utils.training.loop import Compute
from utils.training.progress import Progress

CPU = torch.device("cpu")
RECIPE = Recipe(
    epochs=10, optimizer="sgd", learning_rate=0.01, weight_decay=0.0, batch_size=4, crop_padding=1
)


def tiny(official: object, images: int = 60) -> Dataset:
    arrays = make_arrays(replace(official, train_images=images))
    return make_dataset(arrays, official.name, "tiny", official.classes)


@pytest.mark.parametrize("official", [TINY_MNIST, TINY_CIFAR10], ids=lambda each: each.name)
def test_without_augmentation_the_usual_dataset_has_our_pixels_and_labels(official: object) -> None:
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


def test_the_usual_batches_are_of_128_or_of_our_size_where_that_is_smaller() -> None:
    sizes = [usual_batch_size(replace(RECIPE, batch_size=ours)) for ours in (32, 128, 256)]
    assert sizes == [32, 128, 128]


def test_a_segment_of_the_usual_loop_trains_on_as_many_images_and_leaves_no_worker() -> None:
    data = tiny(TINY_MNIST)
    loop = UsualLoop(Run("tiny", "FCNet", "mnist", RECIPE, 0), data, CPU)
    seen = []
    loop.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with loop.running(12) as train:
        workers = set(torch.multiprocessing.active_children())
        assert len(seen) == PREFETCHED and workers
        train()
    assert seen == [4] * (PREFETCHED + 3)
    assert not workers & set(torch.multiprocessing.active_children())


def test_segments_of_our_loop_go_through_the_train_split() -> None:
    data = tiny(TINY_MNIST)
    run = Run("tiny", "FCNet", "mnist", replace(RECIPE, crop_padding=0), 0)
    views = augmented_views(data.x_train, run.recipe)
    progress = Progress([1])
    progress.start(run, 10, 1)
    loop = OurLoop(run, data, views, Compute(CPU), 5, progress)  # 20 of 60 images
    seen = []
    loop.state.network.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    for _ in range(3):
        loop()
    assert loop.state.schedules[0].last_epoch == 15
    expected = {image.numpy().tobytes() for image in normalise(data.x_train, data)}
    assert {image.numpy().tobytes() for image in seen} == expected and len(seen) == 60


def test_actions_have_their_turn_and_the_first_round_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, order = [0.0], []
    monkeypatch.setattr("benchmarks.timing.time.perf_counter", lambda: now[0])

    def action(name: str, seconds: list[float]) -> Callable[[], None]:
        durations = iter(seconds)

        def act() -> None:
            order.append(name)
            now[0] += next(durations)

        return act

    @contextlib.contextmanager
    def stage() -> Iterator[Callable[[], None]]:
        order.append("stage")
        now[0] += 100.0  # is not timed
        yield staged
        order.append("leave")
        now[0] += 100.0

    staged = action("b", [9.0, 4.0, 6.0])
    seconds = in_turn({"a": action("a", [7.0, 1.0, 2.0]), "b": Staged(stage)}, rounds=2)
    assert order == ["a", "stage", "b", "leave"] * 3
    assert {name: values.tolist() for name, values in seconds.items()} == {
        "a": [1.0, 2.0],
        "b": [4.0, 6.0],
    }


def test_a_ratio_is_taken_round_by_round() -> None:
    found = ratio(np.array([2.0, 9.0, 4.0]), np.array([1.0, 3.0, 1.0]))
    assert found == {"q1": 2.5, "median": 3.0, "q3": 3.5}
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_a_segment_has_the_dear_steps_of_a_large_layer_as_often_as_every_other() -> None:
    runs = {run.model: run for run in distinct_runs()}
    for batches, whole in ((50, 48), (38, 32), (8, 8), (7, 7)):
        assert whole_cycles(runs["DeepFCNet"], batches) == whole
    assert whole_cycles(runs["CNN3x3"], 19) == 19  # its steps are all alike
    setting = Setting(False, Effort(2, 13, 13, 0), 1, CPU, lambda name: tiny(TINY_CIFAR10))
    small = replace(runs["DeepFCNet"], recipe=replace(runs["DeepFCNet"].recipe, batch_size=2))
    assert facts(small, setting)["batches"] == 8


@pytest.mark.parametrize("flops, batches", [(1.0, 50), (4e9, 25), (1e12, 10)])
def test_a_dear_network_has_shorter_segments(flops: float, batches: int) -> None:
    assert Effort(5, 50, 10, 1e11).batches_of(flops) == batches


def test_five_rounds_count_and_quick_takes_fewer() -> None:
    assert FULL.rounds >= 5 and FULL.batches == 50
    assert QUICK.rounds < FULL.rounds


def test_claims_stand_beside_their_goals() -> None:
    claims = [
        Claim("FCNet against the usual loop", 12.0, 12, at_least=True),
        Claim("slowest", 1.234, 1.4, at_least=True),
        Claim("overhead", 0.0312, 0.03, at_least=False, unit="%"),
        Claim("Swish", 1.04, 1.05, at_least=False),
    ]
    assert claim_lines(json.loads(json.dumps(as_records(claims)))) == [
        "FCNet against the usual loop: 12.00× (goal ≥ 12.00×): reached",
        "slowest: 1.23× (goal ≥ 1.40×): not reached",
        "overhead: 3.1 % (goal ≤ 3.0 %): not reached",
        "Swish: 1.04× (goal ≤ 1.05×): reached",
    ]


def made_up_row(model: str, convolutional: bool, bare: float) -> dict[str, object]:
    """Two rounds, the second twice as slow: 10 batches of 8 images, 4 of 40 per epoch."""
    seconds = {
        "usual": np.array([6.0, 12.0]),
        "loop float32": np.array([2.0, 4.0]),
        "bare float32": np.array([bare, 2 * bare]),
        "optimizer float32": np.array([bare / 4, bare / 2]),
        "orthogonal float32": np.array([0.5, 1.0]),  # of one step
        "batches": np.array([bare / 10, bare / 5]),
        "norms": np.array([bare / 100, bare / 50]),
        "checkpoint": np.array([0.4, 0.8]),
        "views": np.array([0.8, 1.6]),
    }
    row = {
        "model": model,
        "also": ["Twin"] if convolutional else [],
        "dataset": "MNIST",
        "convolutional": convolutional,
        "step_flops_per_image": 2e6,
        "batch_size": 8,
        "batches": 10,
        "batches_per_epoch": 40,
        "epochs": 2,
        "usual_images_per_second": {"median": 1234.5, "q1": 1.0, "q3": 2.0},
        "product_flops_per_second": {"median": 2e9, "q1": 1.0, "q3": 2.0},
        "convolution_of_product": {"median": 1.5, "q1": 1.0, "q3": 2.0},
    }
    shares = {"arithmetic": 0.5, "others": {"max_pool2d": 0.3, "copy_": 0.1}}
    found = ratios(row, seconds, "float32", product_rates=np.array([2e9, 1e9]))
    return row | {"float32": {**found, "time_shares": shares}}


ROWS = [made_up_row("FCNet", False, 1.6), made_up_row("SimpleCNN", True, 2.0)]


def test_ratios_are_those_of_the_same_round() -> None:
    found = ROWS[0]["float32"]
    assert found["times_usual"] == {"median": 3.0, "q1": 3.0, "q3": 3.0}
    # a quarter of an epoch owes a quarter of a checkpoint and an eighth of the views of 2 epochs
    assert found["overhead"]["median"] == pytest.approx((2 + 0.1 + 0.1) / 1.6 - 1)
    assert found["optimizer"]["median"] == pytest.approx(0.25)
    assert found["without_optimizer"]["median"] == pytest.approx(6 / (2 - 0.4))
    assert found["orthogonal_in_every_step"]["median"] == pytest.approx(6 / (2 - 0.4 + 10 * 0.5))
    # 80 images of 2 MFLOPs in 1.6 s are 0.1 GFLOP/s, the product had 2 GFLOP/s
    assert found["of_product"]["median"] == pytest.approx(0.05)


def test_the_page_holds_tables_reasons_and_goals() -> None:
    record = {
        "precisions": ["float32"],
        "left_out": "it takes twice as long",
        "rounds": 2,
        "product_size": 1000,
        "rows": ROWS,
        "claims": as_records(steps_report.claims(ROWS, ["float32"])),
        "quick": False,
        "environment": {
            "processor": "Abacus",
            "device": "cpu",
            "threads": 1,
            "torch": "2",
            "python": "3",
        },
    }
    text = bench.text_of(steps, json.loads(json.dumps(record)))
    assert "| SimpleCNN = Twin | MNIST | 1,234 | 30 | 3.00 (0.00) |" in text
    assert "bfloat16 is left out: it takes twice as long." in text
    assert "| FCNet | MNIST | 37.5 (0.0) | 25 | 10 |" in text
    assert (
        "in float32: without its time the geometric mean would be 3.87× and the least 3.75×; of "
        "FCNet and SimpleCNN it takes 25% and 25% of the bare step, without it 3.75× and 4.00×."
    ) in text
    assert "not timed apart: SimpleCNN on MNIST (batches 10.0%, norms 1.0%, rest -1.0%)." in text
    assert (
        "as a 1 × 1 convolution, which another of torch's libraries computes, runs at 150%" in text
    )
    assert "Furthest from it in float32: SimpleCNN with 4%." in text
    assert "reach 11% of the product. Most of the rest: `max_pool2d` 30% and `copy_` 10%." in text
    assert "- float32: all networks against the usual loop, geometric mean: 3.00× (goal" in text
    assert "- float32: FCNet, overhead: 37.5 % (goal ≤ 35.0 %): not reached" in text
    assert text.endswith("Measured on Abacus (1 thread), torch 2, Python 3.")
    assert "with one in every step FCNet and SimpleCNN would be at 0.91× and 0.92×." in text


def test_every_network_of_the_reports_tables_is_measured_once() -> None:
    runs = distinct_runs()
    assert len({(run.model, run.dataset) for run in runs}) == len(runs) == 13
    assert {run.recipe.batch_size for run in distinct_runs(True)} == {32}


def test_convolutions_and_products_are_arithmetic_and_a_sum_is_not() -> None:
    matrix, images = torch.ones(8, 8), torch.ones(1, 3, 8, 8)
    conv = torch.nn.Conv2d(3, 4, 3)
    shares = time_shares(lambda: ((matrix @ matrix).sum() + conv(images).mean()).backward())
    assert 0 < shares["arithmetic"] < 1
    assert not any("conv" in name.lower() for name in shares["others"])
    assert is_arithmetic("ConvolutionBackward0") and is_arithmetic("aten::mkldnn_convolution")
    assert is_arithmetic("aten::mm") and not is_arithmetic("aten::sum")


def test_the_section_measures_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("tiny", "FCNet", "mnist", RECIPE, 0)
    monkeypatch.setattr(steps, "distinct_runs", lambda quick: [run])
    monkeypatch.setattr(steps, "claims", lambda rows, precisions: [])
    data = tiny(TINY_MNIST)
    setting = Setting(True, Effort(2, 2, 1, 1e12), torch.get_num_threads(), CPU, lambda name: data)
    record = json.loads(json.dumps(steps.measure(setting)))
    (row,) = record["rows"]
    assert row["batches"] == 2 and len(row["seconds"]["usual"]) == 2
    alike = {f"{name} float32" for name in ("loop", "bare", "optimizer")}
    assert set(row["seconds"]) >= {*alike, "usual", "batches", "norms", "views", "checkpoint"}
    assert row["float32"]["time_shares"]["others"]


def test_each_precision_has_an_optimizer_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stepped = []
    monkeypatch.setattr(
        steps, "optimizer_step", lambda run, data, compute, **_: lambda: stepped.append(compute)
    )
    run = Run("tiny", "FCNet", "mnist", replace(RECIPE, muon_rate=0.01), 0)
    computes = {precision: Compute(CPU, precision) for precision in ("float32", "bfloat16")}
    progress = Progress([1])
    actions = segments(run, tiny(TINY_MNIST), computes, 2, tmp_path / "checkpoint.pt", progress)
    actions["optimizer bfloat16"]()
    assert stepped == [computes["bfloat16"]] * 2


def test_a_segments_batches_are_made_and_its_product_is_one() -> None:
    data, made = tiny(TINY_MNIST), []
    run = Run("tiny", "FCNet", "mnist", RECIPE, 0)
    views = augmented_views(data.x_train, RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        original = step_actions.training_batches
        patch.setattr(
            step_actions,
            "training_batches",
            lambda *given: (made.append(len(batch[1])) or batch for batch in original(*given)),
        )
        step_actions.batch_making(run, data, views, 5)()
    assert made == [4] * 5
    product = step_actions.product_as_convolution(64, CPU)()
    assert product.shape == (1, 64, 2, 32)
    with FlopCounterMode(display=False) as counter:
        step_actions.product_as_convolution(64, CPU)()
    assert counter.get_total_flops() == 2 * 64**3


def test_the_images_need_no_gradient_in_a_steps_flops() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4 * 64, 5)
    )
    convolution, linear = 2 * 3 * 9 * 4 * 64, 2 * 4 * 64 * 5
    assert step_flops(network, (3, 8, 8)) == 2 * convolution + 3 * linear


@pytest.mark.parametrize(
    "name, change",
    [
        ("growth", {"slopes": None}),
        ("growth", {"rows": []}),
        ("steps", {"rows": None}),
        ("steps", {"rows": []}),
        ("steps", {"environment": {}}),
        ("layers", {"claims": [{"text": "odd"}]}),
        ("accuracy", {"declared": "many"}),
        ("steps_elsewhere", {"rows": [{}]}),
    ],
)
def test_a_record_that_cannot_be_rendered_is_named(
    name: str, change: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.json"
    record = json.loads((REPOSITORY / "results" / "benchmarks" / path.name).read_text())
    write_json(path, record | change)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: cannot be rendered \("):
        bench.render(tmp_path, tmp_path / "plots")


def test_a_section_that_was_measured_on_a_busy_machine_says_so() -> None:
    machine = {**ENVIRONMENT, "torch": "2", "python": "3"}
    record = {"environment": machine, "others_running": 1.23}
    assert bench.machine(record).endswith(", while 1.2 threads of other programs ran: in doubt")
    assert "in doubt" not in bench.machine(record | {"others_running": 0.1})


def test_a_network_near_the_usual_loop_has_its_reason() -> None:
    row = made_up_row("SimpleCNN", True, 2.0)
    row["float32"]["times_usual"] = {"median": 1.3, "q1": 1.0, "q3": 2.0}
    text = steps_report.usual_reason([row, ROWS[0]], "float32")
    assert text.endswith("as well: SimpleCNN on MNIST (50%; `max_pool2d` 30% and `copy_` 10%).")
    assert steps_report.usual_reason(ROWS, "float32") == ""


@pytest.mark.parametrize("always, steps", [(False, 8), (True, 1)])
def test_of_a_large_layer_each_step_has_an_orthogonal_update_where_that_is_asked_for(
    always: bool, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = next(run for run in distinct_runs() if run.model == "DeepFCNet")
    small = replace(run, recipe=replace(run.recipe, batch_size=8))
    step = step_actions.optimizer_step(small, tiny(TINY_CIFAR10), Compute(CPU), always)
    made = []
    monkeypatch.setattr(optimizers, "orthogonal", lambda x, steps: made.append(x) or x)
    for _ in range(steps):
        step()
    assert len(made) == 3  # one for each hidden layer


def test_muon_is_timed_with_an_orthogonal_update_in_every_step_where_layers_are_large(
    tmp_path: Path,
) -> None:
    data, progress, path = tiny(TINY_CIFAR10), Progress([1]), tmp_path / "checkpoint.pt"
    computes = {"float32": Compute(CPU)}
    names = {}
    for run in distinct_runs():
        if run.model in ("CNN7x7", "DeepFCNet"):
            small = replace(run, recipe=replace(run.recipe, batch_size=8))
            names[run.model] = set(segments(small, data, computes, 1, path, progress))
    assert names["DeepFCNet"] - names["CNN7x7"] == {"orthogonal float32"}


def test_a_section_that_is_not_there_costs_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--only", "stepps"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --only: unknown section 'stepps'; did you mean 'steps'? Known:")
    assert error.count("\n") == 1


def test_rendering_without_records_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--render", "--quick", "--out-dir", str(tmp_path)]) == 2
    assert "measure first, without --render" in capsys.readouterr().err


def test_a_damaged_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "quick" / "benchmarks" / "steps.json"
    write_json(path, {"schema": 1, "rows": [], "claims": []})
    assert bench.main(["--render", "--quick", "--out-dir", str(tmp_path)]) == 2
    expected = f"error: {path}: a record without quick, environment; delete it"
    assert capsys.readouterr().err.startswith(expected)


def test_what_else_was_running_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "others_running", lambda: 1.25)
    monkeypatch.setattr(bench.growth, "measure", lambda setting: {"rows": []})
    options = bench.parse(["--quick", "--only", "growth", "--out-dir", str(tmp_path)])
    bench.measure_section(bench.growth, options)
    assert json.loads((options.records / "growth.json").read_text())["others_running"] == 1.25


def test_quick_numbers_come_with_a_warning() -> None:
    assert "Its numbers mean little" in bench.introduction([{"quick": False}, {"quick": True}])
    assert "Its numbers mean little" not in bench.introduction([{"quick": False}])


def test_rendering_renders_all_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--render", "--only", "layers"]) == 2
    assert capsys.readouterr().err.startswith("error: --only chooses what is measured")


@pytest.mark.parametrize("updates", [True, False])
def test_the_bare_step_trains_on_one_batch_of_the_recipes_size(
    updates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, sizes = [], []
    make = step_actions.initial_state
    monkeypatch.setattr(
        step_actions, "initial_state", lambda *given: states.append(make(*given)) or states[0]
    )
    step = bare_step(
        Run("tiny", "FCNet", "mnist", RECIPE, 0), tiny(TINY_MNIST), Compute(CPU), updates
    )
    network = states[0].network
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    before = [parameter.clone() for parameter in network.parameters()]
    step()
    assert sizes == [RECIPE.batch_size]
    assert all(parameter.grad is not None for parameter in network.parameters())
    changed = [not torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True)]
    assert all(changed) if updates else not any(changed)

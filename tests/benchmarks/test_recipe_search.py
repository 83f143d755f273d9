"""The recipe search: what is held out, what the parts on trial do, what their table says."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from benchmarks import precision, recipe_search, trials
from benchmarks.recipe_report import (
    WITH_HIDDEN_LINEAR,
    dataset_markdown,
    part_rows,
    parts_markdown,
    read_trials,
    seed_deviations,
    trial_rows,
)
from benchmarks.recipe_search import RESULTS, SEARCHES, check_trial, declared_trials
from benchmarks.trials import (
    BlockMuon,
    TrialRecipe,
    Whitening,
    affine,
    batches,
    held_out,
    run_trial,
    start_as_identity,
    trial_optimizers,
)
from tests.fakes import TINY_CIFAR10, make_arrays
from utils.data.batches import augmented_views
from utils.data.dataset import Dataset, make_dataset
from utils.errors import UserError
from utils.experiment import Run
from utils.records.files import write_json
from utils.training.loop import Compute

RECIPE = TrialRecipe(2, "sgd", 0.01, 1e-3, batch_size=8, crop_padding=1, flip=True)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(trials, "VALIDATION_IMAGES", 4)
    return make_dataset(make_arrays(TINY_CIFAR10), "cifar10", "tiny", TINY_CIFAR10.classes)


def test_the_validation_images_come_from_the_train_split_and_are_not_trained_on(
    data: Dataset,
) -> None:
    split = held_out(data)
    assert (len(split.x_train), len(split.x_test)) == (len(data.x_train) - 4, 4)
    together = torch.cat([split.x_train, split.x_test]).flatten(1).tolist()
    assert sorted(together) == sorted(data.x_train.flatten(1).tolist())
    assert torch.equal(held_out(data).x_test, split.x_test)


def test_every_parameter_has_one_optimizer() -> None:
    network = models.build("CNNWithResidual").to(memory_format=torch.channels_last)
    recipe = replace(RECIPE, muon_rate=0.1, muon_decay=0.2, norm_rate=3.0)
    ordinary, muon = trial_optimizers(network, recipe, torch.float32)
    assert [group["lr"] for group in ordinary.param_groups] == [0.01, pytest.approx(0.03)]
    assert muon.param_groups[0]["weight_decay"] == 0.2
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    others = [p for group in ordinary.param_groups for p in group["params"]]
    assert len(others) + len(convolutions) == len(list(network.parameters()))


def test_muon_may_take_the_hidden_linear_layers_and_leaves_the_classifier() -> None:
    network = models.build("FCNet")
    recipe = replace(RECIPE, muon_rate=0.1, muon_linear=True)
    ordinary, muon = trial_optimizers(network, recipe, torch.float32)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
    assert set(muon.param_groups[0]["params"]) == set(weights[:-1])
    assert weights[-1] in set(ordinary.param_groups[0]["params"])


def test_a_dirac_convolution_is_the_identity_at_the_start() -> None:
    wide, narrow = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 2, 1)
    before = narrow.weight.clone()
    start_as_identity(nn.Sequential(wide, narrow))
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(wide(images), images)
    assert torch.equal(narrow.weight, before)


def test_whitened_pixels_have_the_identity_as_their_covariance(data: Dataset) -> None:
    images = torch.randint(0, 256, (5000, 1, 3, 3), dtype=torch.uint8)
    images[:, :, 1] = images[:, :, 0] // 2 + images[:, :, 1] // 2  # correlated rows
    grey = replace(data, x_train=images, mean=(0.5,), std=(0.25,))
    pixels = trials.normalise(images, grey)
    whitened = Whitening(grey, floor=1e-9)(pixels)
    assert whitened.shape == pixels.shape
    torch.testing.assert_close(torch.cov(whitened.flatten(1).T), torch.eye(9), atol=0.02, rtol=0)


def test_an_affine_transform_is_each_images_own_and_small() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[:, :, 8:20, 12:16] = 255
    moved = affine(image.repeat(50, 1, 1, 1), 10.0, torch.Generator().manual_seed(0))
    assert len({tuple(one.flatten().tolist()) for one in moved}) == 50
    mass = moved.sum((1, 2, 3)) / image.sum()
    assert mass.min() > 0.6 and mass.max() < 1.5


def test_alternating_flip_shows_both_sides_in_two_epochs(data: Dataset) -> None:
    recipe = replace(RECIPE, crop_padding=0, alternating_flip=True, batch_size=20)
    views, seen = augmented_views(data.x_train, recipe), []
    for epoch in (0, 1):
        (images, _), *_ = batches(data, views, recipe, epoch, torch.Generator().manual_seed(0))
        seen.append(images)
    assert torch.equal(seen[0], seen[1].flip(3))  # the same order, from the same seed


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"muon_rate": 0.01, "muon_linear": True, "dirac": True, "norm_rate": 2.0},
        {"average_decay": 0.5, "label_smoothing": 0.1},
    ],
)
def test_a_trial_ends_with_its_numbers_and_repeats(data: Dataset, changes: dict) -> None:
    recipe = replace(RECIPE, **changes)
    run = Run("recipe_search", "CNN7x7", "cifar10", recipe, 0)
    compute = Compute(torch.device("cpu"))
    first, second = (run_trial(run, held_out(data), compute) for _ in range(2))
    assert first.pop("cpu_seconds") > 0 and second.pop("cpu_seconds") > 0
    assert first == second
    assert 0 <= first["validation_accuracy"] <= 1 and len(first["running_losses"]) == 2


def record(
    changes: dict, accuracy: float, model: str = "A", seed: int = 0, processor: str = "Abacus"
) -> dict:
    return {
        "start": {"batch_size": 128},
        "changes": changes,
        "model": model,
        "seed": seed,
        "validation_accuracy": accuracy,
        "cpu_seconds": 10.0 if changes else 5.0,
        "environment": {"processor": processor},
    }


def test_a_part_is_compared_with_the_same_network_and_seed_without_it() -> None:
    rows = part_rows(
        [
            record({}, 0.70),
            record({}, 0.72, seed=1),
            record({"batch_size": 64}, 0.71),
            record({"batch_size": 64}, 0.74, seed=1),
            record({"batch_size": 64}, 0.9, model="B"),  # has no partner
            record({"batch_size": 64, "dirac": True}, 0.75),
        ]
    )
    assert [(row["part"], row["beside"], row["model"], row["time"]) for row in rows] == [
        ("batch_size 128 → 64", "the start", "A", 2.0),
        ("dirac False → True", "batch_size 64", "A", 1.0),
    ]
    assert rows[0]["gains"] == pytest.approx([0.01, 0.02])
    assert rows[1]["gain"] == pytest.approx(0.04)


def test_times_on_different_processors_are_not_compared() -> None:
    trials = [record({}, 0.7), record({"batch_size": 64}, 0.8, processor="Slide rule")]
    (row,) = part_rows(trials)
    assert row["gain"] == pytest.approx(0.1) and row["time"] is None
    text = "\n".join(parts_markdown([row]))
    assert "| batch_size 128 → 64 | the start | A | +10.00 | +10.00 |" in text


def test_a_part_for_hidden_linear_layers_says_nothing_of_a_network_without_one() -> None:
    changes = {"muon_rate": 0.02, "muon_linear": True, "muon_steps": 3}
    before = [record({"muon_rate": 0.02}, 0.7, model) for model in ("CNN3x3", "DeepFCNet")]
    after = [record(changes, 0.8, model) for model in ("CNN3x3", "DeepFCNet")]
    (row,) = part_rows([*before, *after])  # two parts were added to DeepFCNet at once
    assert (row["part"], row["beside"]) == ("muon_steps 5 → 3", "muon_rate 0.02")
    assert row["model"] == "CNN3x3"


@pytest.mark.parametrize("name", ["CNN3x3", "CNN7x7", "CNNWithResidual", *WITH_HIDDEN_LINEAR])
def test_which_networks_have_a_hidden_linear_layer(name: str) -> None:
    linear = [each for each in models.build(name).modules() if isinstance(each, nn.Linear)]
    assert (name in WITH_HIDDEN_LINEAR) == (len(linear) > 1)


def test_two_values_that_are_not_the_starts_are_compared_and_muon_is_one_part() -> None:
    rows = part_rows(
        [
            record({"batch_size": 256}, 0.70),
            record({"batch_size": 512, "label_smoothing": 0.0}, 0.69),  # as it is by default
            record({"batch_size": 512, "muon_rate": 0.02, "muon_decay": 0.1}, 0.74),
            record({"batch_size": 512, "muon_rate": 0.01, "muon_decay": 0.1}, 0.73),
            record({"batch_size": 256, "muon_rate": 0.02, "muon_decay": 0.3}, 0.75),
        ]
    )
    assert [(row["part"], row["beside"], round(row["gain"], 3)) for row in rows] == [
        ("batch_size 256 → 512", "the start", -0.01),
        ("muon_rate 0.0 → 0.01, muon_decay 0.1", "batch_size 512", 0.04),
        ("muon_rate 0.0 → 0.02, muon_decay 0.1", "batch_size 512", 0.05),
        ("muon_rate 0.0 → 0.02, muon_decay 0.3", "batch_size 256", 0.05),
        ("muon_rate 0.01 → 0.02", "batch_size 512, muon_decay 0.1", 0.01),
    ]


def test_every_recipe_has_a_row_and_the_start_comes_first() -> None:
    trained = [record({"batch_size": 64}, 0.71), record({}, 0.70), record({}, 0.72, seed=1)]
    first, second = trial_rows(trained)
    assert (first["recipe"], first["A"]) == ("the start", [0.70, 0.72])
    assert (second["recipe"], second["A"]) == ("batch_size 64", [0.71])
    text = dataset_markdown(trained)
    assert "| the start | 71.00 (2 seeds) |" in text
    assert "| batch_size 128 → 64 | the start | A | +1.00 | +1.00 | × 2.00 |" in text
    assert "as a standard deviation: 1.41 on A (1 recipe). The standard error" in text


def test_the_deviation_of_seeds_is_pooled_over_recipes_and_leaves_failures_out() -> None:
    trained = [
        *(record({}, accuracy, seed=seed) for seed, accuracy in enumerate((0.70, 0.72, 0.74))),
        *(record({"batch_size": 64}, value, seed=seed) for seed, value in enumerate((0.5, 0.51))),
        *(record({"batch_size": 32}, value, seed=seed) for seed, value in enumerate((0.6, 0.1))),
        record({"batch_size": 16}, 0.9),
    ]
    ((deviation, recipes),) = seed_deviations(trained).values()
    assert recipes == 2
    assert deviation == pytest.approx(((2 * 0.02**2 + 0.01**2 / 2) / 3) ** 0.5)


def test_muon_may_leave_out_the_layer_that_meets_the_image() -> None:
    network = models.build("FCNet")
    recipe = replace(RECIPE, muon_rate=0.1, muon_linear=True, muon_first=False, muon_steps=2)
    _, muon = trial_optimizers(network, recipe, torch.float32)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
    assert set(muon.param_groups[0]["params"]) == set(weights[1:-1])
    assert muon.steps == 2


def test_blocks_of_rows_step_as_weights_of_their_own() -> None:
    torch.manual_seed(0)
    whole = nn.Parameter(torch.randn(10, 12))
    blocks = [nn.Parameter(part.detach().clone()) for part in whole.split(4)]
    recipe = replace(RECIPE, muon_rate=0.1, muon_decay=0.2, muon_rows=4)
    muons = [BlockMuon(weights, recipe, torch.float32) for weights in ([whole], blocks)]
    for _ in range(2):
        whole.grad = torch.randn(10, 12)
        for block, gradient in zip(blocks, whole.grad.split(4), strict=True):
            block.grad = gradient.clone()
        for muon in muons:
            muon.step()
        torch.testing.assert_close(whole, torch.cat(blocks), rtol=0, atol=1e-6)


def test_only_declared_trials_are_rendered(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("declared.json", "not made.json", "left over.json")]
    made = {"start": {}, "changes": {}, "model": "A", "seed": 0, "precision": "bfloat16"}
    made |= {"schema": 1, "validation_accuracy": 0.8, "cpu_seconds": 9.0, "environment": {}}
    for path in (paths[0], paths[2]):
        write_json(path, made)
    assert read_trials(paths[:2]) == [made]


@pytest.mark.parametrize("command", ["precision", "recipe_search"])
def test_what_cannot_be_written_or_is_slow_is_said_before_training(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = {"precision": precision, "recipe_search": recipe_search}[command]
    monkeypatch.setattr("utils.cli.has_native_bfloat16", lambda device: False)

    def train() -> None:
        if module is precision:
            precision.train_missing(tmp_path, ["CNN7x7"], results)
        else:
            monkeypatch.setattr(recipe_search, "RESULTS", results)
            recipe_search.search_and_render(["--data-dir", str(tmp_path)])

    def loaded(*_: object) -> None:
        raise LookupError  # all that is said before has been said

    monkeypatch.setattr(module, "load_dataset", loaded)
    monkeypatch.setattr(recipe_search, "keep_freed_memory", lambda: None)
    (tmp_path / "file").touch()
    results = tmp_path / "file" / "results"
    with pytest.raises(UserError, match=r"cannot write to .*; make the folder writable"):
        train()
    results = tmp_path / "results"
    with pytest.raises(LookupError):
        train()
    assert "warning: cpu has no native bfloat16" in capsys.readouterr().err


def test_every_candidate_is_a_recipe_for_a_network_and_has_a_file_of_its_own() -> None:
    trials = [trial for search in SEARCHES for trial in declared_trials(search)]
    paths = [path for _, _, path in trials]
    assert len(set(paths)) == len(paths) == len(list(RESULTS.glob("*/*.json")))
    for changes, run, path in trials:
        assert all(getattr(run.recipe, field) == value for field, value in changes.items())
        assert path.exists()  # what is declared was tried
    assert {run.model for _, run, _ in trials} <= set(models.MODELS)


def test_a_record_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trial.json"
    start = TrialRecipe(10, "sgd", 0.05, 5e-4)
    # as from a search that did not know of Muon's steps yet: they were at their default
    known = {name: value for name, value in asdict(start).items() if name != "muon_steps"}
    content = {"schema": 1, "start": known, "changes": {"dirac": True}, "precision": "bfloat16"}
    write_json(path, content)
    expected = f"{path}: a record without model, seed, validation_accuracy, cpu_seconds"
    with pytest.raises(UserError, match=re.escape(expected)):
        check_trial(path, replace(start, dirac=True))
    rest = {"model": "CNN3x3", "seed": 0, "validation_accuracy": 0.8, "cpu_seconds": 9.0}
    rest["environment"] = {}
    write_json(path, content | rest)
    check_trial(path, replace(start, dirac=True))
    for other in (start, replace(start, dirac=True, weight_decay=0.0)):
        with pytest.raises(UserError, match="of another recipe than is declared; delete it"):
            check_trial(path, other)

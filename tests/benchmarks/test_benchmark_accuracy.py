"""Time to the report's accuracy: what is trained next, what is kept, what the records say."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import accuracy, accuracy_report, accuracy_training, bench
from benchmarks.accuracy import EXPERIMENTS, main, make_place, quick_rows
from benchmarks.accuracy_records import (
    PARTS,
    Row,
    declared,
    declared_rows,
    is_finished,
    next_epochs,
    passing,
    read_all,
)
from benchmarks.accuracy_report import draw, markdown, plot_times, readme, summarise
from benchmarks.accuracy_training import (
    Data,
    Place,
    epoch_seconds,
    resume_usual,
    save_usual,
    train_ours,
    train_schedule,
    train_usual,
)
from benchmarks.timing import QUICK
from benchmarks.usual_loop import UsualLoop
from tests.fake_records import ENVIRONMENT
from tests.fakes import TINY_CIFAR10, make_arrays
from utils import REPOSITORY
from utils.data.dataset import Dataset, make_dataset
from utils.errors import UserError
from utils.experiment import Run
from utils.records.files import write_json
from utils.report.figures.canvas import new_figure
from utils.report.readme import replace_blocks
from utils.report.rows import REPORTED
from utils.training.loop import Compute, train
from utils.training.progress import Progress

ROWS = declared_rows(EXPERIMENTS)
CPU = torch.device("cpu")
MACHINE = {**ENVIRONMENT, "torch": "2.14", "python": "3.11"}


@pytest.fixture(autouse=True)
def _memory_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "keep_freed_memory", lambda: None)  # it is for a whole process


def tried(*accuracies: float) -> list[dict[str, Any]]:
    """What was tried with 1, 2, ... epochs."""
    return [
        {"epochs": epochs, "validation_accuracy": value, "test_accuracy": value - 0.001}
        for epochs, value in enumerate(accuracies, 1)
    ]


def test_the_rows_are_the_reports_with_its_accuracies() -> None:
    with (REPORTED / "results.csv").open(encoding="utf-8") as lines:
        reported = [(line["model"], float(line["test_accuracy"])) for line in csv.DictReader(lines)]
    assert [(row.run.model, row.target) for row in ROWS] == reported
    assert len(ROWS) == 14
    assert (
        len({row.path(Path(), "ours") for row in ROWS}) == 14
    )  # CNNWithResidual stands there twice
    for row in ROWS:
        declaring = next(each for each in EXPERIMENTS if each.name == row.run.experiment)
        assert row.run.recipe == declaring.recipe


@pytest.mark.parametrize(
    "accuracies, expected",
    [
        ([], 1),
        ([0.6], 2),
        ([0.6, 0.7], 3),  # as accurate as the report is not past it
        ([0.6, 0.71], None),
        ([0.6, 0.71, 0.5], None),  # a longer schedule that is worse does not count
        ([0.6] * 9, 10),
        ([0.6] * 10, None),
    ],
)
def test_schedules_get_longer_until_one_passes(
    accuracies: Sequence[float], expected: int | None
) -> None:
    assert next_epochs(tried(*accuracies), target=0.7, most_epochs=10) == expected


def test_what_passes_is_the_first_by_validation_accuracy() -> None:
    entries = tried(0.6, 0.71, 0.8)
    entries[0]["test_accuracy"] = 0.9  # decides nothing
    assert passing(entries, 0.7) is entries[1]
    assert passing(entries, 0.8) is None


class Trainings:
    """In place of what trains: networks whose accuracies are given, and a list of what was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
        self.made: list[int] = []
        self.accuracies = accuracies
        monkeypatch.setattr(accuracy_training, "train_schedule", self.train)
        monkeypatch.setattr(accuracy_training, "UsualLoop", self.usual_loop)
        monkeypatch.setattr(accuracy_training, "save_usual", lambda *_: None)
        monkeypatch.setattr(accuracy_training, "evaluate", lambda found, *_: (0.0, found, None))

    def train(self, run: object, epochs: int, *_: object) -> float:
        self.made.append(epochs)
        return self.accuracies[epochs - 1]

    def usual_loop(self, *_: object) -> SimpleNamespace:
        loop = SimpleNamespace(epochs=0, network=0.0, device=CPU)

        def train_epoch() -> None:
            loop.epochs += 1
            loop.network = self.train(None, loop.epochs)

        loop.train_epoch = train_epoch
        return loop


@pytest.fixture
def data() -> Data:
    official = replace(TINY_CIFAR10, train_images=40)
    dataset = make_dataset(make_arrays(official), "cifar10", "tiny", official.classes)
    return Data(dataset, dataset)


ROW = next(row for row in ROWS if row.run.model == "CNN7x7")  # the report has 65.11 %


def place(folder: Path, precision: str = "float32") -> Place:
    return Place(folder, Compute(CPU, precision), most_epochs=4, effort=QUICK)


@pytest.mark.parametrize("train, side", [(train_ours, "ours"), (train_usual, "usual")])
def test_what_is_trained_is_on_record_and_not_trained_again(
    train: Callable[..., None],
    side: str,
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainings = Trainings(monkeypatch, 0.5, 0.66, 0.9)
    for _ in range(2):
        train(ROW, data, place(tmp_path))
    assert trainings.made == [1, 2]
    record = json.loads(ROW.path(tmp_path, side).read_text())
    assert [entry["validation_accuracy"] for entry in record["tried"]] == [0.5, 0.66]
    assert is_finished(record)
    assert record["environments"][0]["torch"] == torch.__version__
    assert record["recipe"]["batch_size"] == {"ours": 256, "usual": 128}[side]


def test_a_broken_off_search_goes_on_with_the_next_schedule(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Trainings(monkeypatch, 0.5, 0.6)
    with pytest.raises(IndexError):  # stands for Ctrl-C in the third
        train_ours(ROW, data, place(tmp_path))
    then = Trainings(monkeypatch, 0.5, 0.6, 0.64, 0.65)
    train_ours(ROW, data, place(tmp_path))
    assert (first.made, then.made) == ([1, 2, 3], [3, 4])
    record = json.loads(ROW.path(tmp_path, "ours").read_text())
    assert is_finished(record)  # none of the four schedules passes
    assert passing(record["tried"], ROW.target) is None


def test_a_usual_loop_that_was_broken_off_goes_on_to_the_same_end(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until(epochs: int) -> Callable[[UsualLoop], float]:
        def train_epoch(loop: UsualLoop) -> float:
            count.append(loop)
            if len(count) > epochs:
                raise KeyboardInterrupt
            return whole_epoch(loop)

        count: list[UsualLoop] = []
        return train_epoch

    whole_epoch, row = UsualLoop.train_epoch, replace(ROW, target=1.0)
    train_usual(row, data, place(tmp_path / "whole"))
    monkeypatch.setattr(UsualLoop, "train_epoch", until(2))
    with pytest.raises(KeyboardInterrupt):
        train_usual(row, data, place(tmp_path / "broken"))
    torch.manual_seed(99)  # a new process starts with other generator states
    monkeypatch.setattr(UsualLoop, "train_epoch", until(2))  # two more are all that is left
    train_usual(row, data, place(tmp_path / "broken"))
    paths = [row.path(tmp_path / name, "usual") for name in ("whole", "broken")]
    whole, broken = (json.loads(path.read_text())["tried"] for path in paths)
    assert whole == broken and len(whole) == 4
    assert [path.name for path in paths[1].parent.iterdir()] == [paths[1].name]  # no checkpoint


def test_a_record_of_another_recipe_or_precision_is_refused(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainings(monkeypatch, 0.9)
    train_ours(ROW, data, place(tmp_path))
    train_usual(ROW, data, place(tmp_path))
    path, recipe = ROW.path(tmp_path, "ours"), ROW.run.recipe
    expected = (
        f"{path}: made with precision float32 (now bfloat16); delete it to have it made again"
    )
    with pytest.raises(UserError, match=re.escape(expected)):
        train_ours(ROW, data, place(tmp_path, "bfloat16"))
    train_usual(ROW, data, place(tmp_path, "bfloat16"))  # float32 all the same

    other = replace(recipe, learning_rate=7.0)
    changed = replace(ROW, run=replace(ROW.run, recipe=other))
    expected = f"recipe learning_rate {recipe.learning_rate} (now 7.0); delete it to have it"
    with pytest.raises(UserError, match=re.escape(expected)):
        read_all([changed], tmp_path, most_epochs=4)
    train_usual(changed, data, place(tmp_path))  # its rate is its own: nothing to refuse
    other = replace(recipe, batch_size=7)
    with pytest.raises(UserError, match=r"--usual.json: made with recipe batch_size .* \(now 7\)"):
        train_usual(replace(ROW, run=replace(ROW.run, recipe=other)), data, place(tmp_path))


def test_a_schedule_is_the_studys_own_training_with_its_number_of_epochs(
    data: Data, tmp_path: Path
) -> None:
    run = replace(ROW.run, recipe=replace(ROW.run.recipe, batch_size=8))
    compute = place(tmp_path).compute
    ours = train_schedule(run, 2, data.held_out, compute, tmp_path / "ours.json")
    assert not list(tmp_path.iterdir())  # no checkpoint is left
    whole = replace(run, recipe=replace(run.recipe, epochs=2))
    _, _, studys = train(whole, data.held_out, compute, tmp_path / "a.pt", Progress([1.0]))
    for found, expected in zip(ours.parameters(), studys.parameters(), strict=True):
        assert torch.equal(found, expected)


class UsualHere:
    """In place of a process of its own, which takes seconds to start."""

    def take(self, run: Run, dataset: Dataset) -> None:
        self.running = UsualLoop(run, dataset, CPU).running


def test_both_epochs_are_timed_in_turn(data: Data, tmp_path: Path) -> None:
    run = replace(ROW.run, recipe=replace(ROW.run.recipe, batch_size=4))
    found = epoch_seconds(run, data.held_out, place(tmp_path).compute, QUICK, UsualHere())
    assert found["epoch_batches"] == 10
    assert found["segment_batches"] == QUICK.batches
    for part in ("ours", "usual", "views"):
        assert len(found[part]) == QUICK.rounds


def test_segments_have_whole_cycles_of_muon(data: Data, tmp_path: Path) -> None:
    run = next(row.run for row in ROWS if row.run.model == "DeepFCNet")
    run = replace(run, recipe=replace(run.recipe, batch_size=2))
    effort = replace(QUICK, batches=13)
    found = epoch_seconds(run, data.held_out, place(tmp_path).compute, effort, UsualHere())
    assert found["segment_batches"] == 8 and found["epoch_batches"] == 20


def parts(
    row: Row,
    ours: Sequence[float] = (0.5, 1.0),
    usual: Sequence[float] = (0.5, 0.6, 1.0),
    seconds: tuple[Sequence[float], Sequence[float]] | None = ((2.0, 2.0, 4.0), (20.0, 22.0, 40.0)),
    views: Sequence[float] | None = None,
    others_running: float = 0.0,
) -> dict[str, Any]:
    """The three records of a row, made up: accuracies by epochs, seconds by rounds."""

    def side(name: str, accuracies: Sequence[float]) -> dict[str, Any]:
        return {
            "schema": 1,
            **declared(row, name, 10),
            "precision": "bfloat16" if name == "ours" else "float32",
            "device": "cpu",
            "data": {
                "description": {"mnist": "MNIST", "cifar10": "CIFAR-10"}[row.run.dataset],
                "validation_images": 5_000,
            },
            "tried": tried(*accuracies),
            "environments": [MACHINE],
        }

    views = views or (seconds and [0.0] * len(seconds[0]))
    times = seconds and {"ours": seconds[0], "usual": seconds[1], "views": views}
    made = side("ours", ours)
    conditions = {key: made[key] for key in ("precision", "device", "data")}
    measured = {
        **conditions,
        "segment_batches": 24,
        "others_running": others_running,
        "environment": MACHINE,
    }
    return {
        "ours": made,
        "usual": side("usual", usual),
        "seconds": times and {"schema": 1, **declared(row, "seconds", 10), **times, **measured},
    }


def test_the_ratio_is_that_of_the_products_round_by_round() -> None:
    record = summarise([parts(ROW)])
    (row,) = record["rows"]
    assert row["ratio"] == {"median": 15.0, "q1": 15.0, "q3": 15.75}  # 3·20/2·2, 3·22/2·2, ...
    assert "| 2 |" in markdown(record)
    assert "15.0× (15.0–15.8)" in markdown(record)
    assert [claim["value"] for claim in record["claims"]] == [15.0, 15.0]


def test_what_ours_does_before_the_first_epoch_counts_once() -> None:
    (row,) = summarise([parts(ROW, seconds=((2.0,), (20.0,)), views=(1.0,))])["rows"]
    assert row["ratio"]["median"] == 3 * 20 / (2 * 2 + 1)
    assert [accuracy_report.seconds(row[side]) for side in ("ours", "usual")] == [5, 60]


def test_a_usual_loop_that_never_passes_gives_a_lower_bound() -> None:
    record = summarise([parts(ROW, usual=[0.5] * 10)])
    assert record["rows"][0]["ratio"]["median"] == 50.0
    text = markdown(record)
    assert "≥ 50.0×" in text
    assert "| > 10 |" in text
    assert "the usual loop did not get there (CNN7x7, CIFAR-10)" in text


def test_where_ours_never_passes_there_is_no_ratio() -> None:
    record = summarise([parts(ROW, ours=[0.5] * 10), parts(ROWS[0])])
    assert [row["ratio"] is None for row in record["rows"]] == [True, False]
    text = markdown(record)
    assert "No ratio, since ours did not get there: CNN7x7, CIFAR-10." in text
    assert "geometric mean of 1 ratios" in record["claims"][0]["text"]


def test_rows_that_are_not_finished_are_named() -> None:
    nothing = dict.fromkeys(("ours", "usual", "seconds"))
    assert summarise([nothing]) is None
    half, untimed = parts(ROWS[1], ours=[0.5]), parts(ROWS[2], seconds=None)
    text = markdown(summarise([half, nothing, untimed, parts(ROW)]))
    assert "Not trained yet: 2 of 4 networks." in text
    assert "Not timed yet: CNNWithResidual, MNIST." in text
    assert draw(summarise([untimed]), Path("not written")) is None


def test_what_the_ratios_are_made_of_stands_beside_the_goals() -> None:
    # 2 epochs of 2 s and 1 s before them against 3 of 10 s; 1 of 2 s against 1 of 4 s
    first = parts(ROW, seconds=([2.0] * 3, [10.0] * 3), views=[1.0] * 3)
    second = parts(ROWS[0], [1.0], [1.0], seconds=([2.0] * 3, [4.0] * 3))
    text = markdown(summarise([first, second]))
    assert "takes 1.2 times as many epochs, and each of them 2.8 times as long." in text
    assert "at least" not in text
    assert "Below 3×: FCNet, MNIST (1.0 times the epochs, each 2.0 times as long)." in text


@pytest.mark.parametrize("ours", [(0.5, 0.006), (-0.006, 0.1)])  # passed, and not passed
def test_a_side_that_was_decided_by_chance_is_named(ours: tuple[float, float]) -> None:
    # 5,000 images: a standard error of 0.67 points
    row = parts(ROW, ours=[ROW.target + each for each in ours], usual=[ROW.target + 0.007])
    text = markdown(summarise([row]))
    assert "With other validation images this study might take more or fewer epochs" in text
    assert "by less than the standard error of its accuracy: CNN7x7 on CIFAR-10." in text
    assert "images the usual loop might" not in text


def test_a_row_that_was_timed_beside_other_programs_is_named() -> None:
    text = markdown(summarise([parts(ROW, others_running=0.7), parts(ROWS[1])]))
    assert "Timed while other programs ran, and in doubt: CNN7x7, CIFAR-10." in text


@pytest.mark.parametrize(
    "part, key, value",
    [
        ("seconds", "precision", "float32"),
        ("seconds", "device", "cuda"),
        ("usual", "data", {"description": "CIFAR-10", "fingerprint": "another"}),
    ],
)
def test_records_that_do_not_belong_together_are_refused(
    part: str, key: str, value: object, tmp_path: Path
) -> None:
    for name, record in parts(ROW).items():
        write_json(ROW.path(tmp_path, name), record | ({key: value} if name == part else {}))
    paths = [ROW.path(tmp_path, name) for name in (part, "ours")]
    expected = f"{paths[0]}: made with another {key} than {paths[1].name}; delete one of them"
    with pytest.raises(UserError, match=re.escape(expected)):
        read_all([ROW], tmp_path)


@pytest.mark.parametrize(
    "part, key, value",
    [
        ("ours", "tried", None),
        ("usual", "tried", [{"epochs": 1}]),
        ("ours", "environments", [{}]),
        ("seconds", "views", []),
        ("seconds", "usual", [1.0]),
        ("seconds", "environment", {}),
    ],
)
def test_a_damaged_record_is_named(part: str, key: str, value: object, tmp_path: Path) -> None:
    for name, record in parts(ROW).items():
        write_json(ROW.path(tmp_path, name), record | ({key: value} if name == part else {}))
    path = ROW.path(tmp_path, part)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: damaged \(.*made again$"):
        read_all([ROW], tmp_path)


@pytest.mark.parametrize("flag", ["--train", "--measure"])
def test_what_another_precision_has_begun_is_not_gone_on_with(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = quick_rows(ROWS)[0]
    path = row.path(tmp_path / "results" / "quick" / "benchmarks" / "accuracy", "ours")
    write_json(path, {**parts(row)["ours"], "most_epochs": 2})
    flags = ["--quick", flag, "--precision", "float32", "--out-dir", str(tmp_path)]
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert "FCNet: ours on record with precision bfloat16 (here float32); go on with that" in error


def test_rows_of_one_table_cannot_be_of_two_precisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = quick_rows(ROWS)
    path = first.path(tmp_path / "results" / "quick" / "benchmarks" / "accuracy", "ours")
    write_json(path, {**parts(first)["ours"], "most_epochs": 2})
    flags = ["--quick", "--train", "--precision", "float32", "--models", second.run.model]
    assert main([*flags, "--out-dir", str(tmp_path)]) == 2
    assert "FCNet: ours on record with precision bfloat16" in capsys.readouterr().err


@pytest.mark.parametrize("part, key", [("ours", "tried"), ("usual", "data"), ("seconds", "views")])
def test_an_incomplete_record_costs_one_line(part: str, key: str, tmp_path: Path) -> None:
    path, record = ROW.path(tmp_path, part), parts(ROW)[part]
    write_json(path, {name: value for name, value in record.items() if name != key})
    with pytest.raises(UserError, match=re.escape(f"{path}: a record without {key}; delete it")):
        read_all([ROW], tmp_path)


def test_ours_goes_on_in_the_precision_that_is_on_record(tmp_path: Path) -> None:
    flags = ["--quick", "--train", "--out-dir", str(tmp_path)]
    begun, nothing = parts(ROW), dict.fromkeys(PARTS)
    for more, records, expected in (
        ([], [nothing], "float32"),
        ([], [nothing, begun], "bfloat16"),
        ([], [nothing, nothing | {"seconds": begun["seconds"]}], "bfloat16"),
        (["--precision", "float32"], [nothing, begun], "float32"),
        (["--precision", "bfloat16"], [nothing], "bfloat16"),
    ):
        chosen = make_place(accuracy.parse([*flags, *more]), records)
        assert chosen.compute.precision == expected


def test_the_device_is_that_on_record_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "automatic_device", lambda: torch.device("cuda"))
    flags = ["--quick", "--out-dir", str(tmp_path)]
    begun, nothing = parts(ROW), dict.fromkeys(PARTS)
    for more, records, expected in (
        ([], [nothing], "cuda"),
        ([], [nothing, begun], "cpu"),
        (["--device", "cpu"], [nothing], "cpu"),
    ):
        chosen = make_place(accuracy.parse([*flags, *more]), records)
        assert chosen.compute.device.type == expected


@pytest.mark.parametrize("content", [b"half of", {"epochs": 1}, [1, 2]])
def test_a_damaged_checkpoint_of_the_usual_loop_starts_anew(
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: object,
) -> None:
    Trainings(monkeypatch, 0.5)
    with pytest.raises(IndexError):  # stands for Ctrl-C in the second epoch
        train_usual(ROW, data, place(tmp_path))
    checkpoint = ROW.path(tmp_path, "usual").with_suffix(".checkpoint.pt")
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        torch.save(content, checkpoint)
    again = Trainings(monkeypatch, 0.5, 0.9)
    train_usual(ROW, data, place(tmp_path))
    assert again.made == [1, 2] and not checkpoint.exists()
    assert f"{checkpoint} cannot be read" in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_refused(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "usual.checkpoint.pt"
    run = replace(ROW.run, recipe=replace(ROW.run.recipe, batch_size=8))
    save_usual(UsualLoop(run, data.held_out, CPU), path, 1)
    other = UsualLoop(replace(run, model="CNN5x5"), data.held_out, CPU)
    with pytest.raises(UserError, match=r"does not fit the network.*delete it to start anew"):
        resume_usual(other, path, 1)


def made_up() -> dict[str, Any]:
    """All rows: one lower bound, one that ours does not reach."""
    rng = np.random.default_rng(0)
    rows = []
    for number, row in enumerate(ROWS):
        cost = 10 ** rng.uniform(-0.3, 1.5)
        ours = [0.1] * (number % 4) + [1.0]
        usual = [0.1] * (3 + number % 5) + [1.0]
        seconds = [cost * rng.uniform(0.98, 1.02, 5) * factor for factor in (1, 3)]
        changes = {3: {"usual": [0.1] * 10}, 7: {"ours": [0.1] * 10}}.get(number, {})
        seconds = tuple(values.tolist() for values in seconds)
        rows.append(parts(row, **{"ours": ours, "usual": usual, "seconds": seconds, **changes}))
    return summarise(rows)


def test_nothing_overlaps_in_the_figure_and_every_row_is_in_it(tmp_path: Path) -> None:
    record = made_up()
    picture = draw(record, tmp_path)
    assert picture.file == tmp_path / "benchmarks" / "time_to_accuracy.png"
    assert "≥: it was not there after its last epoch" in picture.caption
    figure, axes = new_figure(1, 1, 6)
    plot_times(record["rows"], axes[0, 0])
    figure.draw_without_rendering()
    texts = [text for text in axes[0, 0].texts if text.get_text()]
    assert len(texts) == len(ROWS)
    boxes = [text.get_window_extent() for text in texts]
    whole = axes[0, 0].get_window_extent()
    assert all(whole.x0 < box.x0 and box.x1 < whole.x1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_readme_block_has_the_numbers_of_the_records(tmp_path: Path) -> None:
    record = made_up()
    block = readme(record, tmp_path)["accuracy"]
    mean, smallest = (claim["value"] for claim in record["claims"])
    assert f"{mean:.1f} times as long" in block
    assert f"{smallest:.1f} times" in block
    assert "the geometric mean of 13 ratios, 1 of them a lower bound" in block
    block = readme(record | {"declared": len(ROWS) + 2}, tmp_path)["accuracy"]
    assert "of 13 ratios (2 networks are still to come), 1 of them a lower bound" in block
    assert "A Processor (2 threads)" in block
    assert "](plots/benchmarks/time_to_accuracy.png)" in block
    assert "](docs/benchmarks.md)" in block
    marked = "<!-- begin: benchmarks -->\n<!-- end: benchmarks -->\n"
    assert block.strip() in replace_blocks(marked, {"benchmarks": block})


def test_the_page_of_all_benchmarks_takes_the_section_with_its_goals() -> None:
    record = made_up()
    text = bench.text_of(accuracy_report, record)
    assert "## Time to the report's accuracy" in text
    assert markdown(record) in text
    for claim in record["claims"]:
        assert claim["text"] in text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--models", "CNN3×3"], "--models: unknown model 'CNN3×3'; did you mean 'CNN3x3'?"),
        (["--threads", "0"], "--threads 0: must be between 1 and 1024"),
        (["--measure", "--no-train"], "not allowed with argument"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3; see --help"),
        (["--no-train", "--precision", "float32"], "--no-train renders the records at hand: leave"),
        (["--no-train", "--device", "cpu"], "--no-train renders the records at hand: leave"),
        (["--device", "gpu"], "--device 'gpu': must be auto, cpu, cuda"),
    ],
)
def test_a_bad_flag_costs_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*flags, "--out-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_the_command_renders_from_records_and_refuses_stale_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (REPOSITORY / "README.md").read_bytes()
    flags = ["--quick", "--no-train", "--out-dir", str(tmp_path)]
    folder = tmp_path / "results" / "quick" / "benchmarks"
    row = quick_rows(ROWS)[0]
    for part, record in parts(row).items():
        write_json(row.path(folder / "accuracy", part), {**record, "most_epochs": 2})
    assert main(flags) == 0
    assert "geometric mean of 1 ratios: 10.00× (goal ≥ 8.00×): reached" in capsys.readouterr().out
    assert (tmp_path / "plots" / "quick" / "benchmarks" / "time_to_accuracy.png").exists()
    assert json.loads((folder / "accuracy.json").read_text())["declared"] == 2

    record = parts(ROWS[0])["ours"]
    write_json(row.path(folder / "accuracy", "ours"), {**record, "most_epochs": 2})
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert "made with recipe" in error
    assert error.count("\n") == 1
    assert (REPOSITORY / "README.md").read_bytes() == readme


def test_ctrl_c_says_that_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "train_row", interrupted)
    assert main(["--quick", "--models", "FCNet", "--out-dir", str(tmp_path)]) == 130
    assert "the same command goes on" in capsys.readouterr().err

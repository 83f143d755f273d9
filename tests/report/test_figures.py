"""Every figure renders from made-up records, without a warning, and says what it shows."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from experiments import STUDY
from tests.fake_records import (
    NETWORKS,
    RECIPE,
    make_arrays,
    make_data,
    make_diverged,
    make_experiment,
    make_record,
    with_epochs,
    write_cases,
    write_runs,
)
from utils import REPOSITORY
from utils.experiment import MOST_LETTERS, Experiment, Row
from utils.records.files import read_arrays
from utils.records.schema import Record
from utils.records.study import Evidence, gather
from utils.report.figures import FIGURES, canvas
from utils.report.figures.canvas import extremes, label_line_ends, looks, moved_apart, new_figure
from utils.report.figures.images import plot_confusion, square_start
from utils.report.figures.plotting import plot_models_by_epoch
from utils.report.figures.training import mix_up, recognised
from utils.report.markdown import picture_markdown
from utils.report.render import render_experiment
from utils.report.rows import training_rows

RC = {  # what people have in their matplotlibrc
    "text.usetex": True,
    "font.size": 30,
    "font.family": "serif",
    "figure.dpi": 300,
    "savefig.dpi": 30,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "axes.facecolor": "black",
    "axes.titlelocation": "left",
    "lines.linewidth": 9,
    "image.cmap": "gray",
    "xtick.direction": "in",
    "legend.fontsize": 20,
}

pytestmark = pytest.mark.filterwarnings("error")

MODELS = ("CNN3x3", "CNN5x5", "MyNet")
MAPS = {"features.0.0": (4, 8), "features.1.0": (6, 4)}
OF_LAYERS = ("activation_functions", "pooling", "layer_timings")
LINE = {"color": "#0072B2", "marker": "o"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas, "DPI", 40)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made, whichever module asks for them."""
    figures: list[Figure] = []

    class Remembered(Figure):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(canvas, "Figure", Remembered)
    return figures


def read(experiment: Experiment, results: Path) -> Evidence:
    return gather(experiment, results, NETWORKS)


def evidence_for(
    name: str, results: Path, seeds: int = 1, synthetic: bool = False, more: str = ""
) -> Evidence:
    if name in OF_LAYERS:
        write_cases(results, "custom_layers")
        return read(make_experiment([], name="custom_layers"), results)
    labels = [f"{name}{more}"[:MOST_LETTERS] for name in MODELS]
    rows = [
        Row(label, network, at=(labels[0], place))
        for place, (label, network) in enumerate(zip(labels, MODELS, strict=True), 1)
    ]
    experiment = make_experiment(rows, name="residual_blocks", axis="size")
    records = [
        make_record(network, seed, round(0.7 + number / 30, 4), data=make_data(synthetic=synthetic))
        for number, network in enumerate(MODELS)
        for seed in range(seeds)
    ]
    write_runs(results, experiment, records, make_arrays(MAPS))
    return read(experiment, results)


def evidence_of(record: Record, results: Path) -> Evidence:
    """A table of one network that was trained once."""
    experiment = make_experiment([record.network])
    write_runs(results, experiment, [record])
    return read(experiment, results)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_says_what_of(
    name: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    of_networks = name not in OF_LAYERS
    evidence = evidence_for(name, tmp_path, synthetic=of_networks)
    (picture,) = FIGURES[name](evidence, tmp_path / "plots")
    (figure,) = drawn
    assert name == picture.file.stem
    assert figure.get_suptitle()
    assert picture.caption.endswith(".")
    assert not {"[", "]", "\n"} & set(picture.finding)  # it is the alternative text of a link
    assert not picture.caption.startswith(picture.finding)
    pixels = imread(picture.file)[..., :3]
    assert (pixels[0, 0] == 1).all()  # opaque white, in dark mode too
    assert pixels.min() < 0.5  # something is drawn
    for ax in figure.axes:
        assert ax.has_data() or not ax.axison
    paints = {to_hex(text.get_color()) for text in figure.findobj(Text)}
    assert paints - {"#ffffff"} == {"#000000"}  # white on the dark squares of a matrix
    for text in (picture.caption, figure.get_suptitle()):
        assert ("synthetic stand-in" in text) == of_networks
    if of_networks and name not in ("along", "gradient_depth"):
        for model in MODELS:
            assert any(text.startswith(model) for text in texts(figure))


@pytest.mark.parametrize("name", sorted(FIGURES.keys() - {*OF_LAYERS}))
def test_the_longest_labels_are_read(name: str, tmp_path: Path, drawn: list[Figure]) -> None:
    FIGURES[name](evidence_for(name, tmp_path, more=" and what else" * 9), tmp_path / "plots")
    (figure,) = drawn
    figure.draw_without_rendering()
    width = figure.bbox.width
    words = [each for each in figure.findobj(Text) if "and what" in each.get_text()]
    # without the arrows of annotations
    extents = [Text.get_window_extent(each) for each in words if each.get_visible()]
    assert extents and all(-1 < each.x0 < each.x1 < width + 1 for each in extents)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(extents, 2))


@pytest.mark.parametrize(("seeds", "bands"), [(1, 0), (3, len(MODELS))])
def test_several_seeds_have_a_band(
    seeds: int, bands: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    (picture,) = FIGURES["overfitting"](evidence_for("x", tmp_path, seeds), tmp_path / "plots")
    assert len(drawn[0].axes[0].collections) == bands
    assert ("± one sample standard deviation" in picture.caption) == (seeds > 1)


def test_a_band_is_the_sample_deviation_around_the_mean() -> None:
    _, axes = new_figure()
    plot_models_by_epoch({"A": np.array([[1.0, 2.0], [3.0, 6.0]])}, {"A": LINE}, axes[0, 0])
    (band,) = axes[0, 0].collections
    (line,) = axes[0, 0].lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 2], [2, 4]])
    np.testing.assert_allclose(
        band.get_paths()[0].get_extents().intervaly, [2 - 2**0.5, 4 + 8**0.5]
    )


def test_the_gap_in_the_figure_is_that_of_the_table(tmp_path: Path, drawn: list[Figure]) -> None:
    record = make_record()
    final = record.final.model_copy(update={"train_accuracy": record.final.test_accuracy + 0.123})
    evidence = evidence_of(record.model_copy(update={"final": final}), tmp_path)
    (picture,) = FIGURES["overfitting"](evidence, tmp_path / "plots")
    (row,) = training_rows(evidence)
    assert f"CNN3x3  {100 * row['generalization_gap']:.1f}" in texts(drawn[0])
    assert "the first 10,000 train images" in picture.caption


@pytest.mark.parametrize("name", FIGURES)
def test_without_records_no_figure_is_drawn(name: str, tmp_path: Path) -> None:
    empty = read(make_experiment(), tmp_path)
    assert empty.empty
    assert FIGURES[name](empty, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_network_without_convolution_has_no_filters(tmp_path: Path) -> None:
    experiment = make_experiment(["FCNet"])
    write_runs(tmp_path, experiment, [make_record("FCNet", fields={})])
    evidence = read(experiment, tmp_path)
    for name in ("filters", "activations", "feature_maps", "receptive_field"):
        assert FIGURES[name](evidence, tmp_path / "plots") == []


@pytest.mark.parametrize("name", ["gradient_flow", "gradient_norms"])
def test_rows_of_one_network_have_panels_that_are_read_alike(
    name: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    faster = {"learning_rate": 0.5}
    rows = [Row("CNN3x3"), Row("faster", "CNN3x3", recipe=faster)]
    for row in rows:
        record = make_record(recipe=replace(RECIPE, **row.recipe))
        write_runs(tmp_path, make_experiment([row]), [record])
    FIGURES[name](read(make_experiment(rows), tmp_path), tmp_path / "plots")
    first, second = (
        [(line.get_linestyle(), line.get_fillstyle()) for line in ax.lines] for ax in drawn[0].axes
    )
    assert {("--", "none"), ("-", "full")} <= set(first)
    assert first == second


def test_a_convolution_that_is_not_trained_is_no_block(tmp_path: Path, drawn: list[Figure]) -> None:
    fields = {"frozen": 3, "blocks.0.conv1": 5, "blocks.0": 7, "blocks.1": 9}
    experiment = make_experiment(["CNN3x3"])
    maps = dict.fromkeys(["frozen", "blocks.0", "blocks.0_1"], (4, 8))
    record = make_record(fields=fields, epochs=make_record().epochs)
    write_runs(tmp_path, experiment, [record], make_arrays(maps))
    FIGURES["feature_maps"](read(experiment, tmp_path), tmp_path / "plots")
    titles = [ax.get_title().splitlines()[0] for ax in drawn[0].axes]
    assert titles == ["convolution 1", "block 1", "block 2"]


def test_a_single_epoch_of_a_single_model_is_drawn(tmp_path: Path) -> None:
    experiment = make_experiment([Row("CNN3x3", at=("one", 1))], axis="size")
    record = make_record(recipe=replace(RECIPE, epochs=1))
    write_runs(tmp_path, experiment, [record], make_arrays({"features.0.0": (1, 8)}))
    evidence = read(experiment, tmp_path)
    for name in set(FIGURES) - set(OF_LAYERS):
        assert FIGURES[name](evidence, tmp_path / "plots")


def test_epochs_whose_numbers_are_not_known_are_drawn_all_the_same(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    record, lost = make_record("CNN3x3"), [None, None]  # as a record keeps what is not a number
    first = record.epochs[0]
    unknown = with_epochs(
        record,
        running_loss=[first.running_loss, *lost],
        test_loss=[first.test_loss, *lost],
        train_loss=[first.train_loss, *lost],
        gradient_norm_largest=[first.gradient_norm_largest, *lost],
        batch_loss_quartiles=[first.batch_loss_quartiles, *2 * [(None, None, None)]],
        gradient_norm=[first.gradient_norm, *2 * [dict.fromkeys(first.gradient_norm)]],
    )
    experiment = make_experiment()
    write_runs(tmp_path, experiment, [unknown, make_record("CNN5x5")])
    evidence = read(experiment, tmp_path)
    for name in ("curves", "stability", "gradient_flow", "gradient_norms"):
        assert FIGURES[name](evidence, tmp_path / "plots")
    assert any("not a positive number" in text for figure in drawn for text in texts(figure))


@pytest.mark.filterwarnings("error")
def test_epochs_of_a_single_batch_are_drawn(tmp_path: Path) -> None:
    record = make_record("CNN3x3")
    even = [(each.running_loss,) * 3 for each in record.epochs]
    evidence = evidence_of(with_epochs(record, batch_loss_quartiles=even), tmp_path)
    assert FIGURES["stability"](evidence, tmp_path / "plots")


def test_words_are_those_of_the_dataset_and_the_axis(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [Row("CNN3x3", at=("wide", 32)), Row("CNN5x5", at=("wide", 64))]
    experiment = make_experiment(rows, dataset="mnist", axis="hidden units")
    norms = {"features.0.0": 1.0, "classifier.1": 3.0}
    records = [
        with_epochs(
            make_record(name, dataset="mnist"),
            gradient_norm=3 * [norms],
            gradient_norm_first=3 * [norms],
        )
        for name in ("CNN3x3", "CNN5x5")
    ]
    arrays = make_arrays({"features.0.0": (4, 8)}) | {"filters": np.ones((4, 1, 3, 3))}
    for record in records:
        write_runs(tmp_path, experiment, [record], arrays)
    evidence = read(experiment, tmp_path)
    (depth,) = FIGURES["gradient_depth"](evidence, tmp_path / "plots")
    assert depth.finding.endswith("is 10^-0.5 in hidden units: 64, wide")
    assert "hidden units: 32" in texts(drawn[0])
    assert [tick for ax in drawn[0].axes for tick in ax.get_xticks()] == 2 * [1, 2]
    (filters,) = FIGURES["filters"](evidence, tmp_path / "plots")
    assert "red" not in filters.caption + filters.finding
    (maps,) = FIGURES["feature_maps"](evidence, tmp_path / "plots")
    assert "licence" not in maps.caption


def test_a_figure_and_its_caption_say_what_diverged(tmp_path: Path, drawn: list[Figure]) -> None:
    experiment = make_experiment(figures=("accuracies",))
    records = [make_record("CNN3x3"), make_diverged("CNN3x3", 1), make_diverged("CNN5x5", 0)]
    write_runs(tmp_path, experiment, records)
    blocks = render_experiment(read(experiment, tmp_path), tmp_path, tmp_path / "plots")
    said = " Left out: CNN3x3 diverged in 1 of 2 runs; CNN5x5 diverged in 1 of 1 runs.*"
    assert blocks["kernel_size.figures"].endswith(said)
    (figure,) = drawn
    assert [each.get_text() for each in figure.axes[0].get_yticklabels()] == ["CNN3x3", "CNN5x5"]
    assert texts(figure).count("diverged") == 1


def test_a_network_without_gradients_is_drawn_without_a_warning(tmp_path: Path) -> None:
    record = make_record(recipe=replace(RECIPE, epochs=1))
    none = [dict.fromkeys(record.epochs[0].gradient_norm, 0.0)]
    dead = with_epochs(record, gradient_norm=none, gradient_norm_largest=[0.0])
    experiment = make_experiment([Row("CNN3x3", at=("one", 8))])
    write_runs(tmp_path, experiment, [dead])
    for name in ("stability", "gradient_flow", "gradient_norms", "gradient_depth"):
        assert FIGURES[name](read(experiment, tmp_path), tmp_path / "plots")


@pytest.mark.parametrize("name", ["gradient_flow", "gradient_depth"])
def test_a_shortcut_is_not_on_the_main_path(name: str, tmp_path: Path, drawn: list[Figure]) -> None:
    norms = {"stem": 1.0, "block.conv1": 2.0, "block.shortcut.0": 0.1, "classifier": 3.0}
    epochs = len(make_record().epochs) * [norms]
    record = with_epochs(make_record(), gradient_norm=epochs, gradient_norm_first=epochs)
    experiment = make_experiment([Row("CNN3x3", at=("one", 8))])
    write_runs(tmp_path, experiment, [record])
    FIGURES[name](read(experiment, tmp_path), tmp_path / "plots")
    lines = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines]
    assert lines[0] == [[1, 1], [2, 2], [3, 3]]
    assert lines[1:] == ([[[2, 0.1]], lines[0], [[2, 0.1]]] if name == "gradient_flow" else [])


def test_what_rounds_to_nothing_is_left_empty() -> None:
    _, axes = new_figure()
    matrix = np.array([[199, 1, 0], [6, 194, 0], [0, 3, 197]])  # 0.5 % would be printed as 0
    plot_confusion(matrix, "abc", axes[0, 0])
    assert [text.get_text() for text in axes[0, 0].texts] == ["100", "3", "97", "2", "98"]


def test_layers_are_timed_against_their_analogues(tmp_path: Path, drawn: list[Figure]) -> None:
    FIGURES["layer_timings"](evidence_for("layer_timings", tmp_path), tmp_path / "plots")
    (ax,) = drawn[0].axes
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == ["Swish\nto SiLU", "Swish\nto ReLU", "L2Pooling\nto MaxPool2d"]
    ratios = [text.get_text() for text in ax.texts]
    assert ratios == 2 * ["1.3", "2.0", "1.5"]  # forward, and with backward


def test_the_pooling_that_is_left_out_is_the_same_picture() -> None:
    arrays = read_arrays(REPOSITORY / "results" / "custom_layers" / "cases.npz")
    same = (arrays[f"pooling/{name}"] for name in ("LPPool2d", "L2Pooling"))
    np.testing.assert_allclose(*same, atol=1e-6)


def test_rows_of_one_network_have_its_colour_and_lines_of_their_own(tmp_path: Path) -> None:
    rows = [Row("CNN3x3"), Row("pooled", "CNN3x3", {"global_pooling": True}), Row("CNN5x5")]
    evidence = read(make_experiment(rows), tmp_path)
    first, second, other = looks(evidence.styles, evidence).values()
    assert (first["color"], first["marker"]) == (second["color"], second["marker"])
    assert (first["linestyle"], second["linestyle"]) == ("-", "--")
    assert first["color"] != other["color"]


@pytest.mark.parametrize("lines", [True, False])
def test_many_rows_of_one_network_are_told_apart(lines: bool, tmp_path: Path) -> None:
    rows = [Row(f"width {n}", "CNN3x3", {"widths": (n, n)}) for n in range(8)]
    evidence = read(make_experiment(rows), tmp_path)
    found = looks(evidence.styles, evidence, lines).values()
    assert len({tuple(each.values()) for each in found}) == len(rows)
    assert {each["linestyle"] for each in found} == ({"-", "--", ":", "-."} if lines else {"none"})


@pytest.mark.parametrize("experiment", STUDY, ids=lambda each: each.name)
def test_networks_of_one_figure_differ_in_colour_and_marker(experiment: Experiment) -> None:
    styles = {NETWORKS[row.network] for row in experiment.rows}
    assert len(styles) == len({each.colour for each in styles})
    assert len(styles) == len({each.marker for each in styles})


def test_no_two_figures_have_one_title() -> None:
    titles = [(each.subject, each.dataset, name) for each in STUDY for name in each.figures]
    assert all(subject for subject, *_ in titles)
    assert len(set(titles)) == len(titles)


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    evidence = evidence_for("shift", tmp_path)
    first, second = (FIGURES["shift"](evidence, tmp_path / folder)[0].file for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_line_goes_along_its_axis_from_zero_on(tmp_path: Path, drawn: list[Figure]) -> None:
    places = {"CNN3x3": 0.3, "CNN5x5": 0.0, "CNN7x7": 0.1}
    rows = [Row(label, at=("dropout", place)) for label, place in places.items()]
    experiment = make_experiment(rows, axis="dropout", figures=("along",))
    write_runs(tmp_path, experiment, [make_record(label) for label in places])
    FIGURES["along"](gather(experiment, tmp_path, NETWORKS), tmp_path)
    for ax in drawn[0].axes:
        assert ax.get_xscale() == "linear"
        assert ax.lines[0].get_xdata().tolist() == [0.0, 0.1, 0.3]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "0.1", "0.3"]


def test_links_are_relative_to_the_repository(tmp_path: Path) -> None:
    (picture,) = FIGURES["shift"](
        evidence_for("shift", tmp_path), tmp_path / "p" / "residual_blocks"
    )
    link = f"![{picture.finding}](plots/residual_blocks/shift.png)"
    expected = f"{link}\n\n*{picture.finding}. {picture.caption}*"
    assert picture_markdown(picture, tmp_path / "p") == expected


@pytest.mark.parametrize(
    ("seen", "size", "start"),
    [
        (range(12, 22), 10, 12),  # inside: the field is what is seen
        (range(0, 20), 24, -4),  # cut off at the left
        (range(20, 32), 16, 20),  # cut off at the right
        (range(0, 32), 44, -6),  # on both sides: around the middle
        (range(13, 21), 10, 12),  # its border is never seen
    ],
)
def test_the_square_lies_where_the_gradient_does(seen: range, size: int, start: int) -> None:
    profile = np.zeros(32)
    profile[list(seen)] = 1
    assert square_start(profile, size) == start


def test_labels_are_moved_by_the_least_that_separates_them() -> None:
    np.testing.assert_allclose(moved_apart([0, 10, 20], 5), [0, 10, 20])
    np.testing.assert_allclose(moved_apart([1, 1, 1], 2), [-1, 1, 3])
    np.testing.assert_allclose(moved_apart([10, 0, 0.5], 1), [10, -0.25, 0.75])


def test_labels_of_line_ends_keep_apart_and_are_joined_to_them() -> None:
    _, axes = new_figure()
    ax = axes[0, 0]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    label_line_ends(ax, [(f"label {i}", 1, 0.5 + i / 100, "#0072B2") for i in range(6)])
    ax.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without the line to its point
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert {to_hex(text.arrow_patch.get_edgecolor()) for text in ax.texts} == {"#0072b2"}


def test_a_matplotlibrc_on_disk_and_a_backend_change_no_figure(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from utils.report.figures import canvas
canvas.DPI = {canvas.DPI}
figure, axes = canvas.new_figure(title="a title")
axes[0, 0].plot([1, 10], [3, 4], label="a")
axes[0, 0].legend()
canvas.save(figure, Path(path))
"""
    plain, users = tmp_path / "plain.png", tmp_path / "users.png"
    exec(code, {"path": plain})
    rc = "".join(f"{key}: {value}\n" for key, value in {"backend": "TkAgg", **RC}.items())
    (tmp_path / "matplotlibrc").write_text(rc)
    (tmp_path / "stylelib").mkdir()
    (tmp_path / "stylelib" / "own.mplstyle").write_bytes(b"# \xec\xee\xb8\nfont.size: 12\n")
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "MPLBACKEND": "nonsense"}
    environment["MPLCONFIGDIR"] = str(tmp_path)
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = [sys.executable, "-c", f"path = {str(users)!r}{code}"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert plain.read_bytes() == users.read_bytes()


@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_a_matplotlibrc_is_not_even_read(place: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.mkfifo(tmp_path / place / "matplotlibrc")  # it would be waited for
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / "elsewhere")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = [sys.executable, "-c", "import os, utils.report; print(os.getcwd())"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == f"{tmp_path}\n"
    assert not done.stderr


def test_a_finding_names_both_ends() -> None:
    values = {"CNN3x3": 80.82, "CNN5x5": 78.38, "CNN7x7": 73.28}
    ends = "highest 80.82 % (CNN3x3), lowest 73.28 % (CNN7x7)"
    assert extremes(values, "Accuracy") == f"Accuracy: {ends}"
    assert extremes({"CNN3x3": 100.0}, "Accuracy") == "Accuracy: 100.00 % (CNN3x3)"
    assert extremes({"a": 0.646, "b": 8.14}, "Time", " times") == (
        "Time: highest 8.14 times (b), lowest 0.646 times (a)"
    )


def test_a_class_without_test_images_is_not_one_that_is_never_recognised() -> None:
    shares = recognised(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]]))
    np.testing.assert_array_equal(shares, [0.75, np.nan, 0])


def test_the_most_frequent_confusion_is_named() -> None:
    matrix = np.array([[90, 10, 0], [5, 75, 20], [1, 2, 97]])
    assert mix_up("FCNet", matrix, ("cat", "dog", "ship")) == (
        "FCNet takes 20 % of class dog for ship"
    )


def test_a_move_names_the_seeds_that_were_moved(tmp_path: Path) -> None:
    (picture,) = FIGURES["shift"](evidence_for("shift", tmp_path), tmp_path / "plots")
    assert f"Seeds whose test images were moved: {MODELS[0]} 0" in picture.caption

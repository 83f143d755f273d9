"""Every figure renders from made-up records, without a warning, and says what it shows."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tests.fake_records import (
    RECIPE,
    make_arrays,
    make_experiment,
    make_run,
    make_speed,
    write_blocks,
    write_layers,
    write_runs,
)
from utils.errors import UserError
from utils.records.study import Evidence, gather, gradient_ratios, gradient_verdict, largest_drop
from utils.report.figures import canvas
from utils.report.figures.canvas import COLOURS, colour, label_points, new_figure, save, spread
from utils.report.figures.images import square_start
from utils.report.figures.inside import describe_ratios
from utils.report.figures.plotting import Point, plot_epochs, plot_overview
from utils.report.figures.registry import FIGURES, draw
from utils.report.render import picture_markdown

pytestmark = pytest.mark.filterwarnings("error")

MODELS = ("CNN3x3", "CNN5x5", "MyNet")
MAPS = {"features.0.0": (4, 8), "features.1.0": (6, 4)}
OF_LAYERS = ("activation_functions", "pooling", "layer_timings")
OF_MODELS = [f"{name}_{model}" for name in ("curves", "feature_maps") for model in MODELS]


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


def evidence_for(name: str, results: Path, seeds: int = 1, synthetic: bool = False) -> Evidence:
    if name in OF_LAYERS:
        write_layers(results)
        return gather(make_experiment([], name="custom_layers"), results)
    experiment = make_experiment(MODELS, name="residual_blocks")
    data = {**make_run()["data"], "synthetic": synthetic}
    runs = [
        make_run(model, seed, 0.7 + number / 30, parameters=10 ** (4 + number), data=data)
        for number, model in enumerate(MODELS)
        for seed in range(seeds)
    ]
    write_blocks(results)
    write_runs(results, experiment, runs, make_arrays(MAPS), make_speed(MODELS))
    return gather(experiment, results)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_with_title_and_caption(
    name: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    pictures = draw(name, evidence_for(name, tmp_path), tmp_path / "plots")
    files = {picture.file.stem for picture in pictures}
    assert name in files or files <= set(OF_MODELS)
    assert len(drawn) == len(pictures) >= 1
    for picture, figure in zip(pictures, drawn, strict=True):
        assert figure.get_suptitle()
        assert picture.caption.endswith(".")
        assert "[" not in picture.caption  # it would end the alternative text of an image link
        pixels = imread(picture.file)[..., :3]
        assert (pixels[0, 0] == 1).all()  # opaque white, in dark mode too
        assert pixels.min() < 0.5  # something is drawn
        for ax in figure.axes:
            assert ax.has_data() or not ax.axison


@pytest.mark.parametrize("name", ["curves", "overfitting", "stability"])
def test_lines_are_labelled_at_their_ends(name: str, tmp_path: Path, drawn: list[Figure]) -> None:
    draw(name, evidence_for(name, tmp_path), tmp_path / "plots")
    assert set(MODELS) <= set(texts(drawn[0]))
    assert "epoch" in texts(drawn[0])


@pytest.mark.parametrize("name", ["cost", "confusion", "receptive_field", "filters", "activations"])
def test_every_model_is_named(name: str, tmp_path: Path, drawn: list[Figure]) -> None:
    draw(name, evidence_for(name, tmp_path), tmp_path / "plots")
    for model in MODELS:
        assert any(text.startswith(model) for text in texts(drawn[0]))


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {*OF_LAYERS, "block_timings"}))
def test_a_synthetic_dataset_is_called_one_in_title_and_caption(
    name: str, tmp_path: Path, drawn: list[Figure]
) -> None:
    for picture in draw(name, evidence_for(name, tmp_path, synthetic=True), tmp_path / "plots"):
        assert "synthetic stand-in" in picture.caption
    assert all("synthetic stand-in" in figure.get_suptitle() for figure in drawn)


@pytest.mark.parametrize(("seeds", "bands"), [(1, 0), (3, len(MODELS))])
def test_several_seeds_have_a_band(
    seeds: int, bands: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    (picture,) = draw("overfitting", evidence_for("x", tmp_path, seeds), tmp_path / "plots")
    assert len(drawn[0].axes[0].collections) == bands
    assert ("± one sample standard deviation" in picture.caption) == (seeds > 1)


def test_a_band_is_the_sample_deviation_around_the_mean() -> None:
    _, axes = new_figure()
    end = plot_epochs(np.array([[1.0, 2.0], [3.0, 6.0]]), axes[0, 0], "black")
    (band,) = axes[0, 0].collections
    assert end == (2, 4)
    np.testing.assert_allclose(
        band.get_paths()[0].get_extents().intervaly, [2 - 2**0.5, 4 + 8**0.5]
    )


@pytest.mark.parametrize("name", FIGURES)
def test_without_records_no_figure_is_drawn(name: str, tmp_path: Path) -> None:
    empty = Evidence(make_experiment([]), {}, {})
    assert draw(name, empty, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_network_without_convolution_has_no_filters(tmp_path: Path) -> None:
    experiment = make_experiment(["FCNet"])
    arrays = {"test_predictions": np.zeros(3, np.uint8)}
    write_runs(tmp_path, experiment, [make_run("FCNet", fields={})], arrays)
    evidence = gather(experiment, tmp_path)
    for name in ("filters", "activations", "feature_maps", "receptive_field"):
        assert draw(name, evidence, tmp_path / "plots") == []


def test_a_single_epoch_of_a_single_model_is_drawn(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3"])
    run = make_run(recipe=replace(RECIPE, epochs=1))
    write_runs(tmp_path, experiment, [run], make_arrays({"features.0.0": (1, 8)}))
    evidence = gather(experiment, tmp_path)
    for name in set(FIGURES) - {*OF_LAYERS, "block_timings"}:
        assert draw(name, evidence, tmp_path / "plots")


def test_a_run_that_diverged_is_drawn_all_the_same(tmp_path: Path, drawn: list[Figure]) -> None:
    run = make_run("CNN3x3")
    for entry in run["epochs"][1:]:  # as a record keeps what is not a number
        entry.update(running_loss=None, test_loss=None, train_loss=None)
        entry.update(batch_loss_quartiles=[None] * 3, gradient_norm_largest=None)
        entry["gradient_norm"] = dict.fromkeys(entry["gradient_norm"])
    experiment = make_experiment()
    write_runs(tmp_path, experiment, [run, make_run("CNN5x5")])
    evidence = gather(experiment, tmp_path)
    for name in ("curves", "stability", "gradient_flow", "gradient_norms"):
        assert draw(name, evidence, tmp_path / "plots")
    assert any("not a positive number" in text for figure in drawn for text in texts(figure))


def test_smoothed_targets_are_mentioned_where_there_are_any(tmp_path: Path) -> None:
    for share in (0.0, 0.1):
        recipe, results = replace(RECIPE, label_smoothing=share), tmp_path / str(share)
        experiment = make_experiment(["CNN3x3"], recipe=recipe)
        write_runs(results, experiment, [make_run("CNN3x3", recipe=recipe)])
        together, alone = draw("curves", gather(experiment, results), results / "plots")
        assert ("spreads 10% of each target" in together.caption) == bool(share)
        assert ("smoothed targets" in alone.caption) == bool(share)


def test_an_unknown_figure_is_an_error() -> None:
    with pytest.raises(UserError) as error:
        draw("curvs", Evidence(make_experiment([]), {}, {}), Path())
    assert str(error.value).startswith("experiment kernel_size: unknown figure 'curvs'; known: cur")


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    evidence = evidence_for("cost", tmp_path)
    first, second = (draw("cost", evidence, tmp_path / folder)[0].file for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_links_are_relative_to_the_repository(tmp_path: Path) -> None:
    (picture,) = draw("cost", evidence_for("cost", tmp_path), tmp_path / "p" / "residual_blocks")
    link = f"![{picture.caption}](plots/residual_blocks/cost.png)\n\n*{picture.caption}*"
    assert picture_markdown(picture, tmp_path / "p") == link


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.0, 0.005], "vanishing"),
        ([0.5, 1.0], "neither vanishing nor exploding"),
        ([500.0, 1.0], "exploding"),
        ([1.0, math.nan], "not defined: a norm is not a positive number"),
    ],
)
def test_gradients_are_called_what_their_ratio_says_in_any_epoch(
    ratios: list[float], verdict: str
) -> None:
    assert gradient_verdict(np.array(ratios)) == verdict


def test_the_largest_drop_is_the_deepest_fall_of_the_test_accuracy() -> None:
    run = make_run()
    accuracies = np.linspace(0.2, 0.8, len(run["epochs"]))
    for entry, accuracy in zip(run["epochs"], accuracies, strict=True):
        entry["test_accuracy"] = accuracy
    assert largest_drop([run]) == 0
    run["epochs"][1]["test_accuracy"] = run["epochs"][0]["test_accuracy"] - 0.15
    assert largest_drop([run]) == pytest.approx(0.15)
    assert largest_drop([run | {"epochs": run["epochs"][:1]}]) == 0


def test_ratios_are_those_of_the_first_layer_to_the_last_by_epoch() -> None:
    run = make_run()
    for entry in run["epochs"]:
        entry["gradient_norm"] = {"first": 3, "middle": 7, "last": 1}
    run["epochs"][-1]["gradient_norm"] = {"first": 0.2, "middle": 7, "last": 0.4}
    run["epochs"][0]["gradient_norm"] = {"first": 1, "middle": 1, "last": 0}
    ratios = gradient_ratios([run])
    assert math.isnan(ratios[0])
    assert ratios[1:].tolist() == pytest.approx([3.0] * (len(ratios) - 2) + [0.5])
    assert describe_ratios(ratios[1:]).startswith("first / last layer 0.5 to 3: neither")


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


def test_labels_are_spread_by_the_least_that_separates_them() -> None:
    np.testing.assert_allclose(spread([0, 10, 20], 5), [0, 10, 20])
    np.testing.assert_allclose(spread([1, 1, 1], 2), [-1, 1, 3])
    np.testing.assert_allclose(spread([10, 0, 0.5], 1), [10, -0.25, 0.75])


def test_labels_of_points_keep_apart() -> None:
    _, axes = new_figure()
    ax = axes[0, 0]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    label_points(ax, [(f"label {i}", 0.5, 0.5 + i / 100, "black") for i in range(6)])
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_overview_marks_families_and_the_report(tmp_path: Path) -> None:
    figure, axes = new_figure()
    points = [
        Point("DeepFCNet", 3_805_450, 0.60, reported=(0.392,), family="fully connected"),
        Point("CNN3x3, ShallowCNN", 60_362, 0.78, None, 0.01, (0.7, 0.69), "plain convolutional"),
        Point("CNNWithResidual", 161_482, 0.87, family="residual"),
    ]
    plot_overview(points, axes[0, 0])
    legend = [text.get_text() for text in axes[0, 0].get_legend().get_texts()]
    assert legend == ["fully connected", "plain convolutional", "residual", "reported"]
    hollow = [line for line in axes[0, 0].lines if line.get_fillstyle() == "none"]
    assert [line.get_ydata()[0] for line in hollow[:3]] == pytest.approx([39.2, 70, 69])
    assert save(figure, tmp_path / "overview.png").exists()


def test_a_model_has_one_colour_also_where_it_is_not_listed() -> None:
    assert colour("CNN3x3") == colour("ShallowCNN") == COLOURS["CNN3x3"]
    assert colour("MyNet") == colour("MyNet")

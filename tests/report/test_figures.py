"""Every figure renders from made-up records, without a warning, and says what it shows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tests.fake_records import (
    BLOCK_LIST,
    NETWORKS,
    RECIPE,
    make_arrays,
    make_data,
    make_experiment,
    make_record,
    with_epochs,
    write_cases,
    write_runs,
)
from tests.fakes import error_of
from utils.experiment import Experiment, Row
from utils.records.study import Evidence, gather
from utils.report.figures import FIGURES, canvas, draw
from utils.report.figures.canvas import label_points, moved_apart, new_figure
from utils.report.figures.images import square_start
from utils.report.figures.plotting import Point, plot_cost, plot_epochs
from utils.report.markdown import picture_markdown

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


def read(experiment: Experiment, results: Path) -> Evidence:
    return gather(experiment, results, NETWORKS)


def evidence_for(name: str, results: Path, seeds: int = 1, synthetic: bool = False) -> Evidence:
    if name in OF_LAYERS:
        write_cases(results, "custom_layers")
        return read(make_experiment([], name="custom_layers"), results)
    rows = [Row(name, at=("blocks", place)) for place, name in enumerate(MODELS, 1)]
    experiment = make_experiment(rows, name="residual_blocks", axis="size")
    records = [
        make_record(
            network,
            seed,
            0.7 + number / 30,
            parameters=10 ** (4 + number),
            data=make_data(synthetic=synthetic),
        )
        for number, network in enumerate(MODELS)
        for seed in range(seeds)
    ]
    write_cases(results, "residual_blocks", BLOCK_LIST)
    write_runs(results, experiment, records, make_arrays(MAPS), timed=True)
    return read(experiment, results)


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


def test_each_seed_is_a_dot_and_their_mean_a_stroke() -> None:
    _, axes = new_figure(1, 2)
    plot_cost([Point("A", 10, 0.7, seeds=(0.6, 0.7, 0.8))], axes[0, 0], "size")
    plot_cost([Point("A", 10, 0.7, seeds=(0.7,))], axes[0, 1], "size")
    heights = [sorted(line.get_ydata()) for line in axes[0, 0].lines]
    np.testing.assert_allclose(heights[0], [70])
    np.testing.assert_allclose(heights[1], [60, 70, 80])
    assert len(axes[0, 1].lines) == 1


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
    empty = read(make_experiment(), tmp_path)
    assert empty.empty
    assert draw(name, empty, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_network_without_convolution_has_no_filters(tmp_path: Path) -> None:
    experiment = make_experiment(["FCNet"])
    write_runs(tmp_path, experiment, [make_record("FCNet", fields={})])
    evidence = read(experiment, tmp_path)
    for name in ("filters", "activations", "feature_maps", "receptive_field"):
        assert draw(name, evidence, tmp_path / "plots") == []


def test_a_single_epoch_of_a_single_model_is_drawn(tmp_path: Path) -> None:
    experiment = make_experiment([Row("CNN3x3", at=("one", 1))], axis="size")
    record = make_record(recipe=replace(RECIPE, epochs=1))
    write_runs(tmp_path, experiment, [record], make_arrays({"features.0.0": (1, 8)}))
    evidence = read(experiment, tmp_path)
    for name in set(FIGURES) - {*OF_LAYERS, "block_timings"}:
        assert draw(name, evidence, tmp_path / "plots")


def test_a_run_that_diverged_is_drawn_all_the_same(tmp_path: Path, drawn: list[Figure]) -> None:
    record, lost = make_record("CNN3x3"), [None, None]  # as a record keeps what is not a number
    first = record.epochs[0]
    diverged = with_epochs(
        record,
        running_loss=[first.running_loss, *lost],
        test_loss=[first.test_loss, *lost],
        train_loss=[first.train_loss, *lost],
        gradient_norm_largest=[first.gradient_norm_largest, *lost],
        batch_loss_quartiles=[first.batch_loss_quartiles, *2 * [(None, None, None)]],
        gradient_norm=[first.gradient_norm, *2 * [dict.fromkeys(first.gradient_norm)]],
    )
    experiment = make_experiment()
    write_runs(tmp_path, experiment, [diverged, make_record("CNN5x5")])
    evidence = read(experiment, tmp_path)
    for name in ("curves", "stability", "gradient_flow", "gradient_norms"):
        assert draw(name, evidence, tmp_path / "plots")
    assert any("not a positive number" in text for figure in drawn for text in texts(figure))


def test_smoothed_targets_are_mentioned_where_there_are_any(tmp_path: Path) -> None:
    for share in (0.0, 0.1):
        recipe, results = replace(RECIPE, label_smoothing=share), tmp_path / str(share)
        experiment = make_experiment(["CNN3x3"], recipe=recipe)
        write_runs(results, experiment, [make_record("CNN3x3", recipe=recipe)])
        together, alone = draw("curves", read(experiment, results), results / "plots")
        assert ("spreads 10% of each target" in together.caption) == bool(share)
        assert ("smoothed targets" in alone.caption) == bool(share)


def test_an_unknown_figure_is_an_error(tmp_path: Path) -> None:
    message = error_of(lambda: draw("curvs", read(make_experiment(), tmp_path), tmp_path))
    assert message.startswith("experiment kernel_size: unknown figure 'curvs'; known: curves, cost")


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    evidence = evidence_for("cost", tmp_path)
    first, second = (draw("cost", evidence, tmp_path / folder)[0].file for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_links_are_relative_to_the_repository(tmp_path: Path) -> None:
    (picture,) = draw("cost", evidence_for("cost", tmp_path), tmp_path / "p" / "residual_blocks")
    link = f"![{picture.caption}](plots/residual_blocks/cost.png)\n\n*{picture.caption}*"
    assert picture_markdown(picture, tmp_path / "p") == link


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


def test_labels_of_points_keep_apart() -> None:
    _, axes = new_figure()
    ax = axes[0, 0]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    on_both_sides = [0.45 + 0.1 * (i % 2) for i in range(6)]
    points = [(f"label {i}", x, 0.5 + i / 100, "black") for i, x in enumerate(on_both_sides)]
    label_points(ax, points)
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])

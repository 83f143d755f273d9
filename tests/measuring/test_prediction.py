"""One's own picture: brought to what the dataset has, or refused in a line."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

import models
from tests.fake_records import make_data, make_record
from tests.fakes import TINY_CIFAR10, error_of, make_tiny
from utils.data.batches import normalise
from utils.data.dataset import SHIPPED_STATISTICS, Dataset, dataset_of
from utils.experiment import Compute, Row
from utils.measuring import prediction
from utils.measuring.prediction import (
    NoDigitError,
    as_digit,
    as_photograph,
    predict,
    read_picture,
    statistics_of,
    top,
)
from utils.records.files import write_bytes
from utils.records.runs import Found
from utils.training.checkpoint import weights_of

CLASSES = (*"abcdefghi", "ship")


def drawn(path: Path, ink: str, paper: str, size: tuple[int, int] = (200, 300)) -> Path:
    image = Image.new("RGB", size, paper)
    ImageDraw.Draw(image).line([(90, 40), (90, 160)], fill=ink, width=20)
    image.save(path)
    return path


@pytest.mark.parametrize(("ink", "paper"), [("black", "white"), ("white", "black")])
def test_a_digit_is_light_on_dark_and_in_the_middle(ink: str, paper: str, tmp_path: Path) -> None:
    path = drawn(tmp_path / "one.png", ink, paper)
    pixels, done = as_digit(read_picture(path))
    assert pixels.shape == (1, 1, 28, 28)
    assert pixels.dtype == torch.uint8
    rows, columns = (np.nonzero(pixels[0, 0].numpy().any(axis))[0] for axis in (1, 0))
    assert (rows[0], rows[-1]) == (4, 23)  # 20 of 28, the same above and below
    assert abs(columns.mean() - 13.5) <= 0.5
    assert pixels.max() == 255
    assert ("inverted, " in done) == (ink == "black")


@pytest.mark.parametrize("width", [2, 5, 12])
def test_a_thin_stroke_is_as_bright_as_a_thick_one(width: int) -> None:
    """Else networks take whatever is drawn with a thin pen for a 1."""
    image = Image.new("L", (600, 600), 255)
    strokes = [(150, 80), (450, 80), (270, 520)]  # a seven
    ImageDraw.Draw(image).line(strokes, fill=0, width=width)
    pixels = as_digit(image)[0][0, 0].numpy()
    assert pixels.max() == 255
    assert np.median(pixels[pixels > 0]) > 128


def test_grain_of_a_photograph_is_no_ink() -> None:
    even = Image.new("L", (1200, 1600), 215)
    ImageDraw.Draw(even).line([(600, 400), (600, 1200)], fill=140, width=40)
    grain = np.random.default_rng(0).normal(0, 8, (1600, 1200))
    grainy = Image.fromarray(np.clip(np.asarray(even) + grain, 0, 255).astype(np.uint8))
    found, expected = (as_digit(image)[0] > 127 for image in (grainy, even))
    assert (found == expected).all() and expected.any()


@pytest.mark.parametrize(("side", "down"), [(60, 0), (0, 60), (-40, 30)])
def test_light_from_one_side_is_no_ink(side: int, down: int) -> None:
    even = Image.new("L", (200, 300), 200)
    ImageDraw.Draw(even).line([(90, 40), (90, 160)], fill=40, width=20)
    slope = np.add.outer(np.linspace(0, -down, 300), np.linspace(0, -side, 200))
    lit = Image.fromarray(np.clip(np.asarray(even) + slope, 0, 255).astype(np.uint8))
    found, expected = (as_digit(image)[0].int() for image in (lit, even))
    assert expected.count_nonzero() > 50
    assert ((found > 127) == (expected > 127)).all()


def test_a_photograph_is_the_middle_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.jpeg"
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    image.save(path, quality=95)
    pixels, done = as_photograph(read_picture(path))
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels[0, 2].float().mean() > 240 > 15 > pixels[0, 0].float().mean()
    assert done == "the middle square, resized to 32 × 32 pixels"


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255


def test_a_picture_of_16_bits_is_as_bright_as_of_8(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    found = np.asarray(read_picture(tmp_path / "16.png"))
    np.testing.assert_array_equal(found, np.stack(3 * [grey], 2))


def test_a_photograph_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (200, 0, 300, 100))
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be shown a quarter turn clockwise
    image.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    upright = read_picture(tmp_path / "turned.jpg")
    assert upright.size == (100, 300)
    red, _green, blue = upright.getpixel((50, 250))
    assert blue > 240 > 15 > red


@pytest.mark.parametrize("limit", [30_000, 59_999])  # of 60,000 pixels: an error, a warning
def test_a_picture_of_too_many_pixels_costs_one_line(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drawn(tmp_path / "huge.png", "black", "white")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit - 1)
    message = error_of(lambda: read_picture(path))
    assert message == f"--predict {path}: more than {limit - 1:,} pixels; make it smaller"


def trained(folder: Path, row: Row, data: Dataset) -> tuple[Found, nn.Module]:
    """A network of the row beside a record that is of these images."""
    torch.manual_seed(0)
    network = models.build("CNN7x7")
    path = folder / f"{row.run_name}-seed0.json"
    write_bytes(path.with_suffix(".safetensors"), weights_of(network))
    of = make_data(fingerprint=data.fingerprint, description="tiny", classes=CLASSES)
    return Found(path, row, make_record("CNN7x7", permuted=row.permuted, data=of)), network


@pytest.mark.parametrize("permuted", [False, True])
def test_a_network_sees_a_picture_as_it_saw_its_images_and_names_their_classes(
    permuted: bool, cifar10: Dataset, tmp_path: Path
) -> None:
    picture, lines = tmp_path / "a.png", []
    Image.fromarray(cifar10.x_test[0].permute(1, 2, 0).numpy()).save(picture)
    row = Row("a name", "CNN7x7", permuted=permuted)
    found, network = trained(tmp_path, row, cifar10)
    predict(picture, [found], cifar10, lines.append)
    assert lines[0] == f"{picture}, as tiny has its images: resized to 32 × 32 pixels"
    run = row.run("cifar10", found.record.recipe, 0, Compute())
    images = normalise(dataset_of(run, cifar10).x_test[:1], cifar10)
    assert lines[1].split(maxsplit=2)[2] == ", ".join(top(network, images, CLASSES))


def test_a_network_that_raises_is_a_line_and_the_others_are_asked(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, lines = tmp_path / "a.png", []
    Image.fromarray(cifar10.x_test[0].permute(1, 2, 0).numpy()).save(picture)
    rows = Row("squeezes", "CNN7x7"), Row("whole", "CNN7x7", images=64)
    networks = [trained(tmp_path, row, cifar10)[0] for row in rows]
    forward, calls = models.CNN7x7.forward, iter([True, False])
    monkeypatch.setattr(
        models.CNN7x7,
        "forward",
        lambda network, x: forward(network, x)[0] if next(calls) else forward(network, x),
    )
    assert predict(picture, networks, cifar10, lines.append) == ["squeezes"]
    assert lines[1].startswith("  squeezes             cannot be asked (IndexError: Dimension out")
    assert lines[2].startswith("  whole") and lines[2].count(" %") == 3


def test_mean_and_deviation_are_those_of_the_images_of_the_record(
    cifar10: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = trained(tmp_path, Row("CNN7x7"), cifar10)
    for name in ("find_dataset", "load_quick_dataset"):
        monkeypatch.setattr(prediction, name, lambda *_: cifar10)
    for data_dir in (None, tmp_path):
        assert statistics_of(found, data_dir) is cifar10
    other, _ = trained(tmp_path, Row("CNN7x7"), make_tiny(TINY_CIFAR10, seed=1))
    for at_hand in (cifar10, None):
        monkeypatch.setattr(prediction, "find_dataset", lambda *_, at_hand=at_hand: at_hand)
        message = error_of(lambda: statistics_of(other, tmp_path))
        assert message.startswith(f"{other.path}: of other images than those at hand; name their")


def test_the_likeliest_comes_first() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.0, 5.0, 1.0, 3.0] + 6 * [-9.0]]) + x.mean()

    found = top(Fixed(), torch.zeros(1, 1, 28, 28), "0123456789")
    assert [text.split()[0] for text in found] == ["1", "3", "2"]
    message = error_of(lambda: top(Fixed(), torch.full((1, 1, 28, 28), torch.nan), "0123456789"))
    assert message == "what comes out is not a number"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("no picture"),
        lambda path: os.truncate(drawn(path, "black", "white"), 60),
        lambda path: None,
        Path.mkdir,
        os.mkfifo,
    ],
    ids=["text", "cut off", "nothing", "a folder", "a pipe"],
)
def test_what_is_no_picture_costs_one_line(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    make(path)
    message = error_of(lambda: read_picture(path))
    assert message.startswith(f"--predict {path}: ") and message.endswith("; give a picture")


def test_specks_on_a_large_sheet_are_no_digit() -> None:
    sheet = Image.new("RGB", (700, 900), "white")
    for place in ((100, 200), (600, 800)):
        sheet.putpixel(place, (0, 0, 0))
    with pytest.raises(NoDigitError, match="what stands out is too small"):
        as_digit(sheet)


def test_a_page_in_a_dark_rim_is_no_digit() -> None:
    page = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(page).line([(90, 90), (210, 90), (140, 230)], fill=0, width=20)
    as_digit(page)
    ImageDraw.Draw(page).rectangle((0, 0, 299, 299), outline=0, width=3)
    with pytest.raises(NoDigitError, match="no digit stands out from a plain ground"):
        as_digit(page)


def test_an_empty_sheet_is_no_digit(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    Image.new("L", (50, 50), 255).save(path)
    with pytest.raises(NoDigitError, match="no digit stands out from a plain ground"):
        as_digit(read_picture(path))
    lines: list[str] = []
    record = make_record(dataset="mnist")
    found = Found(tmp_path, Row("FCNet"), record)
    predict(path, [found], SHIPPED_STATISTICS["mnist"], lines.append)
    assert lines[0].startswith(f"{path}, not shown to the networks of CIFAR-10: no digit stands")

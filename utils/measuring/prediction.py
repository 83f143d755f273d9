"""One's own picture: what each network whose weights are on record takes it for.

picture --as the dataset's images are--> uint8 [1, channels, height, width] --network--> top three
"""

import errno
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn

from utils.data.batches import normalise
from utils.data.dataset import (
    SHIPPED_FINGERPRINTS,
    SHIPPED_STATISTICS,
    Dataset,
    Statistics,
    find_dataset,
    load_quick_dataset,
    permuted,
)
from utils.errors import UserError, in_one_line
from utils.experiment import Compute
from utils.measuring.evaluation import trained_network
from utils.records.runs import WEIGHTS, Found

SHOWN = 3  # classes of each network
DIGIT, BOX = 28, 20  # pixels of an image of MNIST, and of the box that its digit is fitted into
FINE = 280  # pixels of a drawing's longer side, give or take: so few show no grain of the paper
PHOTOGRAPH = 32
ORIENTATION = 0x0112  # of a picture, in its EXIF data, whose other fields may be damaged
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NoDigitError(ValueError):
    """A picture that shows no single dark or light thing on a plain ground."""


def predict(
    picture: Path,
    networks: Sequence[Found],
    statistics: Dataset | Statistics,
    tell: Callable[[str], object],
) -> list[str]:
    """Tells what networks that were trained on the same images take a picture for.

    Each is a record with weights beside it; ``statistics`` are of these images. Returns those that
    cannot be asked, by name. Raises: UserError for what is no picture.
    """
    image = read_picture(picture)
    dataset, data = networks[0].record.dataset, networks[0].record.data
    try:
        pixels, done = as_digit(image) if dataset == "mnist" else as_photograph(image)
    except NoDigitError as error:
        tell(f"{picture}, not shown to the networks of {data.description}: {error}")
        return []
    failed = []
    tell(f"{picture}, as {data.description} has its images: {done}")
    for found in networks:
        record = found.record
        run = found.row.run(dataset, record.recipe, record.seed, Compute())
        shown = normalise(permuted(pixels) if run.permuted else pixels, statistics)
        try:
            network = trained_network(run, found.path.with_suffix(WEIGHTS))
            answer = ", ".join(top(network, shown, data.classes))
        except Exception as error:  # anything that one's own network may raise
            why = error if isinstance(error, UserError) else in_one_line(error)
            answer = f"cannot be asked ({why})"
            failed.append(found.row.label)
        tell(f"  {found.row.label:<20} {answer}")
    return failed


def statistics_of(found: Found, data_dir: Path | None) -> Dataset | Statistics:
    """Mean and deviation of the images that a record is of.

    Those of the shipped results are known; others are looked for below ``data_dir``, which is None
    for those of ``--quick``. Raises: UserError where they are not at hand.
    """
    name, images = found.record.dataset, found.record.data.fingerprint
    if images == SHIPPED_FINGERPRINTS[name]:
        return SHIPPED_STATISTICS[name]
    data = find_dataset(name, data_dir) if data_dir else load_quick_dataset(name)
    if data is None or data.fingerprint != images:
        raise UserError(
            f"{found.path}: of other images than those at hand; name their --data-dir, or leave "
            "them out with --experiments"
        )
    return data


@torch.no_grad()
def top(network: nn.Module, image: Tensor, classes: Sequence[str]) -> list[str]:
    """The likeliest classes of an image ``[1, channels, height, width]``, as "7 98 %".

    Raises: UserError where its weights, or what they make of the image, are no numbers.
    """
    shares = network.eval()(image).softmax(1)[0]
    if shares.isnan().any():
        raise UserError("what comes out is not a number")
    likeliest = shares.topk(SHOWN)
    return [
        f"{classes[place]} {100 * share:.0f} %"
        for share, place in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    ]


def read_picture(path: Path) -> Image.Image:
    """A PNG or JPEG, in colour, upright as its camera says, on white where it is transparent.

    Raises: UserError for what cannot be read as one, and for more pixels than Pillow takes for
    harmless.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF data, which count as none
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as file:
                turn = TURNS.get(file.getexif().get(ORIENTATION))
                upright = file.transpose(turn) if turn else file
                if upright.mode.startswith("I"):  # 16 bits of grey, which convert cuts off at 255
                    upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
                layers = upright.convert("RGBA")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise UserError(f"--predict {path}: more than {most} pixels; make it smaller") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a PNG or JPEG that can be read"
        raise UserError(f"--predict {path}: {reason}; give a picture") from error
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def as_digit(image: Image.Image) -> tuple[Tensor, str]:
    """A picture of a digit as MNIST has them, ``[1, 1, 28, 28]``, and what was done to it.

    Light on dark, the ink fitted into 20 × 20 pixels, its centre of mass in the middle (LeCun et
    al. 1998, section III). Raises: NoDigitError where nothing is drawn, or all over.
    """
    grey = np.asarray(image.convert("L").reduce(max(1, max(image.size) // FINE)))
    ink = np.rint(grey - ground(grey))
    is_dark_on_light = bool(-ink.min() > ink.max())
    ink = np.maximum(-ink if is_dark_on_light else ink, 0)
    ink = np.where(ink > 0.25 * ink.max(), ink, 0)  # paper and shadows are not ink
    rows, columns = np.nonzero(ink.any(1))[0], np.nonzero(ink.any(0))[0]
    drawn = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink
    is_all_over = np.count_nonzero(ink) > 0.75 * ink.size  # of a page in a dark rim
    if drawn.size == ink.size or is_all_over:
        raise NoDigitError("no digit stands out from a plain ground that reaches all edges")
    cut = Image.fromarray((255 * drawn / drawn.max()).astype(np.uint8))
    scale = BOX / max(cut.size)
    small = cut.resize([max(1, round(scale * side)) for side in cut.size], Image.Resampling.BOX)
    shrunk = np.asarray(small).astype(float)
    if np.count_nonzero(shrunk) < BOX:  # a line from one side of the box to the other has as many
        raise NoDigitError("what stands out is too small for a digit")
    # a thin stroke has become pale, and MNIST's are bright; not by the maximum, which is at joints
    bright = np.percentile(shrunk[shrunk > 0], 80)
    pixels = centred(np.minimum(255 * shrunk / bright, 255).astype(np.uint8))
    light = f"light evened out, {'inverted, ' if is_dark_on_light else ''}"
    done = (
        f"{light}what is drawn fitted into {BOX} × {BOX} of {DIGIT} × {DIGIT} pixels, its strokes "
        "made bright"
    )
    return torch.from_numpy(pixels)[None, None], done


def ground(grey: np.ndarray) -> np.ndarray:
    """The paper's brightness ``[height, width]``: the plane through that of the border.

    So light that falls from one side is no ink.
    """
    edge = np.zeros(grey.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    places = np.argwhere(edge)  # [pixels, row and column], in the order of grey[edge]
    places = np.concatenate([places, np.ones((len(places), 1))], 1)
    (down, right, corner), *_ = np.linalg.lstsq(places, grey[edge].astype(float), rcond=None)
    height, width = grey.shape
    return np.add.outer(down * np.arange(height), right * np.arange(width)) + corner


def centred(ink: np.ndarray) -> np.ndarray:
    """Ink ``[at most 20, at most 20]`` with its centre of mass in the middle of ``[28, 28]``."""
    pixels = np.zeros((DIGIT, DIGIT), np.uint8)
    places = []
    for axis, size in enumerate(ink.shape):
        weight = ink.sum(1 - axis, dtype=float)
        middle = float((weight * np.arange(size)).sum() / weight.sum())
        places.append(int(np.clip(round(DIGIT / 2 - middle - 0.5), 0, DIGIT - size)))
    top, left = places
    pixels[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return pixels


def as_photograph(image: Image.Image) -> tuple[Tensor, str]:
    """The middle of a picture, ``[1, 3, 32, 32]``, and what was done to it."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    middle = image.crop((left, top, left + side, top + side))
    small = middle.resize((PHOTOGRAPH, PHOTOGRAPH), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]
    cut = "" if image.width == image.height else "the middle square, "
    return pixels, f"{cut}resized to {PHOTOGRAPH} × {PHOTOGRAPH} pixels"

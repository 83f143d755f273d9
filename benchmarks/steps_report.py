"""What the steps section says: its claims, and its tables from a record alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.timing import Claim, geometric_mean
from utils.report.markdown import Column, count, digits, markdown_table
from utils.report.wording import listed
from utils.training.optimizers import MUON_EVERY

Record = Mapping[str, Any]

GOAL_LEAST = 1.4  # times the usual loop, of every network
GOAL_OVERHEAD = 0.03  # of a convolutional network's bare step
DEAR_OPTIMIZER = 0.2  # a part of the bare step from which on it is named


def claims(rows: Sequence[Record], precisions: Sequence[str]) -> list[Claim]:
    """The goals of the three comparisons, each precision by itself."""
    return [*claims_on_speed(rows, precisions), *claims_on_steps(rows, precisions)]


def claims_on_speed(rows: Sequence[Record], precisions: Sequence[str]) -> list[Claim]:
    """Against the usual loop."""
    found, goals = [], {"float32": 2.4, "bfloat16": 4.5}
    for each in precisions:
        times = [median(row, each, "times_usual") for row in rows]
        text = f"{each}: all networks against the usual loop, geometric mean"
        found.append(Claim(text, geometric_mean(times), goals[each], at_least=True))
        text = f"{each}: {rows[np.argmin(times)]['model']}, the least of them"
        found.append(Claim(text, min(times), GOAL_LEAST, at_least=True))
        for row in rows:
            if row["model"] == "FCNet":
                text = f"{each}: FCNet against the usual loop"
                found.append(Claim(text, median(row, each, "times_usual"), 12, at_least=True))
    return found


def claims_on_steps(rows: Sequence[Record], precisions: Sequence[str]) -> list[Claim]:
    """Our loop against the bare step, and the bare step against the processor."""
    found = []
    convolutional = [row for row in rows if row["convolutional"]]
    for each in precisions:
        most = max(convolutional, key=lambda row, each=each: median(row, each, "overhead"))
        text = f"{each}: {most['model']}, largest overhead of the convolutional networks"
        overhead = median(most, each, "overhead")
        found.append(Claim(text, overhead, GOAL_OVERHEAD, at_least=False, unit="%"))
        for row in rows:
            if row["model"] == "FCNet":
                text, overhead = f"{each}: FCNet, overhead", median(row, each, "overhead")
                found.append(Claim(text, overhead, 0.35, at_least=False, unit="%"))
        mean = geometric_mean([median(row, each, "of_product") for row in convolutional])
        text = f"{each}: convolutional networks against the matrix product, geometric mean"
        found.append(Claim(text, mean, 0.85, at_least=True, unit="%"))
    return found


def median(row: Record, precision: str, quantity: str) -> float:
    """The middle of a quantity's values over the rounds."""
    return row[precision][quantity]["median"]


def line(row: Record, precisions: Sequence[str]) -> str:
    """One network, for who watches the measurement."""
    ours = listed([f"{median(row, each, 'times_usual'):.2f}× in {each}" for each in precisions])
    usual = row["usual_images_per_second"]["median"]
    return f"{row['model']}: usual loop {count(usual)} images/s, ours {ours}"


def markdown(record: Record) -> str:
    """Three tables, each with a caption on how it was measured."""
    rows, precisions = record["rows"], record["precisions"]
    parts = [
        "### Against the usual loop",
        markdown_table(rows, usual_columns(precisions)),
        usual_caption(record),
        *(optimizer_reason(rows, precision) for precision in precisions),
        *(usual_reason(rows, precision) for precision in precisions),
        "### Against the bare step",
        markdown_table(rows, overhead_columns(precisions)),
        OVERHEAD_CAPTION,
        *(overhead_reason(rows, precision) for precision in precisions),
        "### Against the processor",
        markdown_table(rows, product_columns(precisions)),
        product_caption(record),
        *(reason(rows, precision) for precision in precisions),
    ]
    return "\n\n".join(filter(None, parts))


def usual_columns(precisions: Sequence[str]) -> list[Column]:
    """Images per second of both loops, and how many times as many ours trains on."""
    columns = [
        *NAME,
        ("Usual, images/s", lambda row: count(row["usual_images_per_second"]["median"])),
    ]
    for each in precisions:
        columns += [
            (f"Ours, {each}", lambda row, each=each: count(median(row, each, "images_per_second"))),
            ("times", lambda row, each=each: with_spread(row[each]["times_usual"], 2)),
        ]
    return columns


def overhead_columns(precisions: Sequence[str]) -> list[Column]:
    """What our loop takes on top of the bare step."""
    columns = [*NAME]
    for each in precisions:
        columns += [
            (f"{each}, %", lambda row, each=each: with_spread(row[each]["overhead"], 1, 100)),
            (
                "optimiser, % of the step",
                lambda row, each=each: f"{100 * median(row, each, 'optimizer'):.0f}",
            ),
        ]
    return [*columns, ("Batches in a segment", lambda row: count(row["batches"]))]


def product_columns(precisions: Sequence[str]) -> list[Column]:
    """How near a step comes to the product, and how much of its time is arithmetic at all."""
    columns = [*NAME, ("MFLOPs per image", lambda row: digits(row["step_flops_per_image"] / 1e6))]
    for each in precisions:
        columns += [
            (f"{each}, %", lambda row, each=each: with_spread(row[each]["of_product"], 1, 100)),
            (
                "arithmetic, % of time",
                lambda row, each=each: f"{100 * row[each]['time_shares']['arithmetic']:.0f}",
            ),
        ]
    return columns


NAME: tuple[Column, ...] = (
    ("Model", lambda row: " = ".join([row["model"], *row["also"]])),
    ("Dataset", lambda row: row["dataset"]),
)


def with_spread(spread: Mapping[str, float], decimals: int, scale: float = 1) -> str:
    """``median (inter-quartile range)``, times ``scale``."""
    middle, iqr = scale * spread["median"], scale * (spread["q3"] - spread["q1"])
    return f"{middle:.{decimals}f} ({iqr:.{decimals}f})"


def usual_caption(record: Record) -> str:
    """How the first table was measured, and what all three have in common."""
    sizes = listed(sorted({str(row["batch_size"]) for row in record["rows"]}))
    most = max(row["batches"] for row in record["rows"])
    return (
        f"Training images per second at batch size {sizes}, and how many times as many our loop "
        f"trains on: medians over {record['rounds']} rounds, in brackets the inter-quartile range. "
        "In a round each loop has one segment after the other, of as many images as "
        f"{most} of our batches or, where a network is dear, fewer, since all of it is to take "
        "minutes (the next table has how many); a round that does not count came "
        "before. The usual loop: torchvision's dataset, ToTensor and Normalize with crop and "
        "mirror image as in our recipe, a DataLoader with 2 workers, float32 with the channels "
        "first, Adam, the loss read in every step, in batches of the usual 128 (or of ours, where "
        "they are smaller); its workers are as busy at the first timed batch as in the "
        "middle of an epoch. Ours: the study's own loop with its optimisers and gradient norms. "
        "The usual one runs in a process of its own, with memory handled as it comes; ours keeps "
        "what is freed (`utils/machine.py`)."
        + (f" bfloat16 is left out: {record['left_out']}." if record["left_out"] else "")
    )


OVERHEAD_CAPTION = (
    "What our loop takes on top of forward, loss, backward and optimiser on one batch that lies "
    "ready: shuffling, cropping and normalising the images, losses and gradient norms, the "
    "schedule, and a segment's share of a checkpoint and of the padded and mirrored images. In "
    "brackets the inter-quartile range of the rounds; below zero is chance. Beside it the "
    "optimiser's part of the bare step."
)


def product_caption(record: Record) -> str:
    """How the third table was measured."""
    size, first = f"{record['product_size']:,}", record["rows"][0]
    rate = first["product_flops_per_second"]["median"]
    convolution = first["convolution_of_product"]["median"]
    return (
        f"FLOP/s of the bare step, as a share of a float32 product of two {size} × {size} matrices "
        f"on the same threads in the same rounds ({rate / 1e9:,.0f} GFLOP/s in the first row's). "
        "Convolutions can be above 100 %: the product is what torch's library for matrices makes "
        "of the processor, not all that it can do. The same product as a 1 × 1 convolution, which "
        f"another of torch's libraries computes, runs at {convolution:.0%} of it. Only the "
        "network's convolutions and matrix products count as FLOPs, forward and backward, the "
        "optimiser's do not. "
        "Arithmetic: their share of the time of forward and backward, by torch's profiler."
    )


def optimizer_reason(rows: Sequence[Record], precision: str) -> str:
    """How much the optimiser has in what is missing, as it was measured."""
    dear = [row for row in rows if median(row, precision, "optimizer") > DEAR_OPTIMIZER]
    without = [median(row, precision, "without_optimizer") for row in rows]
    networks = listed([row["model"] for row in dear])
    shares = listed([f"{median(row, precision, 'optimizer'):.0%}" for row in dear])
    times = listed([f"{median(row, precision, 'without_optimizer'):.2f}×" for row in dear])
    return (
        f"What our optimiser has in it, in {precision}: without its time the geometric mean would "
        f"be {geometric_mean(without):.2f}× and the least {min(without):.2f}×"
        + (
            f"; of {networks} it takes {shares} of the bare step, without it {times}"
            if dear
            else ""
        )
        + f".{seldom_reason(rows, precision)}"
    )


def seldom_reason(rows: Sequence[Record], precision: str) -> str:
    """What it buys that a large layer's orthogonal update serves several steps."""
    large = [row for row in rows if "orthogonal_in_every_step" in row[precision]]
    if not large:
        return ""
    networks = listed([row["model"] for row in large])
    times = listed([f"{median(row, precision, 'orthogonal_in_every_step'):.2f}×" for row in large])
    return (
        f" Of their large layers an orthogonal update serves {MUON_EVERY} steps; with one in every "
        f"step {networks} would be at {times}."
    )


def usual_reason(rows: Sequence[Record], precision: str) -> str:
    """What a step consists of beside arithmetic where ours is nearest to the usual loop."""
    found = []
    for row in rows:
        if median(row, precision, "times_usual") < GOAL_LEAST:
            shares = row[precision]["time_shares"]
            parts = filter(None, [f"{shares['arithmetic']:.0%}", largest_others(shares, 2)])
            found.append(f"{row['model']} on {row['dataset']} ({'; '.join(parts)})")
    return (
        f"Below {GOAL_LEAST}× in {precision}, with the share of convolutions and matrix products "
        "in our forward and backward, and the largest other operations, which the usual loop has "
        f"as well: {listed(found)}."
        if found
        else ""
    )


def largest_others(shares: Mapping[str, Any], number: int | None = None) -> str:
    """The operations that are not arithmetic, with their shares of the time, the largest first."""
    others = list(shares["others"].items())[:number]
    return listed([f"`{name}` {share:.0%}" for name, share in others if share >= 0.01])


def overhead_reason(rows: Sequence[Record], precision: str) -> str:
    """What the networks that are not at the goal spend it on, as it was measured."""
    found = []
    for row in rows:
        overhead = median(row, precision, "overhead")
        if row["convolutional"] and overhead > GOAL_OVERHEAD:
            batches, norms = (median(row, precision, part) for part in ("batches", "norms"))
            found.append(
                f"{row['model']} on {row['dataset']} (batches {batches:.1%}, norms {norms:.1%}, "
                f"rest {overhead - batches - norms:.1%})"
            )
    return (
        f"Above {GOAL_OVERHEAD:.0%} in {precision}, with what making the batches and taking the "
        "gradient norms cost by themselves, as a part of the bare step, and the rest, which was "
        f"not timed apart: {listed(found)}."
        if found
        else ""
    )


def reason(rows: Sequence[Record], precision: str) -> str:
    """Why the convolutional network that is furthest from the product is, as it was measured."""
    convolutional = [row for row in rows if row["convolutional"]]
    worst = min(convolutional, key=lambda row: median(row, precision, "of_product"))
    achieved, shares = median(worst, precision, "of_product"), worst[precision]["time_shares"]
    optimizer, arithmetic = median(worst, precision, "optimizer"), shares["arithmetic"]
    return (
        f"Furthest from it in {precision}: {worst['model']} with {achieved:.0%}. The optimiser "
        f"takes {optimizer:.0%} of its step. Of forward and backward, convolutions and matrix "
        f"products have {arithmetic:.0%}, and while they run they reach "
        f"{achieved / ((1 - optimizer) * arithmetic):.0%} of the product. Most of the rest: "
        f"{largest_others(shares)}."
    )

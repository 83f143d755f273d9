"""Time to the report's accuracy, from the records alone: summary, table, figure, README block.

    the three records of every row --> summary --> docs/benchmarks.md, the README's figure

Time to accuracy = epochs until the validation accuracy passes, times the seconds of an epoch.
Where the usual loop never passes, all its epochs count and the ratio is a lower bound.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.accuracy_records import is_finished, passing
from benchmarks.idleness import BUSY
from benchmarks.steps import SAME_NETWORK
from benchmarks.timing import Claim, as_records, geometric_mean, ratio
from utils.measuring.speed import spread
from utils.records.environment import machine_name
from utils.records.files import SCHEMA
from utils.report.figures.canvas import BLUE, GREY, ORANGE, new_figure, save
from utils.report.figures.training import Picture
from utils.report.markdown import Column, digits, markdown_table, percent, picture_markdown
from utils.report.wording import listed

Record = Mapping[str, Any]
Parts = Mapping[str, Record | None]  # "ours", "usual" and "seconds" of one row

NAME = "accuracy"
TITLE = "Time to the report's accuracy"

GOAL_MEAN, GOAL_SMALLEST = 8.0, 3.0
SIDES = {"ours": ("this study", BLUE, "o"), "usual": ("the usual loop", ORANGE, "s")}


def summarise(rows: Sequence[Parts], quick: bool = False) -> dict[str, Any] | None:
    """All rows whose trainings are finished, with their ratios and the claims about these.

    None where no row is.
    """
    finished = [row for row in rows if is_finished(row["ours"]) and is_finished(row["usual"])]
    if not finished:
        return None
    summaries = [summarise_row(row) for row in finished]
    trained_on = {
        side: distinct([each for row in finished for each in row[side]["environments"]])
        for side in SIDES
    }
    timed = [row["seconds"] for row in finished if row["seconds"]]
    measured_on = distinct([record["environment"] for record in timed])
    return {
        "schema": SCHEMA,
        "quick": quick,
        "environment": (measured_on or trained_on["ours"])[0],
        "trained_on": trained_on,
        "measured_on": measured_on,
        "rounds": min((len(record["ours"]) for record in timed), default=0),
        "batches": " or ".join(sorted({str(record["segment_batches"]) for record in timed})),
        "declared": len(rows),
        "rows": summaries,
        "claims": as_records(claims([row for row in summaries if row["ratio"]])),
    }


def summarise_row(parts: Parts) -> dict[str, Any]:
    """One network: both sides, and usual / ours where ours passes and both were timed."""
    ours, seconds = parts["ours"], parts["seconds"]
    sides = {side: _side(parts[side], seconds and seconds[side]) for side in SIDES}
    sides["ours"]["seconds_before"] = float(np.median(seconds["views"])) if seconds else 0.0
    return {
        "experiment": ours["experiment"],
        "model": ours["model"],
        "data": ours["data"]["description"],
        "target": ours["target"],
        "precision": ours["precision"],
        "others_running": seconds["others_running"] if seconds else 0.0,
        **sides,
        "ratio": ratio(
            sides["usual"]["epochs"] * np.array(seconds["usual"]),
            sides["ours"]["epochs"] * np.array(seconds["ours"]) + np.array(seconds["views"]),
        )
        if seconds and sides["ours"]["passed"]
        else None,
    }


def _side(record: Record, epoch_seconds: Sequence[float] | None) -> dict[str, Any]:
    """What passed, or else the longest that was tried; seconds with their quartiles."""
    entry = passing(record["tried"], record["target"])
    return {
        **(entry or record["tried"][-1]),
        "passed": entry is not None,
        "is_close": is_close(record),
        "seconds_per_epoch": spread(np.array(epoch_seconds)) if epoch_seconds else None,
    }


def is_close(record: Record) -> bool:
    """Whether what was tried passed, or did not, by less than the standard error of an accuracy
    that is measured on so many images: with others the number of epochs might be another.
    """
    target, images = record["target"], record["data"]["validation_images"]
    error = (target * (1 - target) / images) ** 0.5
    return any(abs(entry["validation_accuracy"] - target) < error for entry in record["tried"])


def claims(rows: Sequence[Record]) -> list[Claim]:
    """The two goals, over the rows that have a ratio."""
    if not rows:
        return []
    medians = [row["ratio"]["median"] for row in rows]
    smallest = min(rows, key=lambda row: row["ratio"]["median"])
    return [
        Claim(
            f"Time to the report's accuracy, usual / ours, geometric mean of {len(rows)} ratios",
            geometric_mean(medians),
            GOAL_MEAN,
            at_least=True,
        ),
        Claim(
            f"Time to the report's accuracy, usual / ours, smallest ({label(smallest)})",
            min(medians),
            GOAL_SMALLEST,
            at_least=True,
        ),
    ]


def label(row: Record) -> str:
    """The network, and the data where it is not clear which: "FCNet, MNIST"."""
    return f"{row['model']}, {row['data']}"


def is_lower_bound(row: Record) -> bool:
    """Whether the usual loop would have needed more epochs than it was given."""
    return not row["usual"]["passed"]


COLUMNS: list[Column] = [
    ("Network", lambda row: label(row)),
    ("Report, %", lambda row: percent(row["target"])),
    ("Ours: epochs", lambda row: _epochs(row["ours"])),
    ("validation, %", lambda row: percent(row["ours"]["validation_accuracy"])),
    ("test, %", lambda row: percent(row["ours"]["test_accuracy"])),
    ("s per epoch", lambda row: _median(row["ours"])),
    ("s", lambda row: _total(row["ours"])),
    ("Usual: epochs", lambda row: _epochs(row["usual"])),
    ("validation, %", lambda row: percent(row["usual"]["validation_accuracy"])),
    ("test, %", lambda row: percent(row["usual"]["test_accuracy"])),
    ("s per epoch", lambda row: _median(row["usual"])),
    ("s", lambda row: _total(row["usual"])),
    ("Usual / ours", lambda row: ratio_text(row, with_quartiles=True)),
]


def _epochs(side: Record) -> str:
    return f"{'' if side['passed'] else '> '}{side['epochs']}"


def _median(side: Record) -> str:
    return digits(side["seconds_per_epoch"] and side["seconds_per_epoch"]["median"])


def _total(side: Record) -> str:
    if not side["seconds_per_epoch"]:
        return ""
    return f"{'' if side['passed'] else '> '}{digits(seconds(side))}"


def seconds(side: Record) -> float:
    """Of training until the accuracy was passed, or until the last epoch, and of what precedes."""
    return side["epochs"] * side["seconds_per_epoch"]["median"] + side.get("seconds_before", 0.0)


def ratio_text(row: Record, with_quartiles: bool = False) -> str:
    """As in "12.3×", or "≥ 12.3×" for a lower bound; its quartiles behind it where asked for."""
    if not row["ratio"]:
        return ""
    median, low, high = (f"{row['ratio'][key]:.1f}" for key in ("median", "q1", "q3"))
    quartiles = f" ({low}–{high})" if with_quartiles else ""
    return f"{'≥ ' if is_lower_bound(row) else ''}{median}×{quartiles}"


def markdown(record: Record) -> str:
    """The table and how it came about."""
    parts = [markdown_table(record["rows"], COLUMNS), caption(record), reasons(record["rows"])]
    return "\n\n".join(filter(None, parts))


def caption(record: Record) -> str:
    """What was trained and timed how, and which rows have no ratio, or only a bound."""
    rows = record["rows"]
    sentences = [
        "Ours: the shortest schedule, trained from scratch, whose accuracy on validation images "
        "held out from the train split is above the report's test accuracy. The usual loop: "
        "torchvision's dataset, a DataLoader with two workers, batches of the usual 128, augmented "
        "as in our recipe, plain Adam at a constant rate in float32, memory as it comes; its first "
        "epoch that is above it. The test split decided nothing. Ours counts the padding and "
        "mirroring of all images before the first step. Neither evaluation, the start of the "
        "DataLoader's workers, nor the shorter schedules that did not pass count as time.",
        "One seed each. Ours was trained in "
        f"{listed(distinct([row['precision'] for row in rows]))} on "
        f"{machines(record['trained_on']['ours'])}, the usual loop on "
        f"{machines(record['trained_on']['usual'])}.",
    ]
    if record["measured_on"]:
        sentences.append(
            "Seconds per epoch are from segments of both loops in turn: medians of "
            f"{record['rounds']} rounds of {record['batches']} of our batches, in brackets the "
            "quartiles of the ratio, on "
            f"{machines(record['measured_on'])}."
        )
    return " ".join([*sentences, *_exceptions(record)])


def reasons(rows: Sequence[Record]) -> str:
    """What the ratios are made of: fewer epochs, and faster ones."""
    timed = [row for row in rows if row["ratio"]]
    if not timed:
        return ""
    epochs, speeds = ([part(row) for row in timed] for part in (times_epochs, times_speed))
    below = [
        f"{label(row)} ({times_epochs(row):.1f} times the epochs, each {times_speed(row):.1f} "
        "times as long)"
        for row in timed
        if row["ratio"]["median"] < GOAL_SMALLEST
    ]
    return (
        "The geometric mean of the ratios is a product of two: the usual loop takes "
        f"{'at least ' if any(map(is_lower_bound, timed)) else ''}{geometric_mean(epochs):.1f} "
        f"times as many epochs, and each of them {geometric_mean(speeds):.1f} times as long."
        + (f" Below {GOAL_SMALLEST:.0f}×: {listed(below)}." if below else "")
    )


def times_epochs(row: Record) -> float:
    """The usual loop's epochs / ours."""
    return row["usual"]["epochs"] / row["ours"]["epochs"]


def times_speed(row: Record) -> float:
    """Seconds of the usual loop's epoch / of ours; what precedes our first epoch is in these."""
    each = seconds(row["ours"]) / row["ours"]["epochs"]
    return row["usual"]["seconds_per_epoch"]["median"] / each


def _exceptions(record: Record) -> list[str]:
    """Sentences on the rows that have no ratio, or only a bound."""
    rows = record["rows"]
    bounds = [label(row) for row in rows if row["ratio"] and is_lower_bound(row)]
    beaten = [label(row) for row in rows if not row["ours"]["passed"]]
    untimed = [label(row) for row in rows if not row["ours"]["seconds_per_epoch"]]
    disturbed = [label(row) for row in rows if row["others_running"] >= BUSY]
    missing = record["declared"] - len(rows)
    close = {
        SIDES[side][0]: [
            f"{row['model']} on {row['data']}" for row in rows if row[side]["is_close"]
        ]
        for side in SIDES
    }
    twice = [name for name in SAME_NETWORK if name in {row["model"] for row in rows}]
    found = {
        **{
            f"With other validation images {side} might take more or fewer epochs, since one of "
            "them passed, or did not, by less than the standard error of its accuracy: "
            f"{listed(networks)}.": networks
            for side, networks in close.items()
        },
        f"{listed([f'{name} is {SAME_NETWORK[name]}' for name in twice])}, with another accuracy "
        "in the report.": twice,
        f"≥: the usual loop did not get there ({listed(bounds)}); all its epochs count, and the "
        "ratio is a lower bound.": bounds,
        f"No ratio, since ours did not get there: {listed(beaten)}.": beaten,
        f"Timed while other programs ran, and in doubt: {listed(disturbed)}.": disturbed,
        f"Not timed yet: {listed(untimed)}.": untimed,
        f"Not trained yet: {missing} of {record['declared']} networks.": missing,
    }
    return [sentence for sentence, which in found.items() if which]


def machines(environments: Sequence[Record]) -> str:
    """All that are different, in words."""
    return listed(distinct([machine_name(each) for each in environments]))


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in the order of its first appearance."""
    return [value for number, value in enumerate(values) if value not in values[:number]]


def draw(record: Record, plots: Path) -> Picture | None:
    """``plots/benchmarks/time_to_accuracy.png``; None where no row was timed."""
    rows = [row for row in record["rows"] if row["ours"]["seconds_per_epoch"]]
    if not rows:
        return None
    title = "How long until the report's accuracy is passed?"
    figure, axes = new_figure(1, 1, 1.3 + 0.33 * len(rows), title)
    plot_times(rows, axes[0, 0])
    text = (
        "Seconds of training (log scale) until the validation accuracy passes the report's test "
        "accuracy, which stands beside each network: the shortest schedule of this study, and the "
        "usual loop (torchvision's dataset, DataLoader, plain Adam). On the right how many times "
        f"as long the usual loop takes{_range(rows)}."
    )
    return Picture(save(figure, plots / "benchmarks" / "time_to_accuracy.png"), text)


def _range(rows: Sequence[Record]) -> str:
    """From the smallest to the largest ratio, with their networks."""
    with_ratio = [row for row in rows if row["ratio"]]
    if not with_ratio:
        return ""
    order = sorted(with_ratio, key=lambda row: row["ratio"]["median"])
    first, last = (f"{ratio_text(row)} ({label(row)})" for row in (order[0], order[-1]))
    bound = (
        "; ≥: it was not there after its last epoch" if any(map(is_lower_bound, with_ratio)) else ""
    )
    return f", from {first} to {last}{bound}"


def plot_times(rows: Sequence[Record], ax: Axes) -> None:
    """A line per network from our seconds to the usual loop's (log); an arrow: longer than that."""
    for position, row in enumerate(rows):
        ends = [seconds(row[side]) for side in SIDES]
        ax.plot(ends, [position] * 2, color=GREY, linewidth=1, zorder=1)
        for (_, paint, marker), side, end in zip(SIDES.values(), SIDES, ends, strict=True):
            shape = marker if row[side]["passed"] else ">"
            ax.plot(end, position, shape, color=paint, markersize=7)
        beside = {"xytext": (9, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(_verdict(row), (max(ends), position), fontsize=9, **beside)
    every = [seconds(row[side]) for row in rows for side in SIDES]
    ax.set_xscale("log")
    room = 1.5 * (max(every) / min(every)) ** 0.15  # for what stands on the right of the last
    ax.set_xlim(min(every) / 1.5, max(every) * room)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks(range(len(rows)), [f"{label(row)}: {percent(row['target'])} %" for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("seconds of training")
    for name, paint, marker in SIDES.values():
        ax.plot([], [], marker, color=paint, markersize=7, label=name)
    if not all(row[side]["passed"] for row in rows for side in SIDES):
        ax.plot([], [], ">", color=GREY, markersize=7, label="not passed by then")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9)


def _verdict(row: Record) -> str:
    return ratio_text(row) or "no ratio"


def readme(record: Record, plots: Path) -> dict[str, str]:
    """The README's block: the figure, its numbers in two sentences, and where the rest stands.

    Empty while there is no ratio.
    """
    picture = draw(record, plots)
    if picture is None or not record["claims"]:
        return {}
    rows = [row for row in record["rows"] if row["ratio"]]
    mean, smallest = (claim["value"] for claim in record["claims"])
    bounds = sum(map(is_lower_bound, rows))
    kind = "a lower bound" if bounds == 1 else "lower bounds"
    hedge = (
        f", {bounds} of them {kind} (the usual loop was not there after its last epoch),"
        if bounds
        else ","
    )
    timed = [row for row in record["rows"] if row["ours"]["seconds_per_epoch"]]
    rest = record["declared"] - len(timed)
    count = f"{len(rows)} ratios" + (f" ({rest} networks are still to come)" if rest else "")
    text = (
        f"{picture_markdown(picture, plots)}\n\n"
        f"To pass the report's accuracy the usual loop trains {mean:.1f} times as long as this "
        f"study, the geometric mean of {count}{hedge} and {smallest:.1f} times "
        f"as long where the two are closest, on {machines(record['measured_on'])}. Everything "
        "that was measured, with its goals: [docs/benchmarks.md](docs/benchmarks.md)."
    )
    return {NAME: text}

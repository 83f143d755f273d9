"""The benchmarks of the layers and of growth: what they say about a record, and how they look.

Nothing here is timed; that the sections run is shown on the smallest of everything.
"""

import copy
import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import growth, layers
from benchmarks.peak_memory import peak_memory
from benchmarks.timing import Effort, Setting, claim_lines
from utils.data.dataset import load_quick_dataset

CPU = torch.device("cpu")
MB = 2**20


def megabytes(number: int) -> torch.Tensor:
    return torch.empty(number * MB, dtype=torch.uint8)


def spread(median: float) -> dict[str, float]:
    return {"median": median, "q1": 0.9 * median, "q3": 1.2 * median}


# Peak memory


def one_after_the_other() -> torch.Tensor:
    megabytes(8)
    return megabytes(4)


def both_at_once() -> tuple[torch.Tensor, torch.Tensor]:
    return megabytes(8), megabytes(4)


def test_peak_memory_is_the_most_that_is_held_at_once() -> None:
    assert peak_memory(one_after_the_other, CPU) == 8 * MB
    assert peak_memory(both_at_once, CPU) == 12 * MB
    assert peak_memory(lambda: None, CPU) == 0


def test_what_was_there_before_is_no_part_of_the_peak() -> None:
    old = [megabytes(8)]

    def replace_it() -> None:
        old.clear()
        gc.collect()
        old.append(megabytes(4))

    assert peak_memory(replace_it, CPU) == 4 * MB


def test_peak_memory_sees_the_temporaries_of_forward_and_backward() -> None:
    x = megabytes(4).view(torch.float32)
    # the output and the gradient of the input; SiLU has no temporaries
    assert peak_memory(layers.forward_backward(nn.SiLU(), x), CPU) == 8 * MB
    assert peak_memory(layers.forward(nn.SiLU(), x), CPU) == 4 * MB


# The layers


def layer_row(layer: str, analogue: str, shape: layers.Shape, forward: float) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer, "analogue": analogue, "shape": list(shape)}
    for direction, time in (("forward", forward), ("forward_backward", 2 * forward)):
        row[direction] = {
            "time": spread(time),
            "memory": 1.5,
            "analogue_seconds": spread(0.02),
            "analogue_bytes": 67_108_864,
        }
    return row


LAYER_ROWS = [
    layer_row("Swish", "SiLU", layers.LARGE, 0.5),
    layer_row("Swish(beta=2)", "SiLU", layers.LARGE, 2.0),
    layer_row("Swish", "SiLU", layers.SMALL, 3.0),
]


def test_layers_markdown_has_a_row_for_each_layer_and_a_table_for_each_size() -> None:
    claims = layers.as_records(layers.claims(LAYER_ROWS))
    text = layers.markdown({"rounds": 15, "rows": LAYER_ROWS, "claims": claims})
    large, small = text.split("Input [4, 3, 32, 32]:")
    assert (
        "| Swish | SiLU | 0.50 (0.45–0.60) | 1.50 | 1.00 (0.90–1.20) | 1.50 | 20.0 | 67.1 |"
        in large
    )
    assert "| Swish(beta=2) | SiLU | 2.00" in large
    assert "| Swish | SiLU | 3.00" in small
    assert "in each of 15 rounds" in small


def test_a_reason_is_given_where_a_goal_is_missed_and_nowhere_else() -> None:
    for forward, missed in ((0.5, False), (0.6, True)):  # the backward takes twice as long
        rows = [layer_row("ChannelAttention", "SqueezeExcitation", layers.LARGE, forward)]
        claims = layers.as_records(layers.claims(rows))
        text = layers.markdown({"rounds": 15, "rows": rows, "claims": claims})
        assert ("why ChannelAttention is not at its goal" in text) == missed
        assert text.count("is not at its goal") == missed


def test_claims_are_about_the_large_size_and_the_layers_that_have_a_goal() -> None:
    found = layers.as_records(layers.claims(LAYER_ROWS))
    assert claim_lines(found) == [
        f"Swish (β = 1, by SiLU's kernels) against SiLU, {times} (goal ≤ 1.05×): reached"
        for times in ("forward: 0.50×", "forward and backward: 1.00×")
    ]


@pytest.mark.parametrize("shape", [layers.LARGE, layers.SMALL])
def test_layers_have_their_analogues_sizes(shape: layers.Shape) -> None:
    for comparison in layers.COMPARISONS:
        x = torch.zeros(1, *shape[1:])
        expected = comparison.build(shape[1])(x).shape
        for name, build in comparison.ours.items():
            assert build(shape[1])(x).shape == expected, name
    assert layers.GOALS.keys() <= {name for each in layers.COMPARISONS for name in each.ours}


def test_layers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LARGE", (2, 4, 4, 4))
    monkeypatch.setattr(layers, "SMALL", (1, 3, 4, 4))
    monkeypatch.setattr(layers, "QUICK_SEGMENT", 0.0)
    record = layers.measure(setting())
    assert [row["layer"] for row in record["rows"][:3]] == [
        "Swish",
        "Swish(beta=2)",
        "Swish, trained beta",
    ]
    assert len(record["rows"]) == 12
    assert len(record["claims"]) == 8
    assert layers.markdown(json.loads(json.dumps(record)))


# Growth


def setting() -> Setting:
    effort = Effort(rounds=1, batches=1, least_batches=1, segment_flops=1.0)
    return Setting(True, effort, torch.get_num_threads(), CPU, load_quick_dataset)


def growth_record() -> dict[str, Any]:
    values = {"images": (10, 20, 40), "batch": (32, 64), "width": (0.5, 1.0), "threads": (1,)}
    rows = [
        {
            "varied": sweep.varied,
            "timed": sweep.timed,
            "value": value,
            "rounds": 5,
            "seconds": spread(0.1 * (value / values[sweep.varied][0]) ** 2),
            "growth": spread((value / values[sweep.varied][0]) ** 2),
            "bytes": int(1e6 * value / values[sweep.varied][0]),
        }
        for sweep in growth.SWEEPS
        for value in values[sweep.varied]
    ]
    return {
        "model": "CNN3x3",
        "quick": False,
        "batch_size": 128,
        "rows": rows,
        "slopes": {
            sweep.varied: growth.slopes(growth.of_sweep(rows, sweep)) for sweep in growth.SWEEPS
        },
        "claims": [],
    }


def test_slopes_are_those_of_the_powers() -> None:
    slopes = growth_record()["slopes"]
    assert slopes["images"] == pytest.approx({"time": 2, "memory": 1})
    assert slopes["threads"] == {"time": None, "memory": None}  # one point has none


def test_growth_markdown() -> None:
    text = growth.markdown(growth_record())
    assert "| train images, epoch | 10 | 100 | 1.00 (0.90–1.20) | 2.00 | 1.00 | 1.00 |" in text
    assert "|  | 40 | 1,600 | 16.00 (14.40–19.20) |  | 4.00 |  |" in text
    assert "×0.5" in text and "medians over 5, in brackets" in text
    assert "(../plots/benchmarks/growth.png)" in text
    assert "growth.png" not in growth.markdown(growth_record() | {"quick": True})


def test_growth_is_drawn_also_with_one_thread(tmp_path: Path) -> None:
    record = json.loads(json.dumps(growth_record()))
    before = copy.deepcopy(record)
    picture = growth.draw(record, tmp_path)
    assert picture == tmp_path / "benchmarks" / "growth.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert record == before


def test_growth_is_measured_and_the_threads_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "QUICK_IMAGES", (8, 16))
    monkeypatch.setattr(growth, "QUICK_BATCH_SIZES", (2, 4))
    monkeypatch.setattr(growth, "CIFAR10_RECIPE", replace(growth.CIFAR10_RECIPE, batch_size=4))
    monkeypatch.setattr(growth, "processors", lambda: 3)
    before = torch.get_num_threads()
    record = growth.measure(setting())
    assert torch.get_num_threads() == before
    found = {
        sweep.varied: [row["value"] for row in growth.of_sweep(record["rows"], sweep)]
        for sweep in growth.SWEEPS
    }
    assert found == {
        "images": [8, 16],
        "batch": [2, 4],
        "width": [0.5, 1.0, 2.0],
        "threads": [1, 2],
    }
    assert record["slopes"]["batch"]["memory"] == pytest.approx(1, abs=0.5)
    assert growth.markdown(json.loads(json.dumps(record)))


def test_thread_count_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), growth.thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before

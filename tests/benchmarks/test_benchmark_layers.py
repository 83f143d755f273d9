"""Peak memory, the layers beside their analogues, and how cost grows. Nothing asserts a time."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import growth, layers
from benchmarks.profiling import is_arithmetic, peak_memory, time_shares
from benchmarks.setting import Setting
from utils import REPOSITORY
from utils.data.dataset import Dataset, load_quick_dataset

CPU = torch.device("cpu")
MB = 2**20
RECORDS = REPOSITORY / "results" / "benchmarks"


def megabytes(number: int) -> torch.Tensor:
    return torch.empty(number * MB, dtype=torch.uint8)


def test_peak_memory_is_the_most_that_is_held_at_once() -> None:
    assert peak_memory(lambda: megabytes(8).numel() and megabytes(4), CPU) == 8 * MB
    assert peak_memory(lambda: (megabytes(8), megabytes(4)), CPU) == 12 * MB
    assert peak_memory(lambda: None, CPU) == 0


def test_peak_memory_sees_the_temporaries_of_forward_and_backward() -> None:
    x = megabytes(4).view(torch.float32)
    # the output and the gradient of the input; SiLU has no temporaries
    assert peak_memory(layers.forward_backward(nn.SiLU(), x), CPU) == 8 * MB
    assert peak_memory(layers.forward(nn.SiLU(), x), CPU) == 4 * MB


def test_convolutions_and_products_are_arithmetic_and_a_sum_is_not() -> None:
    matrix, images = torch.ones(8, 8), torch.ones(1, 3, 8, 8)
    conv = nn.Conv2d(3, 4, 3)
    shares = time_shares(lambda: ((matrix @ matrix).sum() + conv(images).mean()).backward())
    assert 0 < shares["arithmetic"] < 1
    assert not any("conv" in name.lower() for name in shares["others"])
    assert is_arithmetic("ConvolutionBackward0") and not is_arithmetic("aten::sum")


@pytest.mark.parametrize("shape", layers.SHAPES)
def test_layers_have_their_analogues_sizes(shape: tuple[int, ...]) -> None:
    x = torch.zeros(1, *shape[1:])
    for name, ours, _, analogue in layers.PAIRS:
        assert ours(shape[1])(x).shape == analogue(shape[1])(x).shape, name


def growth_rows(value: float) -> list[dict[str, object]]:
    return [
        {"value": value * factor, "growth": {"median": factor**2}, "bytes": 5 * factor}
        for factor in (1.0, 2.0, 4.0)
    ]


def test_slopes_are_those_of_the_powers() -> None:
    assert growth.slopes(growth_rows(10.0)) == {"time": "2.00", "memory": "1.00"}
    assert growth.slopes(growth_rows(10.0)[:1]) == {"time": "", "memory": ""}


def test_growth_is_measured_and_the_threads_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(name: str) -> Dataset:
        data = load_quick_dataset(name)
        return replace(data, x_train=data.x_train[:20], y_train=data.y_train[:20])

    monkeypatch.setattr(growth, "BATCH_SIZES", (2, 4))
    monkeypatch.setattr(growth, "CIFAR10_RECIPE", replace(growth.CIFAR10_RECIPE, batch_size=4))
    monkeypatch.setattr(growth, "QUICK_SECONDS", 1e-4)
    monkeypatch.setattr(growth, "processors", lambda: 3)
    before = torch.get_num_threads()
    record = growth.measure(Setting(True, 1, CPU, few))
    assert torch.get_num_threads() == before
    found = {
        sweep.varied: [row["value"] for row in growth.of_sweep(record, sweep)]
        for sweep in growth.SWEEPS
    }
    expected = {"images": [4, 8, 16], "batch": [2, 4], "width": [0.5, 1, 2], "threads": [1, 2]}
    assert found == expected
    assert growth.markdown(json.loads(json.dumps(record | {"quick": True})))

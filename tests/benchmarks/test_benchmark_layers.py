"""The layers beside their analogues. Nothing asserts a time."""

import pytest
import torch

from benchmarks import layers


@pytest.mark.parametrize("shape", layers.SHAPES)
def test_layers_have_their_analogues_sizes(shape: tuple[int, ...]) -> None:
    x = torch.zeros(1, *shape[1:])
    for name, ours, _, analogue in layers.PAIRS:
        assert ours(shape[1])(x).shape == analogue(shape[1])(x).shape, name


def test_each_layer_has_one_line_with_both_sizes() -> None:
    def time(median: float) -> dict[str, dict[str, float]]:
        return {"time": {"median": median, "q1": median, "q3": median}}

    rows = [
        {
            "layer": "Swish",
            "analogue": "SiLU",
            "shape": list(shape),
            "forward": time(size + 1.0),
            "forward_backward": time(size + 3.0),
        }
        for size, shape in enumerate(layers.SHAPES)
    ]
    (line,) = (
        each
        for each in layers.markdown({"rounds": 3, "rows": rows}).splitlines()
        if each.startswith("| Swish | ")
    )
    cells = [cell.split(" (")[0] for cell in line.strip("| ").split(" | ")]
    assert cells == ["Swish", "SiLU", "1.00", "3.00", "2.00", "4.00"]

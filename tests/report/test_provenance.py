"""What a caption says of seeds, machines and precisions."""

import pytest

from tests.fake_records import ENVIRONMENT, make_record
from utils.records.schema import Record
from utils.report.provenance import mixed_precisions, provenance, seed_ranges, trained_on

H100 = ENVIRONMENT.model_copy(update={"device": "NVIDIA H100"})
EPYC = ENVIRONMENT.model_copy(update={"processor": "AMD EPYC"})


def on_cpu(seed: int, precision: str = "bfloat16") -> Record:
    return make_record(seed=seed, environment=EPYC, precision=precision)


def on_gpu(*seeds: int) -> list[Record]:
    return [make_record(seed=seed, environment=H100, device="cuda") for seed in seeds]


@pytest.mark.parametrize(
    ("seeds", "text"), [([3], "3"), ([1, 0], "0, 1"), ([0, 1, 2, 3, 7, 9, 10, 7], "0–3, 7, 9, 10")]
)
def test_three_seeds_in_a_row_are_a_range(seeds: list[int], text: str) -> None:
    assert seed_ranges(seeds) == text


def test_seeds_stand_beside_their_machines() -> None:
    runs = {"A": [on_cpu(0), *on_gpu(1, 2, 3)], "B": [on_cpu(0), *on_gpu(1)]}
    assert provenance(runs) == "4 seeds: 0 on an AMD EPYC, 1–3 on an NVIDIA H100; bfloat16"
    assert provenance({"A": [on_cpu(4)]}) == "seed 4 on an AMD EPYC; bfloat16"


def test_a_seed_names_all_machines_that_it_was_trained_on() -> None:
    moved = on_cpu(0).model_copy(update={"continued_in": (H100,)})
    assert provenance({"A": [moved]}) == "seed 0 on an AMD EPYC and an NVIDIA H100; bfloat16"
    assert provenance({"A": [on_cpu(0)], "B": on_gpu(0)}) == provenance({"A": [moved]})


def test_two_precisions_stand_with_their_seeds() -> None:
    runs = {"A": [on_cpu(0), *on_gpu(1), on_cpu(9, "float32")], "B": [on_cpu(0), *on_gpu(1)]}
    assert provenance(runs) == (
        "3 seeds: 0 on an AMD EPYC, 1 on an NVIDIA H100, 9 on an AMD EPYC in float32; else bfloat16"
    )


def test_a_caption_has_it_in_short() -> None:
    runs = {"A": [on_cpu(0), on_cpu(9, "float32")], "B": [on_cpu(0), *on_gpu(1)]}
    assert trained_on(runs) == "3 seeds, bfloat16 and float32 on an AMD EPYC and an NVIDIA H100"
    assert trained_on({"A": [on_cpu(4)]}) == "seed 4, bfloat16 on an AMD EPYC"


def test_rows_that_mix_precisions_differently_are_told() -> None:
    both, narrow = [on_cpu(0), on_cpu(9, "float32")], [on_cpu(0)]
    assert mixed_precisions({"A": both, "B": narrow, "C": [*both, *on_gpu(1)]}) == (
        "Rows mix precisions differently: runs in float32 are 1 of 2 in A and 1 of 3 in C."
    )
    assert mixed_precisions({"A": both, "B": both}) == ""
    assert mixed_precisions({"A": narrow, "B": [on_cpu(0), *on_gpu(1)]}) == ""

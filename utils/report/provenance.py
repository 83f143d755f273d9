"""Provenance: which seeds stand behind a table, and where and how precisely they were trained."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from utils.records.environment import machine
from utils.records.schema import Record
from utils.report.wording import listed

Runs = Mapping[str, Sequence[Record]]  # label -> its records


def seed_ranges(seeds: Collection[int]) -> str:
    """[0, 1, 2, 3, 7, 9, 10] -> "0–3, 7, 9, 10"."""
    ordered = sorted(set(seeds))
    groups = [
        [seed for _, seed in group]
        for _, group in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])
    ]
    texts = [
        [f"{group[0]}–{group[-1]}"] if group[2:] else list(map(str, group)) for group in groups
    ]
    return ", ".join(text for each in texts for text in each)


def provenance(runs: Runs) -> str:
    """As in "9 seeds: 0 on an AMD EPYC, 1–8 on an NVIDIA H100; bfloat16"."""
    records = [record for each in runs.values() for record in each]
    seeds = sorted({record.seed for record in records})
    common, *others = (name for name, _ in Counter(r.precision for r in records).most_common())
    places: dict[str, list[int]] = {}
    for seed in seeds:
        of_seed = [record for record in records if record.seed == seed]
        places.setdefault(_place(of_seed, common), []).append(seed)
    listing = ", ".join(f"{seed_ranges(each)} on {place}" for place, each in places.items())
    count = f"{len(seeds)} seeds:" if seeds[1:] else "seed"
    return f"{count} {listing}; {'else ' if others else ''}{common}"


def trained_on(runs: Runs) -> str:
    """In short, as in "9 seeds, bfloat16 on an AMD EPYC and an NVIDIA H100"."""
    records = [record for each in runs.values() for record in each]
    seeds = {record.seed for record in records}
    precisions = dict(Counter(record.precision for record in records).most_common())
    places = {name for record in records for name in _machines(record)}
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {min(seeds)}"
    return f"{count}, {listed(list(precisions))} on {listed(sorted(places))}"


def _machines(record: Record) -> list[str]:
    """Those that a run was trained on, as in "an AMD EPYC"."""
    names = map(machine, (record.environment, *record.continued_in))
    begin_with_a_vowel = ("A", "I", "NVIDIA", "11th")
    return [f"{'an' if name.startswith(begin_with_a_vowel) else 'a'} {name}" for name in names]


def _place(records: Sequence[Record], common: str) -> str:
    """The machines of one seed, with a precision that is not the common one."""
    names = {
        f"{name}{'' if record.precision == common else f' in {record.precision}'}"
        for record in records
        for name in _machines(record)
    }
    return listed(sorted(names))


def moved_seeds(runs: Runs) -> str:
    """Which seeds of each row saw moved test images, as in "…: FCNet 10–14."; else nothing."""
    seeds = {
        label: [record.seed for record in records if record.shifted_test_accuracy]
        for label, records in runs.items()
    }
    shown = [f"{label} {seed_ranges(each)}" for label, each in seeds.items() if each]
    return f"Seeds whose test images were moved: {'; '.join(shown)}." if shown else ""


def mixed_precisions(runs: Runs) -> str:
    """Which rows have how much of float32, where rows differ in that; else nothing."""
    wide = {
        label: sum(record.precision == "float32" for record in records)
        for label, records in runs.items()
    }
    if len({wide[label] / len(records) for label, records in runs.items()}) == 1:
        return ""
    some = [f"{wide[label]} of {len(runs[label])} in {label}" for label in runs if wide[label]]
    return f"Rows mix precisions differently: runs in float32 are {listed(some)}."

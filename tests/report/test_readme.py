"""Both READMEs: short, of one shape, and no answer that its verdicts do not bear out."""

import csv
import re

import pytest

import models
from experiments import STUDY
from experiments.answers import ANSWERS
from utils import REPOSITORY

ENGLISH, RUSSIAN = (
    (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")
)
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)]+)\)")
IMAGE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def code(text: str) -> list[str]:
    """The blocks of code, without comments and labels, which stand behind several spaces."""
    blocks = re.findall(r"^```.*?^```", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r" {2,}[#\w].*$", "", block, flags=re.MULTILINE) for block in blocks]


def numbers(text: str) -> list[list[str]]:
    """Of each line of each table, without their separators, which the languages write otherwise."""
    lines = [line for line in without_code(text).splitlines() if line.startswith("|")]
    plain = [re.sub(r"(?<=\d)[.,\N{NO-BREAK SPACE}](?=\d)", "", line) for line in lines]
    return [re.findall(r"\d+", line) for line in plain]


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(ENGLISH.encode()) <= 18_000


@pytest.mark.parametrize(
    "part",
    [
        lambda text: re.findall(r"^#+ (?:\d\.\d)?", without_code(text), flags=re.MULTILINE),
        code,
        lambda text: [x for x in LINK.findall(text) if not x.startswith("README")],
        lambda text: [path.replace(".ru", "") for path in IMAGE.findall(text)],
        lambda text: [x.replace(".ru", "") for x in re.findall(r"<!-- .*? -->", text)],
        numbers,
    ],
    ids=["headings", "code", "links", "images", "blocks", "numbers of tables"],
)
def test_the_languages_say_the_same(part: object) -> None:
    assert part(ENGLISH)
    assert part(ENGLISH) == part(RUSSIAN)


def test_no_answer_outlives_its_evidence() -> None:
    with (REPOSITORY / "results" / "claims.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    texts = {claim.id: claim for experiment in STUDY for claim in experiment.claims}
    for shown in (each for answer in ANSWERS for each in answer.shown):
        pairs = [line for line in lines if line["id"] == shown.claim]
        assert len(pairs) == len(texts[shown.claim].pairs) > shown.pair
        assert pairs[0]["verdict"].startswith(shown.verdict), shown
    for name, verdict in (each for answer in ANSWERS for each in answer.rests_on):
        found = {line["verdict"] for line in lines if line["id"] == name}
        assert len(found) == 1 and found.pop().startswith(verdict), name


def test_every_answer_has_its_page() -> None:
    for answer in ANSWERS:
        assert (REPOSITORY / "docs" / answer.page).exists()


def test_the_sizes_of_the_networks_are_right() -> None:
    counts = {
        sum(parameter.numel() for parameter in models.build(name, **overrides).parameters())
        for name in models.MODELS
        for overrides in ({}, {"in_channels": 3})
        if not overrides or name == "CNNWithResidual"
    }
    (table,) = re.findall(r"^\| network \| layers .*?\n\n", ENGLISH, re.MULTILINE | re.DOTALL)
    cells = [line.rsplit("|", 2)[1] for line in table.strip().splitlines()[2:]]
    shown = [int(each.replace(",", "")) for cell in cells for each in cell.split(", ")]
    assert len(shown) == 16
    assert set(shown) <= counts

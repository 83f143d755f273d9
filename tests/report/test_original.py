"""The original report's conclusions in one table."""

from pathlib import Path

from tests.fake_records import NETWORKS, make_experiment, make_seeds, write_runs
from utils.claim import Claim
from utils.records.study import gather
from utils.report.original import original_text

PAIR = (("CNN3x3", "CNN5x5"),)
CLAIMS = (
    Claim("2.1-better", "3×3 is better.", "3×3 лучше.", "report", pairs=PAIR),
    Claim("2.1-ours", "We say so too.", "И мы так считаем.", "ours", pairs=PAIR),
    Claim(
        *("2.1-low", "It is below 40 %.", "Ниже 40 %.", "report", "constant"),
        pairs=(("CNN3x3", ""),),
        than=40,
    ),
    Claim("2.1-not-yet", "7×7 is worse.", "7×7 хуже.", "report", pairs=(("CNN3x3", "CNN7x7"),)),
)


def test_each_of_the_reports_claims_has_a_line(tmp_path: Path) -> None:
    experiment = make_experiment(["CNN3x3", "CNN5x5", "CNN7x7"], claims=CLAIMS)
    assert original_text([gather(experiment, tmp_path, NETWORKS)]) == ""
    accuracies = {"CNN3x3": (0.80, 0.81, 0.82, 0.81, 0.81), "CNN5x5": (0.7, 0.71, 0.7, 0.72, 0.7)}
    records = [record for each in accuracies.items() for record in make_seeds(*each)]
    write_runs(tmp_path, experiment, records)
    lines = original_text([gather(experiment, tmp_path, NETWORKS)]).splitlines()[2:]
    assert lines == [
        "| 2.1 | 3×3 is better. | supported | CNN3x3 against CNN5x5: +10.40 points "
        "[+9.21, +11.59] |",
        "| 2.1 | It is below 40 %. | refuted | CNN3x3 81.00 %, the claim 40 %, +41.00 points "
        "[+40.12, +41.88] |",
    ]

"""Recomputes every table and verdict from the records, and compares them with the committed files,
README and docs/ among them.

Usage: python verify_tables.py. Nothing is written; a difference ends with exit code 1.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from utils.errors import SomeFailed, exit_code, importing

with importing() if __name__ == "__main__" else nullcontext():  # torch too, which takes seconds
    import models
    from benchmarks import precision, recipes
    from experiments import STUDY
    from experiments.answers import ANSWERS
    from utils import REPOSITORY
    from utils.measuring.layers import check_layers
    from utils.measuring.sizes import check_sizes
    from utils.records.runs import find_records
    from utils.records.study import gather
    from utils.report.claim_text import claims_csv
    from utils.report.declared import check_declared
    from utils.report.makespan import makespan_text
    from utils.report.mcnemar import mcnemar_rows
    from utils.report.methods import methods_blocks
    from utils.report.original import original_text
    from utils.report.overview import overview_texts
    from utils.report.pages import filled_pages, read_page
    from utils.report.render import holds, make_tables, stale_tables, text_blocks
    from utils.report.rows import to_csv

RESULTS = REPOSITORY / "results"


def recomputed() -> dict[Path, str]:
    """Committed file -> what the records make of it."""
    check_declared(STUDY, models.MODELS, ANSWERS)
    every = [gather(experiment, RESULTS, models.MODELS) for experiment in STUDY]
    for evidence in every:
        check_layers(evidence.experiment, evidence.cases, RESULTS)
    check_sizes([each for experiment in STUDY for each in find_records(experiment, RESULTS)])
    texts = {
        RESULTS / evidence.experiment.name / name: text
        for evidence in every
        for name, text in make_tables(evidence).items()
    }
    texts |= {path: "" for evidence in every for path in stale_tables(evidence, RESULTS)}
    tested = [row for evidence in every for row in mcnemar_rows(evidence)]
    texts |= {
        RESULTS / "mcnemar.csv": to_csv(tested),
        RESULTS / "claims.csv": claims_csv(every),
    }
    blocks = {name: text for evidence in every for name, text in text_blocks(evidence).items()}
    blocks |= overview_texts(every, ANSWERS) | methods_blocks(every, tested)
    blocks |= {"cluster.makespan": makespan_text(every)} | recipes.blocks(RESULTS)
    blocks["original.conclusions"] = original_text(every)
    pages = filled_pages(REPOSITORY, blocks)
    return texts | {path: filled for path, (_, filled) in pages.items()}


def verify() -> None:
    """Names every file that is not what the records say.

    Raises: SomeFailed where there is one.
    """
    texts = recomputed()
    differing = [
        str(path.relative_to(REPOSITORY)) for path, text in texts.items() if not holds(path, text)
    ]
    speed = REPOSITORY / "docs" / "speed.md"  # of which a part alone comes from such records
    if precision.markdown(RESULTS).strip() not in read_page(speed):
        differing.append(str(speed.relative_to(REPOSITORY)))
    if differing:
        raise SomeFailed(f"not what the records say: {', '.join(differing)}; run `make render`")
    print(f"{len(texts)} tables and pages are what the records say")


if __name__ == "__main__":
    sys.exit(exit_code(verify, "nothing was written"))

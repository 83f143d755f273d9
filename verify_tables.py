"""Recomputes every table and verdict from the records, and compares them with the committed files.

Usage: python verify_tables.py. Nothing is written; a difference ends with exit code 1.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out

from utils.errors import SomeFailed, exit_code, importing

with importing() if __name__ == "__main__" else nullcontext():  # torch too, which takes seconds
    import models
    from benchmarks import precision, recipes
    from experiments import STUDY
    from utils import REPOSITORY
    from utils.measuring.layers import check_layers
    from utils.measuring.sizes import check_sizes
    from utils.records.runs import find_records
    from utils.records.study import gather
    from utils.report.claim_text import claims_csv
    from utils.report.mcnemar import mcnemar_rows
    from utils.report.pages import read_page
    from utils.report.render import holds, make_tables
    from utils.report.rows import to_csv

RESULTS = REPOSITORY / "results"


def recomputed() -> dict[Path, str]:
    """Committed file -> what the records make of it."""
    every = [gather(experiment, RESULTS, models.MODELS) for experiment in STUDY]
    for evidence in every:
        check_layers(evidence.experiment, evidence.cases, RESULTS)
    check_sizes([each for experiment in STUDY for each in find_records(experiment, RESULTS)])
    texts = {
        RESULTS / evidence.experiment.name / name: text
        for evidence in every
        for name, text in make_tables(evidence).items()
    }
    tested = [row for evidence in every for row in mcnemar_rows(evidence)]
    return texts | {
        RESULTS / "mcnemar.csv": to_csv(tested),
        RESULTS / "claims.csv": claims_csv(every),
    }


def verify() -> None:
    """Names every file that is not what the records say.

    Raises: SomeFailed where there is one.
    """
    texts = recomputed()
    differing = [
        str(path.relative_to(REPOSITORY)) for path, text in texts.items() if not holds(path, text)
    ]
    pages = {
        "speed.md": [precision.markdown(RESULTS)],
        "recipes.md": recipes.blocks(RESULTS).values(),
    }
    for name, blocks in pages.items():
        page = read_page(REPOSITORY / "docs" / name)
        if any(block.strip() not in page for block in blocks):
            differing.append(f"docs/{name}")
    if differing:
        raise SomeFailed(f"not what the records say: {', '.join(differing)}; run `make render`")
    print(f"{len(texts) + len(pages)} tables are what the records say")


if __name__ == "__main__":
    sys.exit(exit_code(verify, "nothing was written"))

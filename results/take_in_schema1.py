"""Takes records of schema 1 into results/runs.

    <folder>/<experiment>/runs/<label>-seed<n>.*  -->  results/runs/<dataset>/<run>-seed<n>

Usage, from the repository: python -m results.take_in_schema1 FOLDER [RESULTS]. What is there
already stays. Every number stays as it is; names change (model: network) and the experiment goes,
since a run can stand in several.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from experiments import STUDY
from utils import REPOSITORY
from utils.errors import UserError
from utils.records.files import write_record
from utils.records.schema import SCHEMA, Record

RENAMED = ("experiment", "model", "schema")


def converted(old: dict[str, Any], network: str) -> Record:
    """A record of schema 1 as one of schema 2; ``network`` is a name of ``models.MODELS``."""
    kept = {key: value for key, value in old.items() if key not in RENAMED}
    return Record.model_validate_json(json.dumps({**kept, "schema": SCHEMA, "network": network}))


def take_in(folder: Path, results: Path) -> int:
    """Writes the records of all declared rows that ``folder`` has; returns how many were new."""
    count = 0
    for experiment in STUDY:
        for row in experiment.rows:
            for path in sorted((folder / experiment.name / "runs").glob(f"{row.label}-seed*.json")):
                old = json.loads(path.read_text(encoding="utf-8"))
                if old["model"] != row.label or old["schema"] != 1:
                    continue
                name = f"{row.run_name}-seed{old['seed']}.json"
                target = results / "runs" / str(experiment.dataset) / name
                if target.exists():
                    continue
                try:
                    record = converted(old, row.network or row.label)
                except ValueError as error:
                    raise UserError(f"{path}: cannot be taken in ({error})") from error
                target.parent.mkdir(parents=True, exist_ok=True)
                for suffix in (".npz", ".safetensors"):
                    if path.with_suffix(suffix).exists():
                        shutil.copyfile(path.with_suffix(suffix), target.with_suffix(suffix))
                write_record(target, record)
                count += 1
    return count


if __name__ == "__main__":
    folder, *others = map(Path, sys.argv[1:] or ["--help"])
    if not folder.is_dir():
        sys.exit(__doc__)
    try:
        print(take_in(folder, others[0] if others else REPOSITORY / "results"), "records taken in")
    except UserError as error:
        sys.exit(f"error: {error}")

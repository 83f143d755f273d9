"""Progress for the person at the terminal: one bar for the whole script, one line per epoch.

The bar counts the work of all runs, a large network's steps for more than a small one's, so
that the remaining time it shows is that of the script. Where stderr is no terminal there is
no bar, and each finished epoch is one log line.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from utils.experiment import Run

log = logging.getLogger(__name__)


class Progress:
    """Counts finished work; ``costs`` are the relative costs of all steps of each run."""

    def __init__(self, costs: Sequence[float]) -> None:
        self.bar = tqdm(
            total=sum(costs),
            disable=not sys.stderr.isatty(),
            bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed}, {remaining} left{postfix}]",
        )
        self.step_cost = 0.0

    def start(self, run: Run, steps: int, cost: float) -> None:
        """The next steps belong to this run, which has ``steps`` of them at ``cost`` together."""
        self.step_cost = cost / steps
        self.bar.set_description(f"{run.experiment}: {run.model} seed {run.seed}")

    def step(self) -> None:
        """One batch is done."""
        self.bar.update(self.step_cost)

    def skip(self, steps: int) -> None:
        """These steps were done by an earlier command: they do not count as this one's speed."""
        if not self.bar.disable:
            self.bar.initial += steps * self.step_cost
        self.bar.update(steps * self.step_cost)

    def epoch(self, run: Run, entry: Mapping[str, Any]) -> None:
        """An epoch is done: its numbers go behind the bar and into the log."""
        self.bar.set_postfix_str(
            f"epoch {entry['epoch']}/{run.recipe.epochs}, loss {entry['running_loss']:.3f}, "
            f"test {entry['test_accuracy']:.2%}"
        )
        log.info(
            "%s %s seed %d epoch %d/%d: loss %.4f, train %.2f %%, test %.2f %%",
            run.experiment,
            run.model,
            run.seed,
            entry["epoch"],
            run.recipe.epochs,
            entry["running_loss"],
            100 * entry["train_accuracy"],
            100 * entry["test_accuracy"],
        )

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self.bar.close()

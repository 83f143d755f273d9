"""Progress for the person at the terminal: one bar for the whole command, a line per epoch and run.

    training loop --Event--> Progress

The bar counts the work of all runs, a large network's steps for more than a small one's, so
that the remaining time it shows is that of the command. Where stderr is no terminal there is
no bar, and the lines alone tell.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from utils.experiment import Run
from utils.records.schema import Epoch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What a run tells while it is trained."""

    run: Run
    share: float = 0.0  # of all its steps, done since its last event
    resumed: bool = False  # whether an earlier command did them
    epoch: Epoch | None = None  # that has just ended
    finished: bool = False  # whether all of it is on disk
    failed: bool = False  # whether nothing more is to come of it
    where: str = ""  # the worker's name, on a cluster


Tell = Callable[[Event], None]


class Progress:
    """Listens to the runs of a command; ``costs`` are relative, by the runs' titles."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self.costs = costs
        self.running: dict[str, float] = {}  # title -> when it was first heard of
        self.done: dict[str, float] = {}  # title -> share of its steps
        self.where: dict[str, str] = {}  # title -> the worker that was last heard of it
        self.finished = 0
        self.bar = tqdm(
            total=sum(costs.values()),
            disable=not sys.stderr.isatty(),
            bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed}, {remaining} left]",
        )

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        title, before = event.run.title, self.done.get(event.run.title, 0.0)
        # a run that is begun again after its process died starts at its checkpoint
        self.done[title] = event.share if event.resumed else before + event.share
        work = (self.done[title] - before) * self.costs[title]
        if title not in self.running:
            self.running[title] = time.monotonic()
            self._describe()
        if event.resumed and not self.bar.disable:
            self.bar.initial += work  # it does not count as this command's speed
        self.bar.update(work)
        if event.where:
            self.where[title] = f" on {event.where}"
        if event.failed:
            del self.running[title]
            self._describe()
        if event.epoch:
            tell_epoch(event.run, event.epoch)
        if event.finished:
            minutes, seconds = divmod(round(time.monotonic() - self.running.pop(title)), 60)
            self.finished += 1
            where = self.where.get(title, "")
            log.info("%s finished in %d:%02d%s", title, minutes, seconds, where)
            self._describe()

    def _describe(self) -> None:
        running = ", ".join(self.running) or "nothing"
        self.bar.set_description(f"{self.finished} of {len(self.costs)} finished; {running}")

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self.bar.close()


def tell_epoch(run: Run, epoch: Epoch) -> None:
    """A line on a finished epoch."""
    loss = "not finite" if epoch.running_loss is None else f"{epoch.running_loss:.4f}"
    log.info(
        "%s epoch %d/%d: loss %s, train %.2f %%, test %.2f %%",
        run.title,
        epoch.epoch,
        run.recipe.epochs,
        loss,
        100 * epoch.train_accuracy,
        100 * epoch.test_accuracy,
    )

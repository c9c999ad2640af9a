"""The training loop: steps, dev losses, early stopping, checkpoints; ends with the best weights in place.

Resumed from any checkpoint it computes the same bits as undisturbed: rows and dropout are functions of seed and step,
and a checkpoint holds weights and moments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from evalharness.causal import Example
from evalharness.errors import TrainingFailed
from evalharness.records import Point
from evalharness.runners.lora import checkpoint
from evalharness.runners.lora.checkpoint import Progress
from evalharness.runners.lora.data import answer_tokens, step_rows
from evalharness.runners.lora.network import Network
from evalharness.runners.lora.options import LoraOptions

_CHECKPOINT_S = 30.0
_LOGGED = 200
"""Train losses logged over a training, at most; longer ones log means of several steps."""
_WINDOW = 20


class Diverged(TrainingFailed):
    """The loss is no number any more, or far above where it began; more of the same will not help."""


class Stopped(Exception):
    """Asked to stop; the checkpoint is written."""


def total_steps(count: int, options: LoraOptions) -> int:
    """Optimizer steps for `count` rows: `epochs`, at most `max_steps`."""
    steps = math.ceil(options.epochs * math.ceil(count / options.batch_size))
    return steps if options.max_steps is None else min(steps, options.max_steps)


def eval_steps(rows: int, dev_rows: int, options: LoraOptions) -> int:
    """Steps between dev losses: as asked, else a quarter of an epoch, but seldom enough to take a fifth of the time at most.

    A row forwards only costs about a third of a row that is learned from.
    """
    if options.eval_steps is not None:
        return options.eval_steps
    return max(math.ceil(math.ceil(rows / options.batch_size) / 4), math.ceil(dev_rows / options.batch_size / 3 * 5))


def learning_rate(step: int, total: int, options: LoraOptions) -> float:
    """The rate of step `step` (from 0): a linear rise over the warmup, then cosine or linear to zero, or constant."""
    warmup = math.ceil(options.warmup_ratio * total)
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    scale = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[options.schedule]
    return options.learning_rate * scale


class Loop:
    """One training. `say(progress)` is called after every step, `log(point)` for every point, `asked()` says whether to stop."""

    def __init__(
        self,
        network: Network,
        train: Sequence[Example],
        dev: Sequence[Example],
        folder: Path,
        seed: int,
        *,
        say: Callable[[Progress], None] = lambda _progress: None,
        log: Callable[[Point], None] = lambda _point: None,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.network, self.train, self.dev, self.folder, self.seed = network, train, dev, folder, seed
        self.options = network.options
        self.say, self.log, self.asked = say, log, asked
        self.total = total_steps(len(train), self.options)
        self.eval_every = eval_steps(len(train), len(dev), self.options)
        self.log_every = max(1, self.total // _LOGGED)
        self.progress = Progress()
        self.best: checkpoint.Weights | None = None
        self._started = self._saved = 0.0

    def resume(self) -> bool:
        """Go back to the newest checkpoint, if there is one."""
        found = checkpoint.load(self.folder)
        if found is None:
            return False
        self.progress, state, self.best = found
        self.network.restore(state)
        return True

    def run(self) -> Progress:
        """Train to the end. Raises Diverged; raises Stopped when asked to, with everything saved for `resume`."""
        self._saved = time.monotonic()
        self._started = self._saved - self.progress.seconds
        if self.progress.step == 0 and self.dev:
            self.progress.base_dev_loss = self.network.dev_loss(self.dev)
            self._point(Point(0, dev_loss=self.progress.base_dev_loss))
        while self.progress.step < self.total and not self.progress.stopped:
            self._step()
            self._save_if_due()
        if self.best is not None:
            self.network.put(self.best)
        return self.progress

    def _step(self) -> None:
        progress = self.progress
        rows = [self.train[i] for i in step_rows(len(self.train), self.options.batch_size, self.seed, progress.step)]
        rate = learning_rate(progress.step, self.total, self.options)
        loss, norm = self.network.learn(rows, progress.step, rate)
        progress.step += 1
        progress.tokens += sum(len(row.ids) for row in rows)
        progress.answer_tokens += answer_tokens(rows)
        self._check(loss, norm)
        progress.unlogged.append(loss)
        last = progress.step == self.total
        dev_loss = self._measure() if self.dev and (last or progress.step % self.eval_every == 0) else None
        if last or dev_loss is not None or progress.step % self.log_every == 0:
            self._point(Point(progress.step, math.fsum(progress.unlogged) / len(progress.unlogged), dev_loss, rate))
            progress.unlogged = []
        self.say(progress)

    def _check(self, loss: float, norm: float) -> None:
        progress = self.progress
        if not math.isfinite(loss) or not math.isfinite(norm):
            what = (
                f"training loss became {loss}"
                if not math.isfinite(loss)
                else f"the gradient's norm became {norm} (training loss {loss:.4g})"
            )
            raise Diverged(f"{what} at step {progress.step} of {self.total}. Lower learning_rate")
        progress.first_loss = loss if progress.first_loss is None else progress.first_loss
        progress.recent = [*progress.recent, loss][-_WINDOW:]
        mean = math.fsum(progress.recent) / len(progress.recent)
        if len(progress.recent) == _WINDOW and mean > 3 * progress.first_loss + 3:
            now = f"{mean:.4g} over the last {_WINDOW} steps at step {progress.step}"
            raise Diverged(f"training loss diverged: {now}, {progress.first_loss:.4g} at first. Lower learning_rate")

    def _measure(self) -> float:
        progress, loss = self.progress, self.network.dev_loss(self.dev)
        if math.isfinite(loss) and (progress.best_dev_loss is None or loss < progress.best_dev_loss):
            progress.best_step, progress.best_dev_loss, progress.worse = progress.step, loss, 0
            self.best = self.network.copy()
        else:
            progress.worse += 1
            progress.stopped = self.options.patience is not None and progress.worse >= self.options.patience
        return loss

    def _point(self, point: Point) -> None:
        self.progress.seconds = time.monotonic() - self._started
        timed = Point(point.step, point.train_loss, point.dev_loss, point.learning_rate, round(self.progress.seconds, 3))
        self.progress.points.append(timed)
        self.log(timed)

    def _save_if_due(self) -> None:
        every, asked = self.options.checkpoint_steps, self.asked()
        now = time.monotonic()
        due = now - self._saved >= _CHECKPOINT_S if every is None else self.progress.step % every == 0
        if due or asked:
            self.progress.seconds, self._saved = now - self._started, now
            checkpoint.save(self.folder, self.progress, self.network.state(), self.best)
        if asked:
            raise Stopped

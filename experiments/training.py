"""The epochs of one run: trained, scored, logged, and never more than an interval away from a checkpoint."""

import signal
import time
from dataclasses import dataclass
from typing import Any, Generic, NoReturn

from tqdm import tqdm

from experiments.continuation import CheckpointClock, save
from experiments.progress import Progress
from experiments.stopping import ScoringStopped
from experiments.task import ConfigT, DataT, SetupT, Task
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.engine import Meter, agree, train_one_epoch
from utils.errors import InterruptedRunError
from utils.optimisers import largest_rates
from utils.run_directory import RunDirectory
from utils.signals import StopFlag
from utils.transfer import on_device


@dataclass
class TrainingLoop(Generic[ConfigT, DataT, SetupT]):
    """Takes a run from its progress to the end of its last epoch.

    Attributes:
        task: what is trained.
        run: where it is recorded.
        config: settled configuration.
        setup: data, model, optimiser.
        progress: how far the run has come; moved on in place.
        stop: whether a signal asked for the end.
    """

    task: Task[ConfigT, DataT, SetupT]
    run: RunDirectory
    config: ConfigT
    setup: SetupT
    progress: Progress
    stop: StopFlag

    def __post_init__(self) -> None:
        self._accelerator = self.setup.training.accelerator
        self._clock = CheckpointClock(self.config.run.checkpoint_minutes)
        self._saved: tuple[int, int] | None = None

    def complete(self) -> None:
        """Run the epochs that are left.

        Raises:
            InterruptedRunError: a signal stopped the run; its checkpoint is written.
            DataError: a checkpoint cannot be written, or a picture not be read.
        """
        while self.progress.epoch < self.config.train.epochs:
            started = time.perf_counter()
            meter, stopped = self._train_epoch()
            self.progress.seconds += time.perf_counter() - started
            if stopped:
                self._stop_here()
            if agree(self._accelerator, self._clock.due()):
                self._checkpoint(self.progress)  # what was learned is not to be lost while it is scored
            row: dict[str, Any] = {"epoch": self.progress.epoch + 1, "step": self.progress.step}
            row |= largest_rates(self.setup.training.optimizer)
            row[f"{self.task.unit}s_per_second"] = round(self.progress.pairs / max(1e-3, self.progress.seconds), 1)
            row |= {"seconds": round(self.progress.seconds, 3), "waited_seconds": round(self.progress.waited, 3)}
            try:
                row |= self.task.epoch_row(self.setup, meter.means())
                row |= self.task.epoch_scores(self.setup, self.stop)
            except ScoringStopped:
                self._stop_here()
            self.progress.end_epoch(row)
            self._record_epoch()
            if agree(self._accelerator, self.stop()):
                self._stop_here()

    def _train_epoch(self) -> tuple[Meter, bool]:
        """Train the current epoch to its end, or until a stop is requested; return its sums, and whether it was."""
        setup, progress = self.setup, self.progress
        setup.sampler.set_position(progress.epoch, progress.step_in_epoch)
        plan = setup.sampler.plan_sizes()
        so_far = (progress.loss_units, progress.hits, progress.pairs, progress.tallies)
        meter = Meter(self._accelerator.device, *so_far, rates=self.task.rates)
        self.task.before_epoch(setup, meter)
        bar = tqdm(
            total=sum(map(sum, plan)) + progress.pairs,
            initial=progress.pairs,
            desc=f"epoch {progress.epoch + 1}/{self.config.train.epochs}",
            unit=self.task.unit,
            leave=False,
            disable=None if self._accelerator.is_main_process else True,
        )

        def on_interval(steps: int, means: dict[str, float]) -> None:
            bar.update(meter.pairs - bar.n)
            bar.set_postfix(loss=f"{means['loss']:.4f}", lr=f"{largest_rates(setup.training.optimizer)['lr_head']:.2e}")
            self.task.after_interval(setup, meter)
            if steps < len(plan) and agree(self._accelerator, self._clock.due()):
                self._checkpoint(progress.at(steps, meter))

        batches = on_device(setup.train_batches, self._accelerator.device)
        with bar:
            taken, stopped = train_one_epoch(
                setup.training, batches, plan, progress.step, meter, on_interval, self.stop
            )
            if stopped:
                self.task.after_interval(setup, meter)  # nothing is to be written that nobody looked at
        progress.advance(taken, meter)
        return meter, stopped

    def _checkpoint(self, progress: Progress) -> None:
        if self._accelerator.is_main_process and self._saved != progress.place:
            save(self.run, self.config, self.setup, progress)
        self._saved = progress.place
        self._clock.restart()

    def _record_epoch(self) -> None:
        """Log an epoch that is complete, and write the checkpoint that is due after it."""
        row, progress, options = self.progress.rows[-1], self.progress, self.config.run
        if self._accelerator.is_main_process:
            self.run.log(row)
            done = f"epoch {row['epoch']}/{self.config.train.epochs}"
            parts = [done, f"loss {row['train']['loss']:.4f}", *self.task.epoch_line(row)]
            parts.append(f"{row[f'{self.task.unit}s_per_second']:.0f} {self.task.unit}s/s")
            print("  ".join(parts), flush=True)
            if progress.is_best:
                self.run.checkpoint_best.mkdir(exist_ok=True)
                save_weights(self.setup.scored_model.state_dict(), self.run.checkpoint_best / WEIGHTS_FILE)
            self.task.after_epoch(self.run, self.setup, progress)
        regular = progress.epoch % options.checkpoint_every == 0 or progress.epoch == self.config.train.epochs
        kept = options.keep_every is not None and progress.epoch % options.keep_every == 0
        if agree(self._accelerator, self._clock.due() or regular or kept):
            self._checkpoint(progress)

    def _stop_here(self) -> NoReturn:
        """Write a checkpoint and raise ``InterruptedRunError``."""
        self._checkpoint(self.progress)
        self._accelerator.wait_for_everyone()  # a launcher may kill the rest once one has left
        raise interrupted(self.run, self.progress, self.stop)


def interrupted(run: RunDirectory, progress: Progress, stop: StopFlag) -> InterruptedRunError:
    """Return the error that tells where a signal stopped a run, and how it goes on."""
    number = int(stop.signal_number or signal.SIGTERM)  # another process may have received it
    return InterruptedRunError(
        f"stopped by signal {number} after {progress.epoch} epochs and optimiser step {progress.step}; checkpoint "
        f"{run.checkpoint_last}. {run.how_to_go_on}",
        number,
    )

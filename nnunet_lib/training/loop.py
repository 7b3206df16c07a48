"""The training loop: patches in, checkpoints out.

Taught in lesson 06; with several processes, in lesson 09.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from nnunet_lib import distributed
from nnunet_lib.errors import InputError
from nnunet_lib.inference import NO_FLIPS, number_of_windows
from nnunet_lib.loading import training_batches
from nnunet_lib.model import (
    BEST,
    LAST,
    Checkpoint,
    as_network,
    build_unet,
    prepare,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training.job import Job, open_job
from nnunet_lib.training.log import EpochRecord, NoLog, RunLog, read_metrics
from nnunet_lib.training.optimisers import make_optimiser
from nnunet_lib.training.precision import optimiser_variables, with_loss_scaling
from nnunet_lib.training.schedules import Budget, learning_rate_factor, rank_factor
from nnunet_lib.training.settings import TrainingSettings
from nnunet_lib.training.state import RunState, restore
from nnunet_lib.training.step import make_step
from nnunet_lib.training.validation import validate

DEFAULT_EPOCHS = 20
VALIDATION_SHARE = 0.1
"""The part of a time limit that the last validation may take."""
LAST_INTERIM_VALIDATION = 0.8
"""The part of the training time after which only the end validates."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its folder, one record an epoch, and the best validation Dice."""

    run: Path
    history: tuple[EpochRecord, ...]
    best_dice: float | None


def train(
    preprocessed: PreprocessedDataset,
    run: Path | str,
    settings: TrainingSettings | None = None,
    show_progress: bool = True,
) -> TrainingResult:
    """Train one fold and leave checkpoints, metrics, plan, fold and settings in `run`.

    Under `horovodrun` all processes train together: each on its own share of the cases, with
    the gradients averaged. Only rank 0 writes.

    Args:
        preprocessed: labelled cases, preprocessed in mode "training".
        run: the folder to write; made if it is not there.
        settings: see `TrainingSettings`.
        show_progress: whether to draw a progress bar.

    Raises:
        InputError: if the folder holds a run already, the cases do not allow the folds, or
            the loss or the weights stop being finite.

    Example:
        >>> from nnunet_lib.preprocessing import PreprocessedDataset
        >>> from nnunet_lib.training import TrainingSettings, train
        >>> prepared = PreprocessedDataset.open("prepared", dimensions=3)
        >>> result = train(prepared, "run", TrainingSettings(time_limit=15))
        >>> result.history[-1].validation_dice
    """
    started = time.monotonic()
    settings = settings or TrainingSettings()
    ranks = distributed.join()
    notes = prepare(settings.compute)
    job, checkpoint = open_job(preprocessed, Path(run), settings, ranks)
    tf.keras.utils.set_random_seed(settings.seed)
    trainer = _Trainer(job, started)
    trainer.restore(checkpoint)
    return trainer.run_all(show_progress, notes)


def learning_rate_at(settings: TrainingSettings, progress: float, size: int = 1) -> float:
    """The learning rate of `size` ranks at `progress` in [0, 1] of the budget."""
    factor = learning_rate_factor(settings.scheduler, progress, settings.restarts)
    if settings.scale_learning_rate:
        factor *= rank_factor(size, progress, settings.warmup)
    return settings.base_learning_rate * factor


def validation_seconds(cases: int, seconds_a_case: float, size: int) -> float:
    """How long `size` ranks need for a validation: they predict a case each, at the same time."""
    return math.ceil(cases / size) * seconds_a_case


def affordable_cases(seconds: float, seconds_a_case: float, size: int) -> int:
    """How many cases `size` ranks can validate in that time; at least one each."""
    return size * max(1, int(seconds / seconds_a_case))


def cases_to_validate(affordable: int, before: int | None) -> int:
    """As many as before the run was resumed, so that scores compare, unless that takes too long.

    Too long is twice the time: two measurements of it differ.
    """
    return before if before and before <= 2 * affordable else affordable


class _Trainer:
    """What changes while a run goes on: model, optimiser, step, best score."""

    def __init__(self, job: Job, started: float) -> None:
        self.job, self.settings, self.ranks = job, job.settings, job.ranks
        self.started = started
        compute, inference = self.settings.compute, self.settings.inference
        self.model = build_unet(job.plan, self.settings.deep_supervision, compute.precision)
        self.optimiser = with_loss_scaling(make_optimiser(self.settings), compute)
        self.step = make_step(self.model, self.optimiser, job.plan, self.settings, self.ranks)
        self.network = as_network(self.model, compute.xla, inference.window_batch_size)
        self.log: RunLog | NoLog = NoLog()
        self.state = RunState(processes=job.ranks.size)
        self.history: list[EpochRecord] = []
        self.progress = 0.0

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Go on from a checkpoint, which only rank 0 has read; then all ranks hold the same."""
        self.ranks.gather_done(lambda: self._take_over(checkpoint))
        self.ranks.broadcast([*self.model.variables, *optimiser_variables(self.optimiser)])
        state, history = self.ranks.agree((asdict(self.state), list(map(asdict, self.history))))
        self.state = RunState.from_json(state, source=str(self.job.run / LAST))
        self.history = [EpochRecord(**record) for record in history]

    def _take_over(self, checkpoint: Checkpoint | None) -> None:
        """Take over what a checkpoint and its log say, if there is one."""
        if checkpoint is not None:
            variables = self.model.variables, optimiser_variables(self.optimiser)
            self.state = restore(checkpoint, *variables, source=self.job.run / LAST)
            self.history = list(read_metrics(self.job.run)[: self.state.epoch])

    def run_all(self, show_progress: bool, notes: Sequence[str] = ()) -> TrainingResult:
        """Epoch after epoch, until the budget is used up; at least one. `notes` are said first."""
        self.spent = self.state.seconds  # before this process
        self.ranks.gather_done(lambda: self._open_log(show_progress))
        try:
            for note in (*notes, *self._what_differs()):
                self.log.say(note)
            self.budget, cases, self.validation_seconds = self._plan_time()
            self._validate_on(cases)
            begun = self.state.losses or not self.history  # an epoch that has to be finished
            finished = not begun and self._progress() >= 1.0
            if self.state.step:
                self.log.say(self._where_it_stands(finished))
            while not finished:
                finished = self._run_epoch(epoch=self.state.epoch + 1)
        finally:
            self.log.close()
        return TrainingResult(self.job.run, tuple(self.history), self.state.best_dice)

    def _open_log(self, show_progress: bool) -> None:
        if self.ranks.is_first:
            self.log = RunLog(self.job.run, show_progress, self.history)

    def _what_differs(self) -> Iterator[str]:
        """What the user asked for, or may expect, and will not get."""
        if self.job.data.splits_path.exists():
            yield self._whose_fold()
        if self.settings.inference.tta and not self.job.plan.mirrored:
            yield NO_FLIPS
        if self.job.plan.norm == "batch" and self.ranks.size > 1:
            yield (
                f"Batch norm: each of the {self.ranks.size} processes has the statistics of its "
                f"own {self.job.plan.batch_size} patches a step, not those of all."
            )
        if self.state.processes != self.ranks.size:
            yield (
                f"The run goes on with {self.ranks.size} processes instead of "
                f"{self.state.processes}: its batches differ from those of the first start."
            )

    def _whose_fold(self) -> str:
        """That the user chose the fold, and how many cases it leaves out: some may be new."""
        fold, every = self.job.fold, len(self.job.data.identifiers)
        left_out = every - len(fold.training) - len(fold.validation)
        where = f"Fold {self.settings.fold} is that of {self.job.data.splits_path}"
        without = f" and leaves out {left_out} of {every} cases" if left_out else ""
        return f"{where}{without}; the seed splits no cases."

    def _where_it_stands(self, finished: bool) -> str:
        """What a resumed run has done before, and whether anything is left to do."""
        state = self.state
        done = f"{self.job.run}: {state.step} steps in {state.seconds / 60:.1f} minutes are done"
        if finished:
            return f"{done}, which is all. For more raise --epochs or --time-limit."
        return f"{done}. The run goes on from its last checkpoint."

    def _run_epoch(self, epoch: int) -> bool:
        """Train, validate if it is time to, and write it all down; whether it was the last one.

        Its last step has decided that, before validation: time goes on, and another answer could
        end the run after an epoch that was not validated as the last one is.
        """
        began, first_step = time.monotonic(), self.state.step
        loss = self._train_epoch(epoch)
        patches = (self.state.step - first_step) * self.job.plan.batch_size * self.ranks.size
        patches_per_second = patches / (time.monotonic() - began)
        finished = self.progress >= 1.0
        wanted = finished or self._validates_after(epoch)
        validation_dice = self._validate() if wanted else None
        record = EpochRecord(
            epoch=epoch,
            step=self.state.step,
            seconds=self._elapsed(),
            loss=loss,
            learning_rate=float(self.optimiser.learning_rate.numpy()),
            patches_per_second=patches_per_second,
            validation_dice=validation_dice,
        )
        self._finish_epoch(record)
        return finished

    def _train_epoch(self, epoch: int) -> float:
        """Take this epoch's steps, less those taken already; return their mean loss.

        Progress is asked for once a step, since several ranks have to exchange it.
        """
        cases, loader = self.job.files_of(self.job.fold.training), self.settings.loader
        ranks = self.ranks
        batches = training_batches(cases, self.job.loader, epoch, ranks.rank, ranks.size, loader)
        first, last = len(self.state.losses), self.settings.steps_per_epoch
        self.progress = self._progress()
        for image, label in islice(batches, first, last):
            self._take_step(image, label)
            self.progress = self._progress()
            if self.progress >= 1.0:
                break
            self._save_if_due()
        return sum(self.state.losses) / len(self.state.losses)

    def _take_step(self, image: tf.Tensor, label: tf.Tensor) -> None:
        rate = learning_rate_at(self.settings, self.progress, self.ranks.size)
        self.optimiser.learning_rate.assign(rate)
        loss = float(self.step(image, label))
        steps = self.state.step + 1
        if not math.isfinite(loss):  # the mean over ranks, so that all of them stop
            raise InputError(
                f"{self.job.run}: the loss is {loss} at step {steps}. "
                "Train again with a lower --learning-rate or --weight-decay."
            )
        self.state = replace(self.state, step=steps, losses=(*self.state.losses, loss))
        self.log.step(self.budget.progress(steps, self._elapsed()), loss)

    def _finish_epoch(self, record: EpochRecord) -> None:
        """Write the record, then the checkpoints; best is what has validated best so far."""
        self.history.append(record)
        self.log.epoch(record)
        dice, best = record.validation_dice, self.state.best_dice
        improved = dice is not None and (best is None or dice > best)
        self.state = replace(
            self.state, epoch=record.epoch, losses=(), best_dice=dice if improved else best
        )
        self._save(*((BEST, LAST) if improved else (LAST,)))

    def _save_if_due(self) -> None:
        """Write a checkpoint in the middle of an epoch, where one is asked for."""
        interval = self.settings.checkpoint_interval
        if interval is not None and self.state.step % interval == 0:
            self._save(LAST)

    def _save(self, *names: str) -> None:
        """Write the present state under these names; only rank 0 does."""
        self.state = replace(self.state, seconds=self._elapsed(), processes=self.ranks.size)
        weights = variable_arrays(self.model.variables) if self.ranks.is_first else {}
        self._require_finite(weights)
        if not self.ranks.is_first:
            return
        checkpoint = Checkpoint(
            plan=self.job.plan,
            deep_supervision=self.settings.deep_supervision,
            weights=weights,
            optimiser=variable_arrays(optimiser_variables(self.optimiser)),
            progress=self.state.to_json(),
        )
        for name in names:
            save_checkpoint(self.job.run / name, checkpoint)

    def _require_finite(self, weights: Mapping[str, np.ndarray]) -> None:
        """Refuse weights that predict nothing; the checkpoint before them stays.

        A loss is that of the weights before its step, and so tells nothing of the last one.
        """
        finite = all(np.isfinite(array).all() for array in weights.values())
        if not self.ranks.agree_number(float(finite)):  # what the first rank would save
            raise InputError(
                f"{self.job.run}: the weights are no numbers any more after step "
                f"{self.state.step}, and were not saved. Train again with a lower "
                "--learning-rate or --weight-decay."
            )

    def _validate(self) -> float | None:
        # Moving statistics differ by rank; all shall validate what rank 0 will save.
        self.ranks.broadcast(self.model.non_trainable_variables)
        cases = self.job.fold.validation[: self.state.validation_cases]
        settings = self.settings.inference
        return validate(self.network, self.job.data, cases, settings, self.ranks)

    def _validates_after(self, epoch: int) -> bool:
        """Whether an epoch before the last one validates.

        Under a time limit it does not where that would leave too little time for the learning
        rate to come down.
        """
        due = epoch % self.settings.validation_interval == 0
        if self.budget.seconds is None:
            return due
        after = self._elapsed() + self.validation_seconds
        return self.ranks.agree(due and after < LAST_INTERIM_VALIDATION * self.budget.seconds)

    def _plan_time(self) -> tuple[Budget, int, float]:
        """The budget, how many cases each validation predicts, and how many seconds that takes.

        Under a time limit the last validation gets about `VALIDATION_SHARE` of it, if need be
        on fewer cases, and training gets the rest.
        """
        settings, size = self.settings, self.ranks.size
        seconds_a_case = self.ranks.agree(self._time_one_case())
        affordable, limit = len(self.job.fold.validation), settings.time_limit
        if limit is not None:
            share = VALIDATION_SHARE * 60 * limit
            affordable = min(affordable, affordable_cases(share, seconds_a_case, size))
        cases = cases_to_validate(affordable, self.state.validation_cases)
        seconds = validation_seconds(cases, seconds_a_case, size)
        if limit is None:
            return Budget(self._steps(settings.epochs or DEFAULT_EPOCHS), None), cases, seconds
        steps = self._steps(settings.epochs) if settings.epochs else None
        return Budget(steps, max(60 * limit - seconds, 1.0)), cases, seconds

    def _steps(self, epochs: int) -> int:
        return epochs * self.settings.steps_per_epoch

    def _validate_on(self, cases: int) -> None:
        """Let each validation predict so many cases; a best score of others counts no longer."""
        every, before = len(self.job.fold.validation), self.state.validation_cases
        self.state = replace(self.state, validation_cases=cases)
        if cases < every:
            why = "as before" if cases == before else "to keep the time limit"
            self.log.say(f"Validating on {cases} of {every} cases, {why}.")
        if before not in (None, cases):
            self.state = replace(self.state, best_dice=None)
            self.log.say(
                f"The best checkpoint was the best on {before} cases, so the next one replaces it."
            )

    def _time_one_case(self) -> float:
        """Seconds to validate one case: those of one window, times the windows of a case."""
        plan, inference = self.job.plan, self.settings.inference
        shape = self.job.data.geometry(self.job.fold.validation[0]).shape
        windows_of_case = number_of_windows(shape, plan, inference)
        batch = min(inference.window_batch_size, windows_of_case)
        windows = np.zeros((batch, *plan.patch_size, len(plan.channels)), np.float32)
        self.network(windows)  # traces the graph
        began = time.monotonic()
        self.network(windows)
        return (time.monotonic() - began) / batch * windows_of_case

    def _elapsed(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _progress(self) -> float:
        """The share of the budget that is used up; the same on every rank."""
        progress = self.budget.progress(self.state.step, self._elapsed())
        return progress if self.budget.seconds is None else self.ranks.agree_number(progress)

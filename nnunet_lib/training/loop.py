"""The training loop: patches in, checkpoints out.

Taught in lesson 06.
"""

import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf

from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.inference import FOLD, NO_FLIPS, number_of_windows
from nnunet_lib.loading import CaseFiles, Fold, LoaderSettings, split_folds, training_batches
from nnunet_lib.model import (
    BEST,
    LAST,
    Checkpoint,
    as_network,
    build_unet,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.planning import Plan
from nnunet_lib.planning.topology import stage_filters
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training.log import METRICS, TENSORBOARD, EpochRecord, RunLog
from nnunet_lib.training.optimisation import make_step
from nnunet_lib.training.schedules import Budget, learning_rate_factor
from nnunet_lib.training.settings import TrainingSettings
from nnunet_lib.training.validation import validate

DEFAULT_EPOCHS = 20
VALIDATION_SHARE = 0.1
"""The part of a time limit that the last validation may take."""
LAST_INTERIM_VALIDATION = 0.8
"""The part of the training time after which only the end validates."""

PLAN = "plan.json"
SETTINGS = "settings.json"


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its folder, one record an epoch, and the best validation Dice."""

    run: Path
    history: tuple[EpochRecord, ...]
    best_dice: float | None


def train(
    preprocessed: PreprocessedDataset,
    run: Path,
    settings: TrainingSettings | None = None,
    show_progress: bool = True,
) -> TrainingResult:
    """Train one fold and leave checkpoints, metrics, plan, fold and settings in `run`.

    Args:
        preprocessed: labelled cases, preprocessed in mode "training".
        run: the folder to write; made if it is not there.
        settings: see `TrainingSettings`.
        show_progress: whether to draw a progress bar.

    Raises:
        InputError: if the folder holds a run already, the cases do not allow the folds, or
            the loss stops being finite.
    """
    started = time.monotonic()
    settings = settings or TrainingSettings()
    plan = _plan_of(preprocessed.plan, settings)
    loader = _loader_settings(plan, settings)
    folds = split_folds(preprocessed.identifiers, settings.number_of_folds, settings.seed)
    fold = folds[settings.fold]
    _prepare(run, plan, fold, settings)
    tf.keras.utils.set_random_seed(settings.seed)
    log = RunLog(run, show_progress)
    if settings.inference.tta and not plan.mirrored:
        log.say(NO_FLIPS)
    try:
        data = replace(preprocessed, plan=plan)  # validation follows the run's plan too
        job = _Job(data, run, plan, fold, loader, settings)
        return _Trainer(job, log, started).run_all()
    finally:
        log.close()


def learning_rate_at(settings: TrainingSettings, progress: float) -> float:
    """The learning rate at `progress` in [0, 1] of the budget."""
    return settings.learning_rate * learning_rate_factor(settings.scheduler, progress)


@dataclass(frozen=True)
class _Job:
    """What is decided before a run starts, and stays."""

    data: PreprocessedDataset
    run: Path
    plan: Plan
    fold: Fold
    loader: LoaderSettings
    settings: TrainingSettings

    @property
    def training_cases(self) -> list[CaseFiles]:
        """The files of the cases to train on."""
        data = self.data
        names = self.fold.training
        return [CaseFiles(data.image_path(name), data.label_path(name)) for name in names]


class _Trainer:
    """What changes while a run goes on: model, optimiser, step, best score."""

    def __init__(self, job: _Job, log: RunLog, started: float) -> None:
        self.job, self.log, self.started = job, log, started
        self.model = build_unet(job.plan, job.settings.deep_supervision)
        self.optimiser = tf.keras.optimizers.Adam(job.settings.learning_rate)
        self.step = make_step(self.model, self.optimiser, job.plan, job.settings)
        self.network = as_network(self.model)
        self.steps_done = 0
        self.history: list[EpochRecord] = []
        self.best_dice: float | None = None
        self.budget, self.validation_cases, self.validation_seconds = self._plan_time()

    def run_all(self) -> TrainingResult:
        """Epoch after epoch, until the budget is used up; at least one."""
        while not self.history or self._progress() < 1.0:
            self._run_epoch(epoch=len(self.history) + 1)
        return TrainingResult(self.job.run, tuple(self.history), self.best_dice)

    def _run_epoch(self, epoch: int) -> None:
        began, first_step = time.monotonic(), self.steps_done
        loss = self._train_epoch(epoch)
        patches = (self.steps_done - first_step) * self.job.plan.batch_size
        patches_per_second = patches / (time.monotonic() - began)
        finished = self._progress() >= 1.0
        wanted = finished or self._validates_after(epoch)
        validation_dice = self._validate() if wanted else None
        record = EpochRecord(
            epoch=epoch,
            step=self.steps_done,
            seconds=self._elapsed(),
            loss=loss,
            learning_rate=float(self.optimiser.learning_rate.numpy()),
            patches_per_second=patches_per_second,
            validation_dice=validation_dice,
        )
        self._finish_epoch(record)

    def _train_epoch(self, epoch: int) -> float:
        """Take this epoch's steps; return their mean loss."""
        batches = training_batches(self.job.training_cases, self.job.loader, epoch=epoch)
        losses = []
        for image, label in islice(batches, self.job.settings.steps_per_epoch):
            rate = learning_rate_at(self.job.settings, self._progress())
            self.optimiser.learning_rate.assign(rate)
            losses.append(float(self.step(image, label)))
            self.steps_done += 1
            if not math.isfinite(losses[-1]):
                raise InputError(
                    f"{self.job.run}: the loss is {losses[-1]} at step {self.steps_done}. "
                    "Train again with a lower --learning-rate."
                )
            self.log.step(self._progress(), losses[-1])
            if self._progress() >= 1.0:
                break
        return sum(losses) / len(losses)

    def _finish_epoch(self, record: EpochRecord) -> None:
        """Write the record and the checkpoints; best is what has validated best so far."""
        self.history.append(record)
        dice = record.validation_dice
        improved = dice is not None and (self.best_dice is None or dice > self.best_dice)
        if improved:
            self.best_dice = dice
        checkpoint = self._checkpoint(record)
        save_checkpoint(self.job.run / LAST, checkpoint)
        if improved:
            save_checkpoint(self.job.run / BEST, checkpoint)
        self.log.epoch(record)

    def _checkpoint(self, record: EpochRecord) -> Checkpoint:
        return Checkpoint(
            plan=self.job.plan,
            deep_supervision=self.job.settings.deep_supervision,
            weights=variable_arrays(self.model.variables),
            optimiser=variable_arrays(self.optimiser.variables),
            progress={**asdict(record), "best_dice": self.best_dice},
        )

    def _validate(self) -> float | None:
        cases = self.job.fold.validation[: self.validation_cases]
        return validate(self.network, self.job.data, cases, self.job.settings.inference)

    def _validates_after(self, epoch: int) -> bool:
        """Whether an epoch before the last one validates.

        Under a time limit it does not where that would leave too little time for the learning
        rate to come down.
        """
        due = epoch % self.job.settings.validation_interval == 0
        if self.budget.seconds is None:
            return due
        after = self._elapsed() + self.validation_seconds
        return due and after < LAST_INTERIM_VALIDATION * self.budget.seconds

    def _plan_time(self) -> tuple[Budget, int, float]:
        """The budget, how many cases each validation predicts, and how many seconds that takes.

        Under a time limit the last validation gets at most `VALIDATION_SHARE` of it, if need be
        on fewer cases, and training gets the rest.
        """
        cases, settings = len(self.job.fold.validation), self.job.settings
        seconds_a_case = self._time_one_case()
        if settings.time_limit is None:
            epochs = settings.epochs or DEFAULT_EPOCHS
            return Budget(epochs * settings.steps_per_epoch, None), cases, cases * seconds_a_case
        limit = 60 * settings.time_limit
        affordable = max(1, int(VALIDATION_SHARE * limit / seconds_a_case))
        if affordable < cases:
            self.log.say(f"Validating on {affordable} of {cases} cases, to keep the time limit.")
            cases = affordable
        steps = settings.epochs * settings.steps_per_epoch if settings.epochs else None
        seconds = cases * seconds_a_case
        return Budget(steps, max(limit - seconds, 1.0)), cases, seconds

    def _time_one_case(self) -> float:
        """Seconds to validate one case: those of one window, times the windows of a case."""
        plan, inference = self.job.plan, self.job.settings.inference
        window = np.zeros((1, *plan.patch_size, len(plan.channels)), np.float32)
        self.network(window)  # traces the graph
        began = time.monotonic()
        self.network(window)
        seconds = time.monotonic() - began
        shape = self.job.data.geometry(self.job.fold.validation[0]).shape
        return seconds * number_of_windows(shape, plan, inference)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _progress(self) -> float:
        return self.budget.progress(self.steps_done, self._elapsed())


def _plan_of(plan: Plan, settings: TrainingSettings) -> Plan:
    """The plan with what this run sets differently, so that the checkpoint tells the truth.

    A 2D batch that the plan chose is rounded down to what its volumes can share evenly.
    """
    filters, batch_size = plan.filters, settings.batch_size or plan.batch_size
    if settings.base_filters is not None:
        filters = stage_filters(len(plan.filters), settings.base_filters, plan.dimensions)
    if plan.dimensions == 2 and settings.batch_size is None:
        volumes = settings.number_of_volumes
        batch_size = max(volumes, batch_size - batch_size % volumes)
    augmentation = settings.augmentation
    mirrored = augmentation.enabled and augmentation.flip_probability > 0
    return replace(plan, filters=filters, batch_size=batch_size, mirrored=mirrored)


def _loader_settings(plan: Plan, settings: TrainingSettings) -> LoaderSettings:
    """What the loader needs to know, from the plan and from this run's settings."""
    return LoaderSettings(
        batch_size=plan.batch_size,
        patch_size=plan.patch_size,
        dimensions=plan.dimensions,
        foreground_oversampling=settings.foreground_oversampling,
        number_of_volumes=settings.number_of_volumes,
        seed=settings.seed,
        augmentation=settings.augmentation,
    )


def _prepare(run: Path, plan: Plan, fold: Fold, settings: TrainingSettings) -> None:
    """Make the run folder and write what the run is about."""
    if (run / LAST).exists() or (run / METRICS).exists():
        if not settings.overwrite:
            raise InputError(
                f"{run}: holds a training run already. Name another folder, or add --overwrite."
            )
        for name in (LAST, BEST, METRICS):
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / TENSORBOARD, ignore_errors=True)
    plan.save(run / PLAN)
    write_json(run / FOLD, asdict(fold))
    write_json(run / SETTINGS, asdict(settings))

"""What is decided before a run starts, and stays: data, fold, plan, loader, processes."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, write_json
from nnunet_lib.inference import CROSS_VALIDATION, FOLD, POSTPROCESSING, runs_of
from nnunet_lib.loading import (
    CaseFiles,
    Fold,
    LoaderSettings,
    check_training,
    load_folds,
    split_folds,
)
from nnunet_lib.loading.cases import check_cases
from nnunet_lib.model import BEST, LAST, Checkpoint
from nnunet_lib.planning import Plan
from nnunet_lib.planning.topology import stage_filters
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training.log import METRICS, TENSORBOARD
from nnunet_lib.training.settings import TrainingSettings
from nnunet_lib.training.state import SETTINGS, load_last

PLAN = "plan.json"


@dataclass(frozen=True)
class Job:
    """One run of training.

    Attributes:
        data: the preprocessed cases; its plan is the run's, so that validation follows it too.
        run: the folder to write.
        fold: which cases train and which validate.
        loader: how batches are drawn; the batch size is that of one process.
        settings: what the user decided.
        ranks: the processes that train together.
    """

    data: PreprocessedDataset
    run: Path
    fold: Fold
    loader: LoaderSettings
    settings: TrainingSettings
    ranks: Ranks

    @property
    def plan(self) -> Plan:
        """The plan of this run."""
        return self.data.plan

    def files_of(self, cases: Sequence[str]) -> list[CaseFiles]:
        """The files of these cases, as those of `fold.training`."""
        data = self.data
        return [CaseFiles(data.image_path(case), data.label_path(case)) for case in cases]


def open_job(
    preprocessed: PreprocessedDataset, run: Path, settings: TrainingSettings, ranks: Ranks
) -> tuple[Job, Checkpoint | None]:
    """Decide what a run is, make its folder, and find where it goes on from.

    Returns:
        The job, and on rank 0 the checkpoint of a run that is resumed; None for a new one.

    Raises:
        InputError: on every rank alike, if the folder holds a run or a plan and the settings do
            not say what to do with it, or that run was another one; or if the cases cannot be
            loaded.
    """
    job = _decide(preprocessed, run, settings, ranks)
    checkpoint: Checkpoint | None = None

    def open_folder() -> None:
        nonlocal checkpoint
        checkpoint = _open_folder(job)

    ranks.gather_done(open_folder if ranks.is_first else lambda: None)
    return job, checkpoint


def _decide(
    preprocessed: PreprocessedDataset, run: Path, settings: TrainingSettings, ranks: Ranks
) -> Job:
    """What a run is, once it is sure that its cases can be loaded; nothing is written yet."""
    plan = plan_of(preprocessed.plan, settings)
    loader = _loader_settings(plan, settings)
    data = replace(preprocessed, plan=plan)
    job = Job(data, run, _agreed_fold(preprocessed, settings, ranks), loader, settings, ranks)
    ranks.gather_done(lambda: _check_files(job))
    return job


def _agreed_fold(data: PreprocessedDataset, settings: TrainingSettings, ranks: Ranks) -> Fold:
    """What the first rank reads: other machines may hold another file beside the data, or none."""
    parts, *_ = ranks.gather_done(
        lambda: asdict(fold_of(data, settings)) if ranks.is_first else None
    )
    return Fold(**{name: tuple(cases) for name, cases in parts.items()})


def fold_of(data: PreprocessedDataset, settings: TrainingSettings) -> Fold:
    """The fold of a run: one that the user has chosen, or of a split by the seed.

    Raises:
        InputError: if the cases or the user's file do not allow it.
    """
    if not os.path.lexists(data.splits_path):  # a link to nowhere is refused below
        return split_folds(data.identifiers, settings.number_of_folds, settings.seed)[settings.fold]
    folds = load_folds(data.splits_path, data.identifiers)
    if settings.fold >= len(folds):
        raise InputError(
            f"{data.splits_path}: there is no fold {settings.fold}, as its {len(folds)} count from "
            f"0. Choose another, or with --fold all say --nfolds {len(folds)}."
        )
    return folds[settings.fold]


def _require_partition(data: PreprocessedDataset, folds: Sequence[Fold]) -> None:
    """Refuse folds of which a cross-validation would not score each case once."""
    every = sorted(data.identifiers)
    whole = all(sorted(fold.training + fold.validation) == every for fold in folds)
    if not whole or sorted(case for fold in folds for case in fold.validation) != every:
        there = len(load_folds(data.splits_path, data.identifiers))
        number = f", of {there} in the file," if there > len(folds) else ""
        remedy = f"Give --nfolds {there}, correct" if there > len(folds) else "Correct"
        raise InputError(
            f"{data.splits_path}: --fold all scores each case once. So each of these {len(folds)} "
            f"folds{number} must hold every case once, and one of them validate it. {remedy} the "
            "file, or train them one by one with --fold."
        )


def _check_files(job: Job) -> None:
    """Refuse cases that cannot be loaded, those of the validation too: it comes last."""
    training, validation = map(job.files_of, (job.fold.training, job.fold.validation))
    shard = job.ranks.rank, job.ranks.size
    check_training(training, job.loader, *shard, job.settings.loader)
    check_cases([*training, *validation])


def plan_of(plan: Plan, settings: TrainingSettings) -> Plan:
    """The plan with what this run sets differently, so that the checkpoint tells the truth.

    A 2D batch that the plan chose is rounded down to what its volumes can share evenly; one that is
    smaller than their number has fewer of them.
    """
    filters, batch_size = plan.filters, settings.batch_size or plan.batch_size
    if settings.base_filters is not None:
        filters = stage_filters(len(filters), settings.base_filters, plan.dimensions)
    if plan.dimensions == 2 and settings.batch_size is None:
        batch_size -= batch_size % _number_of_volumes(plan, settings)
    augmentation = settings.augmentation
    mirrored = augmentation.enabled and augmentation.flip_probability > 0
    slope = settings.negative_slope
    return replace(
        plan,
        filters=filters,
        batch_size=batch_size,
        norm=settings.norm or plan.norm,
        negative_slope=plan.negative_slope if slope is None else slope,
        mirrored=mirrored,
    )


def _number_of_volumes(plan: Plan, settings: TrainingSettings) -> int:
    """Volumes that the slices of a 2D batch come from; no more than slices that the plan chose."""
    if settings.batch_size is not None:
        return settings.number_of_volumes
    return min(settings.number_of_volumes, plan.batch_size)


def _loader_settings(plan: Plan, settings: TrainingSettings) -> LoaderSettings:
    """What the loader needs to know, from the plan and from this run's settings."""
    return LoaderSettings(
        batch_size=plan.batch_size,
        patch_size=plan.patch_size,
        dimensions=plan.dimensions,
        foreground_oversampling=settings.foreground_oversampling,
        number_of_volumes=_number_of_volumes(plan, settings),
        seed=settings.seed,
        augmentation=settings.augmentation,
    )


def _open_folder(job: Job) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one; only the first rank looks and writes."""
    _require_no_scores_of(job.run)
    checkpoint = _checkpoint_of(job) if job.settings.resume else None
    if not job.settings.resume:
        _clear(job.run, job.settings.overwrite)
    _describe(job)
    return checkpoint


def _checkpoint_of(job: Job) -> Checkpoint | None:
    """The checkpoint that a resumed run goes on from, None where there is none yet."""
    _require_no_cross_validation(job.run)
    checkpoint = load_last(job.run, job.plan, job.settings)
    if checkpoint is not None:
        _require_same_fold(job)
    elif not _holds_run(job.run):
        _require_own(job.run)
    return checkpoint


def _clear(run: Path, overwrite: bool) -> None:
    """Make room for a new run."""
    used = _is_used(run)
    if used and not overwrite:
        raise InputError(
            f"{run}: holds a training run already. Name another folder, or add --resume to go "
            "on with it, or --overwrite to replace it."
        )
    if used:
        _remove(run)
    elif not overwrite:
        _require_own(run)


def _require_own(folder: Path) -> None:
    """Refuse to replace, in a folder without a run, a plan or the like of somebody else's.

    All three together are what a training leaves that was stopped before its first record.
    """
    described = (PLAN, FOLD, SETTINGS)
    there = [name for name in described if (folder / name).exists()]
    if there and len(there) < len(described):
        raise InputError(
            f"{folder}: holds {' and '.join(there)}, but no training run, which would replace "
            "that. Name another folder, or add --overwrite."
        )


def _is_used(folder: Path) -> bool:
    return _holds_run(folder) or (folder / CROSS_VALIDATION).exists()


def _holds_run(folder: Path) -> bool:
    """Whether a training has begun in the folder, be it before its first checkpoint."""
    return (folder / LAST).exists() or (folder / METRICS).exists()


def _remove(run: Path) -> None:
    """Remove what training has left in a folder, but for folders of runs within.

    A plan without settings beside it is somebody else's, and stays.
    """
    own = (PLAN, SETTINGS) if (run / SETTINGS).exists() else ()
    for name in (LAST, BEST, METRICS, FOLD, POSTPROCESSING, CROSS_VALIDATION, *own):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / TENSORBOARD, ignore_errors=True)


def _require_no_cross_validation(run: Path) -> None:
    """A fold beside a finished cross-validation would never be predicted with."""
    if (run / CROSS_VALIDATION).exists():
        raise InputError(
            f"{run}: holds a cross-validation, which cannot go on as one run. Resume it with "
            "--fold all, or train in another folder."
        )


def _require_no_scores_of(run: Path) -> None:
    """What a cross-validation says of its folds would no longer be true of one that changes."""
    results = run.resolve().parent
    if (results / CROSS_VALIDATION).exists() and run.resolve() in runs_of(results):
        raise InputError(
            f"{run}: belongs to the finished cross-validation in {results}. Train in another "
            f"folder, or all folds again with --fold all --overwrite --results {results}."
        )


def _require_same_fold(job: Job) -> None:
    """With other cases or folds than those that the run began with, it would be another run."""
    before = read_json(job.run / FOLD)
    if before != {name: list(cases) for name, cases in asdict(job.fold).items()}:
        raise InputError(
            f"{job.run / FOLD}: the run was trained on other cases than this fold has now. Resume "
            f"with the same preprocessed cases and folds ({job.data.splits_path} or none), or "
            "train in another folder."
        )


def make_room(
    preprocessed: PreprocessedDataset,
    results: Path,
    runs: Sequence[Path],
    settings: TrainingSettings,
    ranks: Ranks,
) -> None:
    """Make room for all folds, once it is sure that each can start and what may be removed.

    What is replaced goes at once: a fold of the old training must not pass for one of the new
    when that is interrupted and resumed.

    Raises:
        InputError: on every rank alike, before anything is removed, if a folder holds a run or a
            plan and the settings do not say what to do with it, a run that is resumed was another
            one, or the cases of any fold cannot be loaded.
    """
    used = [str(run) for run in (results, *runs) if _is_used(run)]
    is_one_run, there = ranks.agree((_holds_run(results), used))
    if is_one_run and settings.resume:
        raise InputError(
            f"{results}: holds a run of one fold, which cannot go on as all of them. Name another "
            "folder, or say --overwrite in place of --resume."
        )
    if there and not (settings.resume or settings.overwrite):
        raise InputError(
            f"{results}: holds trained runs already ({', '.join(there)}). Name another folder, "
            "or add --resume to go on with them, or --overwrite to replace them."
        )
    jobs = [
        _decide(preprocessed, run, replace(settings, fold=fold), ranks)
        for fold, run in enumerate(runs)
    ]
    _require_partition(preprocessed, [job.fold for job in jobs])
    ranks.gather_done(partial(_replace_all, results, jobs) if ranks.is_first else lambda: None)


def _replace_all(results: Path, jobs: Sequence[Job]) -> None:
    """Remove what is replaced; of folds that go on only what was decided on their scores."""
    _require_no_scores_of(results)
    for job in jobs:
        if job.settings.resume:
            _checkpoint_of(job)
        elif not job.settings.overwrite:
            _require_own(job.run)
    if _holds_run(results):
        _remove(results)
    (results / CROSS_VALIDATION).unlink(missing_ok=True)
    for job in jobs:
        if job.settings.overwrite:
            _remove(job.run)
        (job.run / POSTPROCESSING).unlink(missing_ok=True)


def _describe(job: Job) -> None:
    """Write what the run is about."""
    job.plan.save(job.run / PLAN)
    write_json(job.run / FOLD, asdict(job.fold))
    write_json(job.run / SETTINGS, asdict(job.settings))

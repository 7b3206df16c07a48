"""The trained model of the lessons that need one: trained once, seeded, and kept."""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nnunet_lib.course import sources
from nnunet_lib.course.keeping import kept
from nnunet_lib.course.profiles import Profile
from nnunet_lib.datasets import Dataset
from nnunet_lib.loading import AugmentationSettings, Fold
from nnunet_lib.planning import Plan, PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import PreprocessedDataset, preprocess
from nnunet_lib.training import TrainingSettings, cross_validate, train
from nnunet_lib.training.job import fold_of

_CALCULATES = ("numpy", "scipy", "tensorflow", "nvidia-dali-cuda110")


@dataclass(frozen=True)
class TrainedModel:
    """A model, and what it was trained on.

    Attributes:
        preprocessed: all cases, in mode "training".
        fold: which of them the model trained on, and which it never saw.
        plan: the run's own; the same that its checkpoint holds.
        run: the folder that `train` wrote, from which `predict` works.
    """

    preprocessed: PreprocessedDataset
    fold: Fold
    plan: Plan
    run: Path


def trained_model(
    dataset: Dataset,
    profile: Profile,
    seed: int = 0,
    fold: int = 0,
    number_of_folds: int = 5,
    dimensions: int = 3,
) -> TrainedModel:
    """A model for the dataset's training cases, trained the first time it is asked for.

    It takes `profile.model_epochs` epochs, however long they last: in profile "ci" less than a
    minute on two idle cores. What it was made of decides where it is kept: the files of the
    cases, the settings, the seed, the fold, and the source of every stage up to training. A
    change in any of them trains anew. Folds of one dataset share its preprocessed cases. Patches
    are augmented as `train` does, and mirrored, so that the model may be asked for test-time
    augmentation.

    Args:
        dataset: its training cases are split into folds. Leave some out to test an ensemble.
        profile: says how long to train, and how large the network is.
        seed: of the folds, the first weights and every random draw.
        fold: which fold validates, from 0.
        number_of_folds: parts that the cases are split into.
        dimensions: 2 for a network on slices, 3 for one on volumes.
    """
    ingredients = [_content(dataset), _library()]
    preprocessed = _preprocessed(dataset, profile, dimensions, ingredients)
    settings = _settings(profile.model_epochs, profile, seed, fold, number_of_folds)
    cases = fold_of(preprocessed, settings)
    run = kept(
        "model",
        [ingredients, preprocessed.plan.to_json(), asdict(settings), asdict(cases)],
        lambda folder: train(preprocessed, folder, settings),
    )
    return TrainedModel(preprocessed, cases, Plan.load(run / "plan.json"), run)


def cross_validated_model(
    dataset: Dataset, profile: Profile, seed: int = 0, dimensions: int = 3
) -> Path:
    """The folder of a cross-validation of the dataset's training cases, kept as `trained_model` is.

    It has `profile.ensemble_folds` folds of `profile.ensemble_epochs` epochs each. `predict` takes
    the folder for all its folds.

    Args:
        dataset: its training cases are split into folds. Leave some out to test the ensemble.
        profile: says how many folds, how long to train each, and how large the network is.
        seed: of the folds, the first weights and every random draw.
        dimensions: 2 for networks on slices, 3 for networks on volumes.
    """
    ingredients = [_content(dataset), _library()]
    preprocessed = _preprocessed(dataset, profile, dimensions, ingredients)
    settings = _settings(profile.ensemble_epochs, profile, seed, 0, profile.ensemble_folds)
    folds = [
        asdict(fold_of(preprocessed, replace(settings, fold=fold)))
        for fold in range(profile.ensemble_folds)
    ]
    return kept(
        "folds",
        [ingredients, preprocessed.plan.to_json(), asdict(settings), folds],
        lambda folder: cross_validate(preprocessed, folder, settings),
    )


def _preprocessed(
    dataset: Dataset, profile: Profile, dimensions: int, ingredients: Any
) -> PreprocessedDataset:
    """Plan and preprocess once; the hash leaves out how many workers do it."""
    planner = PlannerSettings(
        dimensions=dimensions,
        memory_gigabytes=profile.memory_gigabytes,
        base_filters=profile.base_filters,
        small_steps=profile.small_steps,
    )

    def make(folder: Path) -> None:
        fingerprint, plan = plan_dataset(dataset, planner, profile.workers)
        preprocess(dataset, plan, folder, workers=profile.workers, fingerprint=fingerprint)

    folder = kept("preprocessed", [ingredients, asdict(planner)], make)
    return PreprocessedDataset.open(folder, dimensions)


def _settings(
    epochs: int, profile: Profile, seed: int, fold: int, number_of_folds: int
) -> TrainingSettings:
    """By steps and not by time, so that a busy machine trains the same model."""
    return TrainingSettings(
        fold=fold,
        number_of_folds=number_of_folds,
        epochs=epochs,
        steps_per_epoch=profile.steps_per_epoch,
        augmentation=AugmentationSettings(flip_probability=0.5),
        validation_interval=epochs,
        seed=seed,
    )


def _content(dataset: Dataset) -> list[Any]:
    """What the training cases hold, wherever they lie."""
    cases = [
        [case.identifier, [_digest_of(path) for path in (*case.images, case.label) if path]]
        for case in dataset.training
    ]
    return [dataset.name, dataset.channels, dataset.labels, cases]


def _library() -> list[Any]:
    """The source of every stage up to training, and the versions of what calculates."""
    sources.require_unchanged()
    root = sources.library()
    files = [[str(path.relative_to(root)), _digest_of(path)] for path in sources.stages(root)]
    return [files, list(_versions())]


def _versions() -> Iterator[str]:
    for name in _CALCULATES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:  # DALI is for Linux only
            continue


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

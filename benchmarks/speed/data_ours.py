"""The work of the rows about data, done by this library, and by DALI as one would write it first.

Each function prepares the work and returns it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.speed import data_inputs as data
from benchmarks.speed import inputs
from benchmarks.speed.worker import After, Work
from nnunet_lib.datasets import LabelMap, Volume
from nnunet_lib.evaluation import dice, surface_scores
from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    Loader,
    LoaderSettings,
    training_batches,
)
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing import preprocess_case
from nnunet_lib.preprocessing.resampling import interpolation_matrix


def isotropic() -> Work:
    """Crop, normalise and resample an image and its label."""
    return _preprocessing(data.ISOTROPIC)


def anisotropic() -> Work:
    """The same with thick slices, which are resampled in plane."""
    return _preprocessing(data.ANISOTROPIC)


def _preprocessing(scan: data.Scan) -> Work:
    place = np.diag([*scan.spacing[::-1], 1.0]), scan.spacing
    arrays = data.case_of(scan.shape)
    image, label = Volume(arrays[0][..., np.newaxis], *place), LabelMap(arrays[1], *place)
    plan = Plan(
        dataset="pairs",
        dimensions=3,
        channels=("MRI",),
        labels=("background", "organ", "core"),
        axis_order=(0, 1, 2),
        target_spacing=scan.target,
        normalisation=(Normalisation("z_score"),),
        patch_size=(8, 8, 8),
        batch_size=2,
        strides=((1, 1, 1),),
        kernels=((3, 3, 3),),
        filters=(8,),
    )
    return After(_forget_matrices, lambda: preprocess_case(image, plan, label))


def _forget_matrices() -> None:
    """Those of the case before: the next one seldom has its size."""
    interpolation_matrix.cache_clear()


def augmentation() -> Work:
    """Patches from files to TensorFlow, through DALI, with NVIDIA's list."""
    return _drawing("dali", data.NVIDIA)


def augmentation_twin() -> Work:
    """The same without DALI."""
    return _drawing("tf", data.NVIDIA)


def nnunet_augmentation() -> Work:
    """Patches from files to TensorFlow, through DALI, with nnU-Net's list."""
    return _drawing("dali", data.NNUNET)


def nnunet_augmentation_twin() -> Work:
    """The same without DALI."""
    return _drawing("tf", data.NNUNET)


def _drawing(loader: Loader, transforms: AugmentationSettings) -> Work:
    batches = _batches(data.PATCH, loader, transforms)
    return data.drawing(lambda: next(batches)[0])


def _batches(
    patch: tuple[int, ...],
    loader: Loader = "dali",
    transforms: AugmentationSettings = data.NVIDIA,
) -> Iterator[Any]:
    cases = [CaseFiles(*files) for files in data.write_cases()]
    settings = LoaderSettings(
        batch_size=inputs.BATCH,
        patch_size=patch,
        foreground_oversampling=data.FOREGROUND,
        augmentation=transforms,
    )
    return iter(training_batches(cases, settings, loader=loader))


def augmentation_naive() -> Work:
    """Patches from files through DALI, every branch of every choice of NVIDIA's list computed."""
    from benchmarks.speed.naive_dali import patches

    pipeline = patches(data.write_cases())
    return data.drawing(lambda: pipeline.run()[0])


def loading_wait() -> Work:
    """Steps of training, and in the note what they wait for their batches: a share of the time."""
    from benchmarks.speed.ours import PLAN

    return _waiting_for("dali", PLAN)


def loading_wait_quick(loader: Loader) -> Work:
    """The same with quicker steps."""
    from benchmarks.speed.ours import PLAN

    plan = replace(PLAN, patch_size=inputs.QUICK_PATCH, filters=inputs.QUICK_FILTERS)
    return _waiting_for(loader, plan)


def _waiting_for(loader: Loader, plan: Plan) -> Work:
    from nnunet_lib.model import build_unet
    from nnunet_lib.training import TrainingSettings
    from nnunet_lib.training.optimisers import make_optimiser
    from nnunet_lib.training.step import make_step

    settings = TrainingSettings()
    step = make_step(build_unet(plan), make_optimiser(settings), plan, settings)
    batches = _batches(plan.patch_size, loader, settings.augmentation)

    def steps(number: int) -> str:
        waited = worked = 0.0
        for _ in range(number):
            began = time.perf_counter()
            batch = next(batches)
            waited += (there := time.perf_counter()) - began
            step(*batch).numpy()
            worked += time.perf_counter() - there
        return f"{waited / (waited + worked):.2%} of a step"

    return After(lambda: steps(data.READY), lambda: steps(data.STEPS))


def overlap() -> Work:
    """Dice of two masks."""
    predicted, true = (array.astype(bool) for array in data.predicted_and_true())
    return lambda: dice(predicted, true)


def overlap_of_labels() -> Work:
    """Dice of a class of two label maps."""
    predicted, true = data.predicted_and_true()
    return lambda: dice(predicted, true)


def surfaces() -> Work:
    """HD95 of two maps, with the mean distance and surface Dice that come with it."""
    predicted, true = data.predicted_and_true()
    return lambda: surface_scores(predicted, true, (1.0, 1.0, 1.0))


def import_library() -> Work:
    """A fresh Python that imports the library."""
    return lambda: _python("-c", "import nnunet_lib")


def command_help() -> Work:
    """A fresh Python that lists the commands."""
    return lambda: _python("-m", "nnunet_lib", "--help")


def bare_python() -> Work:
    """A fresh Python that does nothing."""
    return lambda: _python("-c", "pass")


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

"""The twin against DALI: it draws from the same distributions, and does without DALI.

What each loader does by itself, test_pipelines.py and test_batches.py hold for both.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest
from scipy import ndimage, stats

from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    Loader,
    LoaderSettings,
    training_batches,
    twin,
)
from nnunet_lib.loading.twin import stack
from nnunet_lib.parallel import ONE_THREAD

OFF = AugmentationSettings(
    zoom_probability=0.0,
    rotation_probability=0.0,
    flip_probability=0.0,
    noise_probability=0.0,
    blur_probability=0.0,
    brightness_probability=0.0,
    contrast_probability=0.0,
    low_resolution_probability=0.0,
    gamma_probability=0.0,
)
PATCH = (9, 9, 9)
SHAPE = (16, 17, 18)
BATCH = 100
LEAST_CHANCE = 1e-3
"""Two samples less likely than this to come from one distribution count as different."""

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> CaseFiles:
    """Channels z, y, x and a smooth texture; two labelled cubes in a corner and one voxel."""
    folder = tmp_path_factory.mktemp("scene")
    case = CaseFiles(folder / "image.npy", folder / "label.npy")
    noise = np.random.default_rng(0).normal(size=SHAPE)
    texture = 3 * ndimage.gaussian_filter(noise, 1)
    np.save(case.image, np.stack([*np.indices(SHAPE), texture], axis=-1).astype(np.float32))
    label = np.zeros((*SHAPE, 1), np.uint8)
    label[:3, :3, :3] = label[5:7, 5:7, 5:7] = 1
    label[14, 3, 16] = 2
    np.save(case.label, label)
    return case


def test_a_script_that_keeps_an_iterator_comes_to_its_end(scene: CaseFiles) -> None:
    """TensorFlow's threads are in Python when the script ends: TensorFlow would wait for ever."""
    program = f"""
from pathlib import Path
from nnunet_lib.loading import CaseFiles, LoaderSettings, training_batches

case = CaseFiles(Path({str(scene.image)!r}), Path({str(scene.label)!r}))
settings = LoaderSettings(batch_size=50, patch_size=(9, 9, 9), threads=4)
batches = iter(training_batches([case], settings, loader="tf"))
next(batches)
print("done")
"""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == "done\n"
        assert done.returncode == 0


def labelled(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a patch shows class 1, and class 2."""
    return np.stack([(labels == value).any(axis=(1, 2, 3)) for value in (1, 2)])


def anchors(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where a patch starts, on each axis."""
    return images[:, 0, 0, 0, :3].T


def steps(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much z, y and x change from voxel to voxel, along each axis."""
    middle = images[:, 4:6, 4:6, 4:6, :3]
    along = [np.diff(middle, axis=axis)[:, 0, 0, 0] for axis in (1, 2, 3)]
    return np.concatenate(along, axis=-1).T


def roughness(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much the texture changes from voxel to voxel, as a share of its deviation."""
    texture = images[..., 3]
    return (np.diff(texture, axis=1).std(axis=(1, 2, 3)) / texture.std(axis=(1, 2, 3)))[None]


def departures(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far z lies from a straight line, because of noise."""
    return np.diff(images[..., 0], n=2, axis=1).std(axis=(1, 2, 3))[None]


def slopes(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much z rises at the patch's centre."""
    return (images[:, 5, 4, 4, 0] - images[:, 4, 4, 4, 0])[None]


def curvature(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """By how much z, and y, rise faster in a patch's first half than in its second."""
    lines = images[:, :, 4, 4, 0], images[:, 4, :, 4, 1]
    return np.stack([2 * line[:, 4] - line[:, 0] - line[:, 8] for line in lines])


@dataclass(frozen=True)
class Comparison:
    """What to draw, what to measure, and a fault of one loader that must be seen."""

    drawn: dict[str, Any]
    measure: Measure
    fault: dict[str, Any]
    oversampling: float = 0.0
    faulty_oversampling: float = 0.0
    patches: int = 600


COMPARISONS = {
    "foreground share": Comparison({}, labelled, {}, 0.33, 0.5, patches=2000),
    "crops": Comparison({}, anchors, {}, 1.0, 0.5),
    "how often zoomed": Comparison({"zoom_probability": 0.15}, steps, {"zoom_probability": 0.3}),
    "zoom": Comparison({"zoom_probability": 1.0}, steps, {"zoom_scale": (0.6, 1.0)}),
    "rotation": Comparison({"rotation_probability": 1.0}, steps, {"rotation_limit": 22.0}),
    "flips": Comparison({"flip_probability": 0.5}, steps, {"flip_probability": 0.4}, patches=1000),
    "noise": Comparison(
        {"noise_probability": 1.0}, departures, {"noise_standard_deviation": (0.0, 0.4)}
    ),
    "blur": Comparison({"blur_probability": 1.0}, roughness, {"blur_sigma": (0.5, 2.0)}),
    "noise, then blur": Comparison(
        {
            "noise_probability": 1.0,
            "noise_standard_deviation": (0.3, 0.3),
            "blur_probability": 1.0,
            "blur_sigma": (1.0, 1.0),
        },
        departures,
        {"noise_standard_deviation": (0.25, 0.25)},
    ),
    "brightness": Comparison(
        {"brightness_probability": 1.0}, slopes, {"brightness_factor": (0.7, 1.5)}
    ),
    "contrast": Comparison({"contrast_probability": 1.0}, slopes, {"contrast_factor": (0.65, 1.3)}),
    "low resolution": Comparison(
        {"low_resolution_probability": 1.0}, roughness, {"low_resolution_scale": (0.3, 1.0)}
    ),
    "gamma": Comparison({"gamma_probability": 1.0}, curvature, {"gamma_exponent": (0.5, 1.3)}),
    "inverted gamma": Comparison(
        {"inverted_gamma_probability": 0.5}, curvature, {"inverted_gamma_probability": 0.7}
    ),
}


def samples(
    scene: CaseFiles, loader: Loader, comparison: Comparison, faulty: bool = False
) -> np.ndarray:
    """What a loader's patches measure: (quantities, patches)."""
    changes = {**comparison.drawn, **(comparison.fault if faulty else {})}
    aimed = comparison.faulty_oversampling if faulty else comparison.oversampling
    settings = LoaderSettings(
        batch_size=BATCH,
        patch_size=PATCH,
        foreground_oversampling=aimed,
        augmentation=replace(OFF, **changes),
    )
    batches = training_batches([scene], settings, loader=loader).take(comparison.patches // BATCH)
    images, labels = map(np.concatenate, zip(*batches.as_numpy_iterator(), strict=True))
    measured = comparison.measure(images, labels[..., 0]).astype(float)
    return np.round(measured, 3)  # so that what is not changed is equal in both


def chances(one: np.ndarray, other: np.ndarray) -> list[float]:
    """For each quantity, how likely two samples of one distribution lie so far apart or farther.

    Kolmogorov and Smirnov's test: it sees another share as well as another range.
    """
    return [stats.ks_2samp(*pair, method="asymp").pvalue for pair in zip(one, other, strict=True)]


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_twin_draws_as_dali_does_and_a_fault_would_be_seen(scene: CaseFiles, name: str) -> None:
    dali, twin = (samples(scene, loader, COMPARISONS[name]) for loader in get_args(Loader))
    faulty = samples(scene, "tf", COMPARISONS[name], faulty=True)
    assert min(chances(dali, twin)) > LEAST_CHANCE
    assert min(chances(dali, faulty)) < LEAST_CHANCE


TRAIN_WITHOUT_DALI = """
import sys; sys.modules["nvidia"] = None
from pathlib import Path
from nnunet_lib.loading import CaseFiles, LoaderSettings, training_batches
case = CaseFiles(Path(sys.argv[1]), Path(sys.argv[2]))
batches = training_batches([case], LoaderSettings(2, (4, 5, 6)), loader="tf")
print(next(iter(batches))[0].shape)
"""


@pytest.mark.slow
def test_the_twin_needs_no_dali(scene: CaseFiles) -> None:
    command = [sys.executable, "-c", TRAIN_WITHOUT_DALI, str(scene.image), str(scene.label)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "(2, 4, 5, 6, 4)" in printed


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_batch_begins_where_tensorflow_need_not_copy_it(dtype: type[np.generic]) -> None:
    for size in range(1, 40):
        arrays = [np.full((size, 3), number, dtype) for number in range(3)]
        batch = stack([arrays[0], arrays[1], arrays[2][::-1]])
        assert batch.ctypes.data % 64 == 0
        assert batch.flags.c_contiguous
        np.testing.assert_array_equal(batch, np.stack(arrays), strict=True)


def test_no_thread_parses_a_header(scene: CaseFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a thread of the loader parsed a header")

    settings = LoaderSettings(batch_size=2, patch_size=PATCH)
    training = training_batches([scene], settings, loader="tf")
    monkeypatch.setattr(np, "load", parse)
    assert next(iter(training))[0].shape == (2, *PATCH, 4)


def test_a_patch_is_drawn_with_one_thread_for_linear_algebra(
    scene: CaseFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, draw = [], twin.training_patch

    def noted(*arguments: Any) -> Any:
        inside.append(ONE_THREAD._inside)
        return draw(*arguments)

    monkeypatch.setattr(twin, "training_patch", noted)
    batches = training_batches([scene], LoaderSettings(2, PATCH), loader="tf")
    next(batches.take(1).as_numpy_iterator())
    assert min(inside) > 0

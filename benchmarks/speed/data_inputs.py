"""What both sides of the rows about data are given: see `inputs`.

From NumPy alone, and from this library's settings, which need no more: so both sides read the
list of transforms from the same object.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import inputs
from benchmarks.speed.worker import After, Work
from nnunet_lib.files import replacing
from nnunet_lib.loading import AugmentationSettings

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Scan:
    """A scan to preprocess: its voxels and millimetres, and those that it is resampled to."""

    shape: Shape
    spacing: Spacing
    target: Spacing


ISOTROPIC = Scan((96, 128, 112), (1.0, 1.0, 1.0), (1.25, 1.25, 1.25))
ANISOTROPIC = Scan((20, 128, 128), (4.0, 0.8, 0.8), (4.0, 1.0, 1.0))

MAPS = (96, 128, 128)
FOLDER = Path("build/benchmarks")
CASES = 8
STEPS = 32
"""Of training, in which is counted what they wait for their batches: after `READY` others."""
PATCH = (64, 96, 80)
READY = 32
"""Batches that are drawn before each turn and not measured: more than any side has ready. DALI
draws 8 of them at once, and up to three such parts lie ready after a pause."""
DRAWN = 80
"""Batches a turn, which all sides then make as fast as they can."""

FOREGROUND = 1 / 3

NVIDIA = AugmentationSettings.nvidia()
NNUNET = AugmentationSettings(
    zoom_probability=0.2,
    rotation_probability=0.2,
    flip_probability=0.5,
    noise_probability=0.1,
    noise_standard_deviation=(0.0, 0.1),
    blur_probability=0.2,
    blur_sigma=(0.5, 1.0),
    brightness_factor=(0.75, 1.25),
    contrast_factor=(0.75, 1.25),
    low_resolution_probability=0.25,
    inverted_gamma_probability=0.1,
    gamma_probability=0.3,
)


def in_words(settings: AugmentationSettings) -> str:
    """A list of transforms, each with its probability and what it draws from."""
    both = (settings.low_resolution_probability, settings.low_resolution_channel_probability)
    changes = {
        "zoom into a share of the patch": (settings.zoom_probability, settings.zoom_scale),
        "rotation": (settings.rotation_probability, f"{settings.rotation_limit:g} degrees an axis"),
        "mirror": (settings.flip_probability, "an axis"),
        "noise": (settings.noise_probability, settings.noise_standard_deviation),
        "blur": (settings.blur_probability, settings.blur_sigma),
        "brightness": (settings.brightness_probability, settings.brightness_factor),
        "contrast in range": (settings.contrast_probability, settings.contrast_factor),
        "low resolution": (both[0] * both[1], settings.low_resolution_scale),
        "inverted gamma": (settings.inverted_gamma_probability, settings.gamma_exponent),
        "gamma": (settings.gamma_probability, settings.gamma_exponent),
    }
    said = [f"{name} ({often:g}; {how})" for name, (often, how) in changes.items() if often]
    return "; ".join(
        [
            f"{DRAWN} batches of {inputs.BATCH} patches of {'x'.join(map(str, PATCH))}, image and "
            f"label, from cases of {'x'.join(map(str, ISOTROPIC.shape))}, a third at foreground",
            *said,
        ]
    )


def drawing(draw: Work) -> Work:
    """Draw a turn's batches, when those that lay ready are used up."""
    return After(lambda: _repeat(draw, READY), lambda: _repeat(draw, DRAWN))


def _repeat(draw: Work, times: int) -> Any:
    """What is drawn last."""
    for _ in range(times - 1):
        draw()
    return draw()


def scan_of(shape: Shape, seed: int = 0) -> np.ndarray:
    """Positive tissue in an ellipsoid, zero around it: (z, y, x) float32."""
    z, y, x = _coordinates(shape)
    texture = np.sin(9 * z + seed) + np.sin(7 * y * x) + np.cos(11 * x) + 5
    noisy = 100 * texture + 10 * inputs.noise(*shape, seed=seed)
    return np.where(z**2 + y**2 + x**2 < 1, noisy, 0).astype(np.float32)


def label_of(shape: Shape, shift: float = 0.1) -> np.ndarray:
    """Two structures, one inside the other: (z, y, x) uint8."""
    z, y, x = _coordinates(shape)
    distance = (z - shift) ** 2 + (y + shift) ** 2 + x**2
    return (distance < 0.16).astype(np.uint8) + (distance < 0.05)


def case_of(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Image and label (z, y, x): the real scan if there is one, else one of that shape."""
    return inputs.real_scan() or (scan_of(shape), label_of(shape))


def predicted_and_true() -> tuple[np.ndarray, np.ndarray]:
    """Two masks of one organ with rough surfaces, some voxels apart: (z, y, x) uint8.

    On a real scan: the true organ, and the same a voxel further along each axis.
    """
    if real := inputs.real_scan():
        organ = (real[1] > 0).astype(np.uint8)
        return np.roll(organ, (1, 1, 1), (0, 1, 2)), organ
    z, y, x = _coordinates(MAPS)
    waves = 0.03 * (np.sin(20 * z) + np.sin(17 * y) + np.sin(23 * x))
    first = (z - 0.03) ** 2 + y**2 + x**2 + waves < 0.3
    second = z**2 + (y - 0.02) ** 2 + x**2 < 0.3
    return first.astype(np.uint8), second.astype(np.uint8)


def write_cases() -> list[tuple[Path, Path]]:
    """Normalised cases to draw patches from, as preprocessing writes them."""
    files = []
    for number in range(CASES):
        image = scan_of(ISOTROPIC.shape, number)
        image = (image - image.mean()) / image.std()
        label = label_of(ISOTROPIC.shape, 0.02 * number)
        pair = FOLDER / f"{number}_image.npy", FOLDER / f"{number}_label.npy"
        for path, array in zip(pair, (image, label), strict=True):
            with replacing(path) as temporary:  # another side may have the last one's mapped
                np.save(temporary, array[..., np.newaxis])
        files.append(pair)
    return files


def _coordinates(shape: Shape) -> list[np.ndarray]:
    """-1 to 1 along each axis."""
    return np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")

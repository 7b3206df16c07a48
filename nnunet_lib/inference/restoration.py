"""From the network's grid back to the scan's own. Taught in lesson 10.

Preprocessing cropped, put the coarsest axis first, resampled and perhaps padded. Each step is
undone in the opposite order; every margin comes from the same `Geometry`, so that none can be
measured on another grid than the one it is used on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import starmap

import numpy as np

from nnunet_lib.datasets import box_slices
from nnunet_lib.inference.ensemble import mean_of
from nnunet_lib.preprocessing import Geometry, resample_argmax, resample_logits


@dataclass(frozen=True)
class Prediction:
    """What was predicted for one case, on the grid of its image.

    Attributes:
        labels: (z, y, x) uint8.
        probabilities: (z, y, x, class) float32, None if they were not asked for.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None


def restore(logits: np.ndarray, geometry: Geometry, probabilities: bool = False) -> Prediction:
    """Bring the logits of a preprocessed case back to its original grid.

    Args:
        logits: (*shape, class) float32, in plan order, on the preprocessed grid.
        geometry: what preprocessing did to the case.
        probabilities: whether to restore them as well.

    Raises:
        ValueError: if the logits do not lie on the preprocessed grid.
    """
    if not probabilities:
        return Prediction(restore_labels(logits, geometry))
    return Prediction(restore_labels(logits, geometry), restore_probabilities(logits, geometry))


def restore_mean(
    answers: Iterator[tuple[np.ndarray, Geometry]], probabilities: bool = False
) -> Prediction:
    """Average several configurations on the grid of their scan; the most probable class wins.

    Memory: the probabilities of two configurations at a time, in float32.

    Args:
        answers: each configuration's logits (*shape, class) float32, on the grid of its own
            preprocessing, and what that did to the case.
        probabilities: whether to return the mean probabilities as well.
    """
    mean = mean_of(starmap(restore_probabilities, answers))  # (z, y, x, class)
    labels = np.stack([plane.argmax(axis=-1).astype(np.uint8) for plane in mean])  # (z, y, x)
    return Prediction(labels, mean if probabilities else None)


def restore_labels(logits: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The class with the largest resampled logit: (z, y, x) uint8, background outside the crop.

    Logits (*shape, class) are interpolated, not labels: between two classes the boundary then
    falls where they are equal, inside a voxel, and not where a voxel ends. A few
    planes are resampled at a time, which spares the memory of all logits on a fine grid.
    """
    labels = resample_argmax(_without_padding(logits, geometry), *_crop_grid(geometry))
    restored = np.zeros(geometry.original_shape, np.uint8)  # (z, y, x)
    restored[box_slices(geometry.box)] = _spatial_order(labels, geometry)
    return restored


def restore_probabilities(logits: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Softmax of the resampled logits: (z, y, x, class) float32, sums of 1.

    Outside the crop, where the network saw nothing, the background has probability 1.
    """
    cropped = resample_logits(_without_padding(logits, geometry), *_crop_grid(geometry))
    restored = np.zeros((*geometry.original_shape, logits.shape[-1]), np.float32)
    restored[..., 0] = 1
    restored[box_slices(geometry.box)] = _spatial_order(_softmax(cropped), geometry)
    return restored


def _without_padding(logits: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Cut off what preprocessing padded: (*resampled_shape, class), a view."""
    if logits.shape[:-1] != geometry.shape:
        raise ValueError(
            f"Logits {logits.shape} do not lie on the preprocessed grid {geometry.shape}."
        )
    return geometry.unpad(logits)


def _crop_grid(
    geometry: Geometry,
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """What resampling back needs: shape of the crop, spacing before, spacing after."""
    return geometry.cropped_shape, geometry.resampled_spacing, geometry.cropped_spacing


def _spatial_order(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Plan order back to (z, y, x); a trailing class axis stays where it is. A view."""
    back = np.argsort(geometry.axis_order)
    return array.transpose(*back, *range(3, array.ndim))


def _softmax(logits: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis, in place; the maximum is subtracted first."""
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=-1, keepdims=True)
    return logits

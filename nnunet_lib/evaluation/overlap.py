"""Dice of hard label maps. Taught in lesson 05."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nnunet_lib.errors import require_choice

EmptyAs = Literal["undefined", "one"]
"""What Dice is where neither map has the class: undefined (nnU-Net), or 1 (NVIDIA)."""

_PART = 2**18
"""Voxels compared at a time: few enough for the masks of both maps to stay in the cache."""


@dataclass(frozen=True)
class Overlap:
    """Voxels of one class: in the prediction, in the truth, and in both."""

    prediction: int
    truth: int
    both: int


def overlap_of(prediction: npt.NDArray[Any], truth: npt.NDArray[Any], label: int) -> Overlap:
    """Count the voxels of one class in two label maps of the same shape.

    Comparing and counting bytes runs at the speed of memory, a part at a time without asking for
    more of it; a joint histogram of both maps (`numpy.bincount`) takes several times longer for the
    few classes of a segmentation. A part in which one map lacks the class has no overlap to count.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"The maps differ in shape: {prediction.shape} and {truth.shape}.")
    predictions, truths = prediction.ravel(), truth.ravel()
    masks = np.empty((2, min(_PART, predictions.size)), bool)
    predicted = true = both = 0
    for start in range(0, predictions.size, _PART):
        part = slice(start, start + _PART)
        buffers = masks[:, : len(predictions[part])]
        one = _mask(predictions[part], label, buffers[0])  # (voxel,)
        other = _mask(truths[part], label, buffers[1])
        here, there = np.count_nonzero(one), np.count_nonzero(other)
        predicted, true = predicted + here, true + there
        if here and there:
            both += np.count_nonzero(np.logical_and(one, other, out=buffers[0]))
    return Overlap(predicted, true, both)


def _mask(labels: npt.NDArray[Any], label: int, buffer: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Where the labels (voxel,) have the class; a mask is that itself, and is not copied."""
    if labels.dtype == bool:
        if label == 1:
            return labels
        labels = labels.view(np.uint8)
    return np.equal(labels, label, out=buffer)


def dice_of(overlap: Overlap, empty_as: EmptyAs = "undefined") -> float | None:
    """Dice = 2 |P ∩ T| / (|P| + |T|), in float64; None where it is undefined (0 / 0).

    Raises:
        InputError: if `empty_as` is neither word.
    """
    require_choice("empty_as", empty_as, EmptyAs)
    voxels = overlap.prediction + overlap.truth
    if voxels == 0:
        return 1.0 if empty_as == "one" else None
    return 2 * overlap.both / voxels


def dice(
    prediction: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    label: int = 1,
    empty_as: EmptyAs = "undefined",
) -> float | None:
    """Dice of one class of two label maps.

    Args:
        prediction: label map, such as (z, y, x).
        truth: label map of the same shape.
        label: the class's value.
        empty_as: what to return where neither map has the class: `undefined` gives None, to be
            left out of means; `one` gives 1, NVIDIA's convention.

    Raises:
        InputError: if `empty_as` is neither word.
        ValueError: if the shapes differ.
    """
    return dice_of(overlap_of(prediction, truth, label), empty_as)

"""Dice of hard label maps. Taught in lesson 05."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
    predictions, truths = _flat(prediction), _flat(truth)
    masks = np.empty((2, min(_PART, predictions.size)), bool)
    predicted = true = both = 0
    for start in range(0, predictions.size, _PART):
        part = slice(start, start + _PART)
        one, other = masks[:, : len(predictions[part])]  # (voxel,) each
        here = np.count_nonzero(np.equal(predictions[part], label, out=one))
        there = np.count_nonzero(np.equal(truths[part], label, out=other))
        predicted, true = predicted + here, true + there
        if here and there:
            both += np.count_nonzero(np.logical_and(one, other, out=one))
    return Overlap(predicted, true, both)


def _flat(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """All voxels in a row; a mask as the label map that it is, for which comparing is quicker."""
    return (labels.view(np.uint8) if labels.dtype == bool else labels).ravel()


def dice_of(overlap: Overlap, empty_as: EmptyAs = "undefined") -> float | None:
    """Dice = 2 |P ∩ T| / (|P| + |T|), in float64; None where it is undefined (0 / 0)."""
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
        ValueError: if the shapes differ.
    """
    return dice_of(overlap_of(prediction, truth, label), empty_as)

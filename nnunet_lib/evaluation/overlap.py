"""Dice of hard label maps. Taught in lesson 05."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

EmptyAs = Literal["undefined", "one"]
"""What Dice is where neither map has the class: undefined (nnU-Net), or 1 (NVIDIA)."""

_PART = 2**17
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
    any; a joint histogram of both maps (`numpy.bincount`) takes several times longer for the few
    classes of a segmentation.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"The maps differ in shape: {prediction.shape} and {truth.shape}.")
    counts = np.zeros(3, np.int64)
    for predicted, true in zip(_parts(prediction), _parts(truth), strict=True):
        one, other = predicted == label, true == label  # bool, (voxel,)
        counts += (np.count_nonzero(one), np.count_nonzero(other), np.count_nonzero(one & other))
    return Overlap(*counts.tolist())


def _parts(labels: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """A map in flat parts; a mask as the label map that it is, for which comparing is quicker."""
    labels = labels.view(np.uint8) if labels.dtype == bool else labels
    return np.array_split(labels.ravel(), labels.size // _PART + 1)


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

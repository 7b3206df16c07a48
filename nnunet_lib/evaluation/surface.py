"""How far two surfaces lie apart, in millimetres. Taught in lesson 05.

Conventions, on which libraries differ:

- The surface of a mask is its voxels with a face that touches the outside: the mask without its
  erosion by the 6 face neighbours. What lies beyond the image counts as outside.
- A surface voxel's distance is the one from its centre to the nearest centre on the other surface.
- HD95 is the larger of the two directed 95th percentiles (as in MONAI). MedPy takes the percentile
  of both directions' distances together.
- The average symmetric surface distance (ASSD) is the mean over both directions together (MedPy).
- Normalised surface Dice is the share of both surfaces' voxels that lie within a tolerance of the
  other surface (Nikolov et al., arXiv:1809.04430), counted in voxels (as in MONAI) where the
  authors' `surface-distance` weighs by area.
- The axes count as perpendicular. Those of a CT with a tilted gantry are not, and its distances can
  be off by a tenth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from nnunet_lib.datasets.cropping import bounding_box, box_slices
from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.evaluation.overlap import EmptyAs, Overlap, dice_of

TOLERANCE = 1.0
"""Millimetres: about a voxel of most scans, so within it is as good as the grid can tell.

A study should set its own, the distance by which experts differ on the organ in question.
"""

_ROUNDING = 1e-5
"""Millimetres that spacings stored as float32 may add to a distance that equals the tolerance."""


@dataclass(frozen=True)
class SurfaceScores:
    """How two surfaces of one class agree.

    Attributes:
        hd95_mm: 95th percentile of the Hausdorff distance; None unless both maps have the class,
            because a surface that is not there is at no distance.
        assd_mm: average symmetric surface distance; None as above.
        surface_dice: 0 where only one map has the class, None where neither has.
    """

    hd95_mm: float | None
    assd_mm: float | None
    surface_dice: float | None


def surface_scores(
    prediction: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    spacing: Sequence[float],
    label: int = 1,
    tolerance: float = TOLERANCE,
    empty_as: EmptyAs = "undefined",
) -> SurfaceScores:
    """Compare the surfaces of one class in two label maps.

    Axes of one voxel do not count: in an image of one slice each voxel would have a face that
    touches the outside, and all of an object would be its surface.

    Args:
        prediction: label map, such as (z, y, x).
        truth: label map of the same shape.
        spacing: distance of neighbouring voxels along each axis, in millimetres.
        label: the class's value.
        tolerance: of the surface Dice, in millimetres; a distance that equals it is within.
        empty_as: what surface Dice is where neither map has the class, as for `dice`.

    Raises:
        InputError: if a spacing, the tolerance or `empty_as` is impossible.
        ValueError: if the shapes differ, or `spacing` has another number of axes.
    """
    require_choice("empty_as", empty_as, EmptyAs)
    require_tolerance(tolerance)
    if not all(0 < step < math.inf for step in spacing):
        raise InputError(f"The spacing is {tuple(spacing)} mm; give numbers above 0.")
    if prediction.shape != truth.shape or len(spacing) != truth.ndim:
        shapes = f"{prediction.shape}, {truth.shape} and {len(spacing)} spacings"
        raise ValueError(f"The maps and the spacing differ in shape: {shapes}.")
    axes = [axis for axis, size in enumerate(truth.shape) if size > 1] or [0]
    shape, steps = [truth.shape[axis] for axis in axes], [spacing[axis] for axis in axes]
    predicted, true = (np.reshape(array == label, shape) for array in (prediction, truth))
    box = box_slices(bounding_box(predicted | true))
    one, other = surface_of(predicted[box]), surface_of(true[box])
    if not (one.any() and other.any()):
        overlap = Overlap(np.count_nonzero(one), np.count_nonzero(other), 0)
        return SurfaceScores(None, None, dice_of(overlap, empty_as))
    there, back = _distances(one, other, steps), _distances(other, one, steps)
    both = np.concatenate([there, back])
    return SurfaceScores(
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd_mm=float(both.mean()),
        surface_dice=float(np.mean(both <= tolerance + _ROUNDING)),
    )


def require_tolerance(tolerance: float) -> None:
    """Refuse a tolerance, in millimetres, that is no distance.

    Raises:
        InputError: if it is below 0 or not finite.
    """
    if not 0 <= tolerance < math.inf:
        raise InputError(f"The tolerance is {tolerance} mm; give 0 or more.")


def surface_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The voxels of a mask with a face that touches the outside.

    Shifted views do here what `scipy.ndimage.binary_erosion` does in several times the time.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        along, result = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)  # views
        result[1:] &= along[:-1]
        result[:-1] &= along[1:]
        result[[0, -1]] = False  # beyond the image is outside
    return mask & ~inner


def _distances(
    start: npt.NDArray[np.bool_], goal: npt.NDArray[np.bool_], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """From each voxel of one surface to the nearest of the other, in millimetres.

    A tree of the surface's voxels is quicker than a distance transform of the whole box, and
    surfaces have many voxels in common, which need no search.
    """
    distances = np.zeros(np.count_nonzero(start))  # (voxel,)
    apart = ~goal[start]
    tree = KDTree(np.argwhere(goal) * spacing)  # (voxel, axis), mm
    distances[apart], _ = tree.query(np.argwhere(start & ~goal) * spacing)
    return distances

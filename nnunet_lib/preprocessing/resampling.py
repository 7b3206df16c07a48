"""From one grid of voxels to another, by axis-aligned splines.

Taught in lesson 02. Spline interpolation along an axis is linear in the values, so it is a
matrix (new size, old size), and a volume is resampled by three matrix products. The matrices
are sparse: a linear row has 2 entries, and a cubic one about 25 that float32 can tell from 0.
Voxels are cells: the outer faces of the volume stay where they are. Source: Isensee et al.,
Nature Methods 18 (2021), "resampling"; the interpolation itself: Unser, IEEE Signal Processing
Magazine 16(6) (1999).

Arrays here are in plan order or any other, with three spatial axes; spacings and shapes
are in the array's order.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
from scipy.ndimage import zoom
from scipy.sparse import csr_array, identity, kron

from nnunet_lib.parallel import cores

ANISOTROPY = 3.0
CUBIC, LINEAR = 3, 1

_NEGLIGIBLE = 1e-8
"""Share of a voxel that float32 loses when it is added to the rest of a row, which sums to 1."""

_FULL = 1 / 6
"""Share of entries from which on a matrix is quicker with its zeros: that of a line of up to about
150 voxels, if it is a cubic one's."""

_HAIR = 1e-9
"""What each label gives away to the one below it: more than rounding, so that ties are ties."""
_TIE = 1e-6
"""What the nearest voxel's label is given on top: more than 255 hairs, too little but for a tie."""

_PLANES = 4
"""Planes of the result that logits are resampled at a time: few, so that they stay in cache, and
that memory for them is used again, not asked of the system anew."""

_Side = tuple[np.ndarray, np.ndarray]
"""For each new voxel of an axis, an old one beside its centre, and that one's share."""


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, ...]:
    """Voxels an axis that cover the same millimetres at another spacing; at least 1."""
    triples = zip(shape, spacing, new_spacing, strict=True)
    # In this order of operations, as nnU-Net: a half is then rounded to the same side.
    return tuple(max(1, round(old / new * size)) for size, old, new in triples)


def separate_axis(spacing: Sequence[float], new_spacing: Sequence[float]) -> int | None:
    """The axis to resample apart from the others, by nearest neighbour, or None.

    That is the coarsest axis of whichever spacing comes first (old, then new) with one axis
    more than 3 times coarser than its finest, if only one axis is that coarse: interpolating
    across thick slices would invent tissue.
    """
    for candidate in (spacing, new_spacing):
        if max(candidate) > ANISOTROPY * min(candidate):
            coarsest = [axis for axis, size in enumerate(candidate) if size == max(candidate)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_image(
    image: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> np.ndarray:
    """Resample an image by cubic splines, each channel clipped to the range it had.

    Args:
        image: (a, b, c, channel) float32.
        shape: voxels of the result's three spatial axes.
        spacing: millimetres of `image`'s axes; with `new_spacing` it decides `separate_axis`.
        new_spacing: millimetres of the result's axes.

    Returns:
        (*shape, channel) float32.
    """
    if image.shape[:3] == tuple(shape):
        return image.astype(np.float32)
    separate = separate_axis(spacing, new_spacing)
    result = np.empty((*shape, image.shape[-1]), np.float32)
    for channel in range(image.shape[-1]):
        result[..., channel] = _resample_volume(image[..., channel], shape, separate)
    return result


def resample_logits(
    logits: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> np.ndarray:
    """Resample logits or probabilities (a, b, c, class) linearly: (*shape, class) float32.

    With a `separate_axis` each slice across it is resampled alone, and slices are repeated or
    left out along it. Memory: a few planes a core beside logits and result.
    """
    result = np.empty((*shape, logits.shape[-1]), np.float32)

    def keep(planes: slice, resampled: np.ndarray) -> None:
        result[planes] = resampled

    _resample_planes(logits, shape, separate_axis(spacing, new_spacing), keep)
    return result


def resample_labels(
    labels: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> np.ndarray:
    """Resample a label map (a, b, c) uint8: linearly for each label, and the largest wins.

    On a tie the label of the nearest voxel wins if it is one of the tied ones, and else the lowest
    of them. Ties are common: at half the resolution every boundary has some, and a rule that goes
    by the labels' values would let one of them grow. Only labels that occur in `labels` occur in
    the result.
    Where all voxels around agree there is nothing to weigh, so that arithmetic is spent on the
    borders between labels alone, however many labels there are.
    """
    if labels.shape == tuple(shape):
        return labels.copy()
    separate = separate_axis(spacing, new_spacing)
    lowest = highest = labels
    sides = []
    for axis, (size, new_size) in enumerate(zip(labels.shape, shape, strict=True)):
        sides.append(_sides(size, new_size, nearest=axis == separate))
        (left, _), (right, _) = sides[axis]
        lowest = np.minimum(lowest.take(left, axis), lowest.take(right, axis))
        highest = np.maximum(highest.take(left, axis), highest.take(right, axis))
    # Three times (voxel,). To look for them in a row takes half of numpy.nonzero's time.
    border = np.unravel_index(np.flatnonzero(lowest != highest), lowest.shape)
    places = map(nearest_voxels, labels.shape, shape)
    nearest = labels[tuple(old[new] for old, new in zip(places, border, strict=True))]  # (voxel,)
    lowest[border] = _heaviest(labels, sides, border, nearest)
    return lowest  # (*shape)


def _sides(size: int, new_size: int, nearest: bool) -> tuple[_Side, _Side]:
    """The old voxels on either side of each new voxel's centre, with their linear shares."""
    if nearest:
        voxels, whole = nearest_voxels(size, new_size), np.ones(new_size)
        return (voxels, whole), (voxels, 0 * whole)
    centres = ((np.arange(new_size) + 0.5) * (size / new_size) - 0.5).clip(0, size - 1)
    left = np.floor(centres).astype(np.intp)
    share = centres - left
    return (left, 1 - share), (np.minimum(left + 1, size - 1), share)


def _heaviest(
    labels: np.ndarray,
    sides: Sequence[tuple[_Side, _Side]],
    voxels: tuple[np.ndarray, ...],
    nearest: np.ndarray,
) -> np.ndarray:
    """Of some new voxels (voxel,), the label with the largest share of the 8 voxels around.

    `nearest` (voxel,) is the label of the one that is nearest; it wins a tie.
    """
    corners = [list(zip(corner, voxels, strict=True)) for corner in product(*sides)]
    around = np.stack(
        [labels[tuple(places[at] for (places, _), at in corner)] for corner in corners]
    )  # (8, voxel)
    shares = np.stack([prod(share[at] for (_, share), at in corner) for corner in corners])
    totals = np.stack([np.sum(shares * (around == label), axis=0) for label in around])
    totals += (around == nearest) * _TIE
    winners = np.argmax(totals - around * _HAIR, axis=0)  # (voxel,)
    winning: np.ndarray = np.take_along_axis(around, winners[np.newaxis], axis=0)[0]
    return winning


def resample_argmax(
    logits: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> np.ndarray:
    """The class with the largest resampled logit: `resample_logits`, then argmax.

    Holds a few resampled planes a core, where `resample_logits` holds all of them. Takes
    logits (a, b, c, class) float32 with at most 256 classes and gives (*shape) uint8; the
    first of equal classes wins.
    """
    winners = np.empty(tuple(shape), np.uint8)

    def keep(planes: slice, resampled: np.ndarray) -> None:
        winners[planes] = resampled.argmax(axis=-1)

    _resample_planes(logits, shape, separate_axis(spacing, new_spacing), keep)
    return winners


def _resample_planes(
    logits: np.ndarray,
    shape: Sequence[int],
    separate: int | None,
    keep: Callable[[slice, np.ndarray], None],
) -> None:
    """Resample logits (a, b, c, class) in planes of the result, and hand each part to `keep`.

    It gets where they are, and their logits (n, *shape[1:], class), in a thread a core. Two old
    planes make a new one. So a few new planes need a few old ones, which are resampled within
    themselves first.
    """
    across, rows, columns = (
        _nearest_matrix(size, new_size)
        if axis == separate
        else interpolation_matrix(size, new_size, LINEAR)
        for axis, (size, new_size) in enumerate(zip(logits.shape[:3], shape, strict=True))
    )
    same = logits.shape[:3] == tuple(shape)
    classes = logits.shape[-1]
    spread = csr_array(kron(columns, identity(classes, np.float32)).T)  # (c·class, new c·class)

    def resample(first: int) -> None:
        planes = slice(first, first + _PLANES)
        keep(planes, logits[planes] if same else _mix(logits, across[planes], rows, spread))

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(resample, range(0, shape[0], _PLANES)))  # a list, to see its errors


def _mix(logits: np.ndarray, shares: csr_array, rows: csr_array, spread: csr_array) -> np.ndarray:
    """The n new planes whose shares (n, a) of the old ones are given: (n, new b, new c, class)."""
    needed = np.unique(shares.indices)
    old = (logits[plane].reshape(logits.shape[1], -1) for plane in needed)  # (b, c·class) each
    within = np.stack([(rows @ (plane @ spread)).ravel() for plane in old])
    mixed: np.ndarray = shares[:, needed] @ within  # (n, new b·new c·class)
    return mixed.reshape(len(mixed), rows.shape[0], -1, logits.shape[-1])


def _resample_volume(volume: np.ndarray, shape: Sequence[int], separate: int | None) -> np.ndarray:
    """(a, b, c) to `shape`; cubic splines overshoot, so the result is clipped to the old range.

    With a `separate` axis each slice across it keeps to its own range, and slices are
    repeated or left out along it.
    """
    axes = tuple(axis for axis in range(3) if axis != separate)
    lowest = volume.min(axis=axes, keepdims=True)
    highest = volume.max(axis=axes, keepdims=True)
    result = np.ascontiguousarray(volume, np.float32)
    for axis in sorted(axes, key=lambda axis: shape[axis] / volume.shape[axis]):
        result = _along_axis(result, axis, shape[axis])  # axes that shrink come first
    result = np.clip(result, lowest, highest)
    if separate is None:
        return result
    return result.take(nearest_voxels(volume.shape[separate], shape[separate]), axis=separate)


def _along_axis(volume: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Resample one axis of (a, b, c) to `size` by cubic splines, as matrix products.

    Axes 1 and 2 are resampled a slice at a time, which then stays in the processor's cache.
    """
    if volume.shape[axis] == size:
        return volume
    matrix: Any = interpolation_matrix(volume.shape[axis], size, CUBIC)  # (size, old size)
    if matrix.nnz > _FULL * prod(matrix.shape):
        matrix = matrix.toarray()
    shape = (*volume.shape[:axis], size, *volume.shape[axis + 1 :])
    if axis == 0:
        resampled: np.ndarray = matrix @ volume.reshape(volume.shape[0], -1)
        return resampled.reshape(shape)
    result = np.empty(shape, np.float32)
    for old, new in zip(volume, result, strict=True):  # (b, c) each
        new[:] = matrix @ old if axis == 1 else (matrix @ old.T).T
    return result


@lru_cache(maxsize=64)
def interpolation_matrix(size: int, new_size: int, order: int) -> csr_array:
    """The matrix (new_size, size), float32, that resamples `size` values to `new_size`.

    Its columns are what the spline makes of the unit vectors. Beyond the ends the edge value
    continues. Every row sums to 1. A cubic spline asks for all voxels of a line, but their shares
    fall by 3.7 a voxel: those that no sum in float32 would notice are left out. Read-only,
    because it is kept for the next case.
    """
    identity = np.eye(size)
    columns = zoom(identity, (new_size / size, 1), order=order, mode="nearest", grid_mode=True)
    columns[np.abs(columns) < _NEGLIGIBLE] = 0
    matrix = csr_array(columns.astype(np.float32))
    matrix.data.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def _nearest_matrix(size: int, new_size: int) -> csr_array:
    """`nearest_voxels` as a matrix (new_size, size), float32, with one 1 a row."""
    rows = np.arange(new_size)
    ones = np.ones(new_size, np.float32)
    return csr_array((ones, (rows, nearest_voxels(size, new_size))), shape=(new_size, size))


def nearest_voxels(size: int, new_size: int) -> np.ndarray:
    """For each of `new_size` voxels the index of the old voxel that holds its centre."""
    centres = (np.arange(new_size) + 0.5) * (size / new_size)  # in old voxels
    return np.floor(centres).astype(np.intp)

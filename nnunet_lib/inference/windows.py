"""Predict a whole case from overlapping patches. Taught in lesson 10.

A network sees one patch at a time. Windows are laid evenly over the image, neighbours overlap,
and where they do their logits are averaged with weights that trust a window's centre more than
its rim, because a voxel at the rim lacks context on one side.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from nnunet_lib.inference.settings import BlendMode
from nnunet_lib.preprocessing import padding_to

FloatArray = npt.NDArray[Any]
Window = tuple[slice, ...]
Network = Callable[[FloatArray], Any]
"""(n, *patch, channels) float32 -> logits (n, *patch, classes), an array or a tensor of the CPU."""
Progress = Callable[[int], object]
"""Called with the number of windows that were just finished, such as a progress bar's update."""

PLANES_AT_A_TIME = 8
"""Planes of a window that are weighted and added at once: few, so that they stay in cache."""
SIGMA = 1 / 8  # of the patch: Isensee et al. 2021, and NVIDIA's nnU-Net


@lru_cache(maxsize=32)
def bell(size: int, blend_mode: BlendMode = "gaussian") -> FloatArray:
    """The weights of `size` voxels along one axis of a window: float64 (size,), at most 1.

    `constant` weighs all alike. `gaussian` is exp(-d² / 2) with d the distance from the middle
    in units of an eighth of the window. At the rim exp(-8) remains, so that no weight is zero
    and a voxel which only one window covers still gets that window's value.

    Raises:
        ValueError: if the blend mode is unknown.
    """
    if blend_mode not in ("gaussian", "constant"):
        raise ValueError(f"blend_mode is 'gaussian' or 'constant', not {blend_mode!r}.")
    distance = (np.arange(size) - (size - 1) / 2) / (size * SIGMA)
    weights = np.exp(-(distance**2) / 2) if blend_mode == "gaussian" else np.ones(size)
    return _shared(weights / weights.max())


@lru_cache(maxsize=8)
def blend_weights(patch_size: tuple[int, ...], blend_mode: BlendMode = "gaussian") -> FloatArray:
    """How much each voxel of a window counts: the product of one bell an axis.

    Returns:
        float32 (*patch), positive, at most 1; read-only, because all callers share it.
    """
    bells = [bell(size, blend_mode) for size in patch_size]
    return _shared(reduce(np.multiply.outer, bells).astype(np.float32))


@lru_cache(maxsize=8)
def _row_weights(patch_size: tuple[int, ...], blend_mode: BlendMode, classes: int) -> FloatArray:
    """`blend_weights` with each voxel's weight once a class: (*patch[:-1], patch[-1] * classes)."""
    return _shared(np.repeat(blend_weights(patch_size, blend_mode), classes, axis=-1))


def weight_sums(
    shape: Sequence[int],
    patch_size: Sequence[int],
    overlap: float = 0.5,
    blend_mode: BlendMode = "gaussian",
) -> tuple[FloatArray, ...]:
    """The sum of the weights of all windows over an image, as one factor an axis.

    Windows lie on a grid and their weights are a product of one bell an axis. The sum at voxel
    (z, y, x) is then a product too, of the sums along each axis: three short arrays say what
    would otherwise take one number a voxel.

    Returns:
        float64 (size,) for each axis of `shape`, positive everywhere.
    """
    return tuple(
        _sum_along_axis(size, length, overlap, blend_mode)
        for size, length in zip(shape, patch_size, strict=True)
    )


def _sum_along_axis(size: int, length: int, overlap: float, blend_mode: BlendMode) -> FloatArray:
    total = np.zeros(size)  # a sum starts at zero: at one, it would shrink every logit
    for start in window_starts(size, length, overlap):
        total[start : start + length] += bell(length, blend_mode)
    return total


def _shared(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array


def window_starts(size: int, patch: int, overlap: float = 0.5) -> tuple[int, ...]:
    """First voxels of the windows along one axis of `size` >= `patch` voxels.

    As few windows as keep the step at most (1 - overlap) of the patch, evenly spaced; the
    first is flush with the start and the last with the end (nnU-Net's rule).

    Raises:
        ValueError: if the overlap is not in [0, 1), or the axis is shorter than the patch.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is a share of the patch, at least 0 and below 1, not {overlap}.")
    if size < patch:
        raise ValueError(f"{size} voxels cannot hold a window of {patch}; pad the image first.")
    longest_step = max(1.0, patch * (1 - overlap))
    steps = math.ceil((size - patch) / longest_step - 1e-9)  # 1 - 0.9 is a hair below 0.1
    return tuple(round(step * (size - patch) / max(steps, 1)) for step in range(steps + 1))


def windows_of(
    shape: Sequence[int], patch_size: Sequence[int], overlap: float = 0.5
) -> tuple[Window, ...]:
    """The windows over an image of spatial `shape`, one slice an axis, last axis fastest.

    A `patch_size` shorter than `shape` is a 2D patch over a volume: each slice of the first
    axis gets windows of its own. An axis shorter than its patch counts as padded to it.
    """
    patch = _over_volume(patch_size, len(shape))
    axes = [
        [slice(start, start + length) for start in window_starts(size, length, overlap)]
        for size, length in zip(map(max, shape, patch), patch, strict=True)
    ]
    return tuple(itertools.product(*axes))


def sliding_window(
    network: Network,
    image: FloatArray,
    patch_size: Sequence[int],
    *,
    overlap: float = 0.5,
    blend_mode: BlendMode = "gaussian",
    window_batch_size: int = 2,
    padding_value: float | Sequence[float] = 0.0,
    progress: Progress | None = None,
) -> FloatArray:
    """Logits of a whole image, from a network that sees patches.

    Time is proportional to the number of windows: each is added into its own part of one
    accumulator, and nothing of the image's size is touched for a single window.

    Args:
        network: gets (n, *patch, channels) with n at most `window_batch_size`, which it must
            not change; the last batch may be smaller. With a 2D patch over a volume it gets
            (n, height, width, channels).
        image: (*spatial, channels), of any size; it is not changed.
        patch_size: voxels an axis; two of them for a volume mean windows within its slices.
        overlap: the least share of a patch that neighbouring windows have in common, in [0, 1).
        blend_mode: `gaussian` or `constant`, see `blend_weights`.
        window_batch_size: windows a call of the network.
        padding_value: what to put around an image smaller than the patch, one for all channels
            or one a channel.
        progress: called with the number of windows done.

    Returns:
        Logits (*spatial, classes), float32, on the grid of `image`.

    Raises:
        ValueError: if an argument is out of range or the network returns another shape.
    """
    if window_batch_size < 1:
        raise ValueError(f"window_batch_size is at least 1, not {window_batch_size}.")
    patch = _over_volume(patch_size, image.ndim - 1)
    padded, inside = pad_to_patch(image, patch, padding_value)
    windows = windows_of(padded.shape[:-1], patch, overlap)
    accumulator = None
    for first in range(0, len(windows), window_batch_size):
        batch = windows[first : first + window_batch_size]
        patches = _patches(padded, batch)  # (n, *patch, channels)
        logits = _logits(network, patches, len(patch_size))  # (n, *patch, classes)
        if accumulator is None:  # the first logits tell the number of classes
            weights = _row_weights(patch, blend_mode, logits.shape[-1])
            accumulator = _Accumulator(padded.shape[:-1], weights, logits.shape[-1])
        for window, values in zip(batch, logits, strict=True):
            accumulator.add(window, values)
        if progress is not None:
            progress(len(batch))
    assert accumulator is not None  # there is always a window
    return accumulator.mean(weight_sums(padded.shape[:-1], patch, overlap, blend_mode))[inside]


def pad_to_patch(
    image: FloatArray, patch_size: Sequence[int], padding_value: float | Sequence[float] = 0.0
) -> tuple[FloatArray, Window]:
    """Pad an image (*spatial, channels) to the patch where it is smaller, on both sides alike.

    Returns the padded image, or the image itself where nothing is missing, and the slices that
    cut the original out of it.
    """
    shape = image.shape[:-1]
    padding = padding_to(shape, patch_size)  # (before, after) an axis
    pairs = zip(shape, padding, strict=True)
    inside = tuple(slice(before, before + size) for size, (before, _) in pairs)
    if not np.any(padding):
        return image, inside
    whole = [size + sum(both) for size, both in zip(shape, padding, strict=True)]
    padded = np.empty((*whole, image.shape[-1]), np.float32)
    padded[...] = np.asarray(padding_value, np.float32)  # the same, or one a channel
    padded[inside] = image
    return padded, inside


class _Accumulator:
    """The sum of weighted windows, with the last axis and the classes in one.

    Numbers of a few classes are too short a run for NumPy's loops; rows of voxels times
    classes are long.
    """

    def __init__(self, shape: Sequence[int], weights: FloatArray, classes: int) -> None:
        self.classes = classes
        self.total = np.zeros((*shape[:-1], shape[-1] * classes), np.float32)
        self.weights = weights  # (*patch[:-1], patch[-1] * classes)
        self.weighted = np.empty_like(self.weights[:PLANES_AT_A_TIME])

    def add(self, window: Window, logits: FloatArray) -> None:
        """Add the logits (*patch, classes) of one window, weighted, in its place."""
        last = window[-1]
        row = slice(last.start * self.classes, last.stop * self.classes)
        total = self.total[(*window[:-1], row)]
        values = logits.reshape(self.weights.shape)
        for first in range(0, len(values), PLANES_AT_A_TIME):
            planes = slice(first, first + PLANES_AT_A_TIME)
            weighted = self.weighted[: len(values[planes])]
            total[planes] += np.multiply(values[planes], self.weights[planes], out=weighted)

    def mean(self, sums: Sequence[FloatArray]) -> FloatArray:
        """Divide by the weight sums, in place and slice by slice: logits (*spatial, classes)."""
        inverse = reduce(np.multiply.outer, [1 / factor for factor in sums[1:]])  # (y, x)
        rows = np.repeat(inverse, self.classes, axis=-1).astype(np.float32)  # (y, x * classes)
        shares = np.empty_like(rows)
        for plane, weight_sum in zip(self.total, sums[0], strict=True):
            plane *= np.divide(rows, np.float32(weight_sum), out=shares)
        return self.total.reshape(*map(len, sums), self.classes)


def _patches(image: FloatArray, windows: Sequence[Window]) -> FloatArray:
    """The patches (n, *patch, channels) in these windows: of one a view that cannot be changed."""
    if len(windows) > 1:
        return np.stack([image[window] for window in windows])
    patch = image[windows[0]][np.newaxis]
    patch.flags.writeable = False
    return patch


def _over_volume(patch_size: Sequence[int], axes: int) -> tuple[int, ...]:
    """The patch with one entry a spatial axis: a 2D patch over a volume is one slice thick."""
    if axes not in (2, 3) or axes - len(patch_size) not in (0, 1) or min(patch_size) < 1:
        raise ValueError(f"patch_size {tuple(patch_size)} does not fit an image of {axes} axes.")
    return (1,) * (axes - len(patch_size)) + tuple(patch_size)


def _logits(network: Network, patches: FloatArray, axes: int) -> FloatArray:
    """Call the network; a 2D one gets the patches of a volume without the slice axis."""
    thick = patches.ndim - 2 > axes
    result = np.asarray(network(patches[:, 0] if thick else patches))
    logits = result[:, None] if thick else result
    if logits.shape[:-1] != patches.shape[:-1]:
        raise ValueError(
            f"The network returned {result.shape} for patches {patches.shape}; "
            "it must return logits of the same grid, classes last."
        )
    return logits

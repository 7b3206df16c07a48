"""What lesson 10 claims, as numbers, and what it draws from.

The networks here are not trained: one that changes nothing, one that answers with the number of
its window, one that sees left and right differently. What they must give can be worked out on
paper, so that no claim needs to ask the library what is right.
"""

import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from nnunet_lib.evaluation import dice
from nnunet_lib.inference import (
    BlendMode,
    InferenceSettings,
    Network,
    blend_weights,
    predict_logits,
    sliding_window,
    windows,
    windows_of,
)
from nnunet_lib.planning import Plan

FloatArray = npt.NDArray[Any]
Shape = tuple[int, ...]

OVERLAPS = (0.0, 0.3, 0.5)
DENSE_OVERLAPS = (0.7, 0.8, 0.9)
BLENDS: tuple[BlendMode, ...] = ("constant", "gaussian")
LARGEST_WINDOW = (10, 14, 12)
CLASSES = 3
LEAST_BELL = math.exp(-8)
"""Below every weight along an axis: at the rim the bell is exp(-(4 (n - 1) / n)² / 2)."""


@dataclass(frozen=True)
class Trial:
    """One image to slide over, and how.

    Attributes:
        shape: voxels of the image.
        patch: voxels of the window.
        overlap: least share of the window that neighbours have in common.
        blend: how windows are averaged.
    """

    shape: Shape
    patch: Shape
    overlap: float
    blend: BlendMode


def trials(
    number: int = 24, seed: int = 0, overlaps: Sequence[float] = OVERLAPS
) -> Iterator[Trial]:
    """Random windows up to `LARGEST_WINDOW`, and images from one voxel to two and a half windows.

    Each overlap and blend has its turn.
    """
    generator = np.random.default_rng(seed)
    ways = itertools.cycle(itertools.product(overlaps, BLENDS))
    for (overlap, blend), _ in zip(ways, range(number), strict=False):
        window = [int(generator.integers(1, size + 1)) for size in LARGEST_WINDOW]
        shape = [int(generator.integers(1, 5 * size // 2 + 1)) for size in window]
        yield Trial(tuple(shape), tuple(window), overlap, blend)


def random_image(shape: Sequence[int], channels: int = 2, seed: int = 0) -> FloatArray:
    """Noise between -1 and 1: float32 (*shape, channels)."""
    values = np.random.default_rng(seed).uniform(-1, 1, (*shape, channels))
    return values.astype(np.float32)


def identity_error(tried: Trial, seed: int = 0) -> float:
    """The largest change to an image in [-1, 1] when the network changes nothing.

    Infinite if the result is on another grid.
    """
    image = random_image(tried.shape, seed=seed)
    return _largest(_slide(lambda patches: patches, image, tried), image)


def rounding_bound(tried: Trial) -> float:
    """What float32 may do to a number in [-1, 1] on its way through the windows: (n + 6) 2^-24.

    n is the most windows that meet in one voxel. Their sum rounds n - 1 times; the weight, the
    product with it, and the division by the sum of weights round six times more. Each rounding
    changes a number by 2^-24 of its size at most.
    """
    counts = np.zeros(tuple(map(max, tried.shape, tried.patch)), int)
    for window in windows_of(tried.shape, tried.patch, tried.overlap):
        counts[window] += 1
    return float((counts.max() + 6) * 2.0**-24)


def least_weight_sum(tried: Trial) -> float:
    """The smallest sum of window weights on any voxel, added up window by window.

    Zero where no window comes, or where the only one that does has no say.
    """
    covered = tuple(map(max, tried.shape, tried.patch))  # a small image is padded to the window
    total = np.zeros(covered)
    weights = blend_weights(tried.patch, tried.blend)
    for window in windows_of(tried.shape, tried.patch, tried.overlap):
        total[window] += weights
    return float(total.min())


def order_difference(tried: Trial, orders: int = 3, seed: int = 0) -> float:
    """The largest change to logits in [-1, 1] when the windows come in another order.

    The library always goes from the first window to the last and has no option for anything
    else. The list of windows is therefore shuffled under its hands.
    """
    image = random_image(tried.shape, seed=seed)
    straight = _slide(textured, image, tried)
    in_order = windows_of(tried.shape, tried.patch, tried.overlap)
    generator = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(orders):
        shuffled = [in_order[index] for index in generator.permutation(len(in_order))]
        with mock.patch.object(windows, "windows_of", lambda *_, now=shuffled: now):
            worst = max(worst, _largest(_slide(textured, image, tried), straight))
    return worst


def textured(patches: FloatArray) -> FloatArray:
    """Logits in [-1, 1] that depend on the place in the window, so that windows disagree."""
    shape = patches.shape[1:-1]
    ramp = np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape)
    return np.stack([patches[..., 0] * ramp, patches[..., 0] * 0 + ramp], axis=-1)


def shares(size: int, patch: int, overlap: float, blend: BlendMode) -> FloatArray:
    """How much each window counts in each voxel of a line: (size, windows), rows sum to 1.

    Measured, not computed: the network answers with the number of its window, one-hot, and so
    the average in a voxel is the shares themselves.
    """
    number = len(windows_of((1, size), (1, patch), overlap))
    return sliding_window(
        window_numbers(number),
        np.zeros((1, size, 1), np.float32),
        (1, patch),
        overlap=overlap,
        blend_mode=blend,
        window_batch_size=1,
    )[0]


def window_numbers(number: int) -> Network:
    """A network that answers the k-th patch it sees with class k everywhere, whatever it shows."""
    seen = itertools.count()

    def network(patches: FloatArray) -> FloatArray:
        logits = np.zeros((*patches.shape[:-1], number), np.float32)
        for patch in logits:
            patch[..., next(seen)] = 1
        return logits

    return network


def edge_share(patch: Shape, axis: int, blend: BlendMode) -> float:
    """The share of a window in its own first voxel, where the window before it reaches too.

    Two windows lie on an image of one and a half windows along `axis`, and of one along the
    others. The second begins in the middle of the first.
    """
    shape = list(patch)
    start = patch[axis] // 2
    shape[axis] = patch[axis] + start
    image = np.zeros((*shape, 1), np.float32)
    logits = sliding_window(
        window_numbers(2), image, patch, overlap=0.5, blend_mode=blend, window_batch_size=1
    )
    seam = logits.take(start, axis=axis)[..., 1]
    return float(seam.flat[np.abs(seam - edge_share_on_paper(patch[axis], blend)).argmax()])


def edge_share_on_paper(size: int, blend: BlendMode) -> float:
    """The same from the formula: g / (g + g0), with exp(-d² / 2) at the rim and in the middle.

    d is the distance from a window's middle, in eighths of the window.
    """
    if blend == "constant":
        return 1 / 2
    middle = (size - 1) / 2
    g, g0 = (math.exp(-(((x - middle) * 8 / size) ** 2) / 2) for x in (0, size // 2))
    return g / (g + g0)


def edge_share_error(patches: Sequence[Shape], blend: BlendMode) -> float:
    """The worst difference between measured share and formula, over patches and axes."""
    return max(
        abs(edge_share(patch, axis, blend) - edge_share_on_paper(patch[axis], blend))
        for patch in patches
        for axis in range(len(patch))
    )


def one_sided(patches: FloatArray) -> FloatArray:
    """An asymmetric network: each voxel looks at the one before it along every axis.

    It also favours the end of its window, as a network with zero padding may. Logits
    (n, *patch, 3).
    """
    before = [np.roll(patches[..., 0], 1, axis) for axis in range(1, patches.ndim - 1)]
    logits = sum(weight * part for weight, part in enumerate(before, start=1))
    ramp = textured(patches)[..., 1]
    return np.stack([logits, logits * ramp, ramp], axis=-1).astype(np.float32) / len(before)


def flip_error(plan: Plan, shape: Shape, tta: bool, seed: int = 0) -> float:
    """How far the logits of a flipped case are from the flipped logits of the case.

    The worst over all axes that the network sees, through windows, padding and flips.
    """
    image = random_image(shape, len(plan.channels), seed)
    settings = InferenceSettings(tta=tta)
    straight = predict_logits(one_sided, image, plan, settings)
    return max(
        _largest(
            np.flip(predict_logits(one_sided, np.flip(image, axis), plan, settings), axis), straight
        )
        for axis in range(3 - plan.dimensions, 3)
    )


def odd_and_small(plan: Plan) -> tuple[Shape, ...]:
    """Shapes that flips find hard: odd, above the patch, below it, and one of each.

    An odd number of voxels is missing from the small ones, so that padding is unequal.
    """
    patch = ((1,) * (3 - plan.dimensions)) + plan.patch_size
    above = tuple(size + 7 + size % 2 for size in patch)
    below = tuple(max(1, size - 3 - size % 2 * 2) for size in patch)
    mixed = (above[0], below[1], above[2])
    return above, below, mixed


def calls_on_paper(shape: Shape, patch: Shape, overlap: float, flips: int) -> int:
    """Windows to predict: the product of ⌈(size - patch) / (patch (1 - overlap))⌉ + 1, times flips.

    Args:
        shape: voxels of the image.
        patch: voxels of the window.
        overlap: least share of the window that neighbours have in common.
        flips: axes to flip; each doubles the number.
    """
    axes = [
        math.ceil(max(size - length, 0) / (length * (1 - overlap)) - 1e-9) + 1
        for size, length in zip(shape, patch, strict=True)
    ]
    return math.prod(axes) * 2**flips


def counted_calls(plan: Plan, shape: Shape, settings: InferenceSettings) -> int:
    """Windows that a network really gets to see in a case of `shape`."""
    seen = 0

    def network(patches: FloatArray) -> FloatArray:
        nonlocal seen
        seen += len(patches)
        return patches

    predict_logits(network, random_image(shape, len(plan.channels)), plan, settings)
    return seen


def peak_memory(plan: Plan, shape: Shape, settings: InferenceSettings) -> float:
    """The most memory that prediction holds at once, in units of the logits it gives back.

    The network's own memory is not in it: its answer is made beforehand.
    """
    image = random_image(shape, len(plan.channels))
    answer = np.zeros((settings.window_batch_size, *plan.patch_size, CLASSES), np.float32)
    tracemalloc.start()
    try:
        logits = predict_logits(lambda patches: answer[: len(patches)], image, plan, settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak / logits.nbytes


def growth_of_memory(plan: Plan, shape: Shape, dense: float = 0.75) -> float:
    """By what factor `peak_memory` grows from no overlap to a dense one."""
    sparse, often = (
        peak_memory(plan, shape, InferenceSettings(overlap=overlap)) for overlap in (0.0, dense)
    )
    return often / sparse


def step_ratio(logits: FloatArray, patch: Shape, overlap: float) -> float:
    """How much larger the steps between neighbouring voxels are where a window begins or ends.

    Args:
        logits: (*shape, classes).
        patch: voxels of the window.
        overlap: least share of the window that neighbours have in common.

    Returns:
        The mean step across such borders by the mean step elsewhere; about 1 without any seam,
        NaN where one window covers everything.
    """
    across, elsewhere = [], []
    for axis, borders in enumerate(seams(logits.shape[:-1], patch, overlap)):
        steps = np.abs(np.diff(logits, axis=axis))
        here = np.isin(np.arange(1, logits.shape[axis]), borders)
        across.append(steps.compress(here, axis).ravel())
        elsewhere.append(steps.compress(~here, axis).ravel())
    at_seams = np.concatenate(across)
    return float(at_seams.mean() / np.concatenate(elsewhere).mean()) if at_seams.size else math.nan


def seams(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[list[int]]:
    """For each axis, the voxels of an unpadded image at which a window begins or has just ended."""
    result = []
    for size, length in zip(shape, patch, strict=True):
        before = max(length - size, 0) // 2  # padding: windows start that much earlier
        starts = windows.window_starts(max(size, length), length, overlap)
        borders = {edge - before for start in starts for edge in (start, start + length)}
        result.append(sorted(edge for edge in borders if 0 < edge < size))
    return result


def with_smaller_windows(run: Path) -> tuple[Network, Plan]:
    """A trained network that looks through windows of about two thirds of the size, and its plan.

    The weights stay the same, because a convolution does not care how large its input is. Each
    axis must still be halved as often as the network does, so that sizes are rounded to that.
    """
    from nnunet_lib.model import as_network, build_unet, load_unet  # it imports TensorFlow

    trained, plan = load_unet(run)
    steps = [math.prod(axis) for axis in zip(*plan.strides, strict=True)]
    sizes = zip(plan.patch_size, steps, strict=True)
    smaller = replace(
        plan, patch_size=tuple(max(step, size * 2 // 3 // step * step) for size, step in sizes)
    )
    unet = build_unet(smaller, deep_supervision=len(trained.outputs) > 1)
    unet.set_weights(trained.get_weights())
    return as_network(unet), smaller


def probability(logits: FloatArray) -> FloatArray:
    """The softmax probability of any structure: logits (*shape, classes) -> (*shape)."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    foreground: FloatArray = 1 - odds[..., 0] / odds.sum(axis=-1)
    return foreground


def mean_dice(logits: FloatArray, label: FloatArray) -> float:
    """The mean Dice of all structures; the label map is on the grid of the logits."""
    answer = logits.argmax(axis=-1)
    scores = [dice(answer, label, structure) for structure in range(1, logits.shape[-1])]
    return float(np.mean([score for score in scores if score is not None]))


def _slide(network: Callable[[FloatArray], Any], image: FloatArray, tried: Trial) -> FloatArray:
    return sliding_window(
        network, image, tried.patch, overlap=tried.overlap, blend_mode=tried.blend
    )


def _largest(one: FloatArray, other: FloatArray) -> float:
    """The largest difference of two arrays; infinite if they differ in shape."""
    return float(np.abs(one - other).max()) if one.shape == other.shape else math.inf

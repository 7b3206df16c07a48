"""What both sides are given: seeded inputs, from NumPy alone.

The peers' environment and ours each make them anew, so that only answers travel between them.
`RandomState` is used for its frozen streams: every version of NumPy draws the same numbers.
Arrays are in the library's layout: spatial order (z, y, x), channels last.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

CT = {
    "mean": 41.25,
    "median": 40.0,
    "std": 78.5,
    "min": -300.0,
    "max": 420.0,
    "percentile_00_5": -160.0,
    "percentile_99_5": 240.0,
}
"""Intensities of a dataset's foreground, as a fingerprint has them."""


@dataclass(frozen=True)
class PreprocessingProblem:
    """One case, and the plan's part of what preprocessing needs.

    Attributes:
        shape: voxels (z, y, x).
        spacing: millimetres (z, y, x).
        target: millimetres in plan order; two of them for a 2D plan.
        axis_order: the plan's permutation of (z, y, x), coarsest axis first.
        schemes: one a channel: `ct`, `z_score`, or `z_score_inside` the non-zero mask.
        labels: how many, with the background.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    target: tuple[float, ...]
    axis_order: tuple[int, int, int] = (0, 1, 2)
    schemes: tuple[str, ...] = ("z_score",)
    labels: int = 3


def preprocessing_problems(scale: int) -> tuple[PreprocessingProblem, ...]:
    """Isotropic and anisotropic, CT and MRI, one channel and four; `scale` multiplies sizes."""

    def voxels(z: int, y: int, x: int) -> tuple[int, int, int]:
        return scale * z, scale * y, scale * x

    problem = PreprocessingProblem
    four = ("z_score_inside",) * 4
    return (
        problem("isotropic MRI", voxels(13, 16, 14), (1.0, 1.0, 1.0), (1.3, 1.3, 1.3)),
        problem("isotropic MRI, finer", voxels(9, 10, 9), (1.3, 1.2, 1.1), (0.9, 1.0, 1.0)),
        problem("isotropic MRI, halved", voxels(16, 18, 20), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),
        problem("isotropic CT", voxels(12, 14, 13), (1.0, 0.9, 0.9), (1.1, 1.1, 1.1), (0, 1, 2),
                ("ct",)),
        problem("4 channels MRI", voxels(9, 10, 8), (1.0, 1.0, 1.0), (1.2, 1.2, 1.2), (0, 1, 2),
                four, 4),
        problem("anisotropic CT", voxels(5, 16, 15), (5.0, 0.8, 0.8), (4.0, 1.0, 1.0), (0, 1, 2),
                ("ct",)),
        problem("anisotropic MRI, coarse along x", voxels(14, 16, 5), (0.8, 0.7, 3.6),
                (3.0, 1.0, 0.9), (2, 0, 1)),
        problem("anisotropic only after", voxels(10, 12, 11), (1.0, 0.9, 0.9), (3.5, 1.1, 1.1)),
        problem("2D, anisotropic MRI", voxels(4, 16, 15), (6.0, 0.8, 0.8), (1.0, 1.1)),
    )  # fmt: skip


def case_of(problem: PreprocessingProblem) -> tuple[np.ndarray, np.ndarray]:
    """The image (z, y, x, channel) float32 of whole numbers, and its labels (z, y, x) uint8.

    A body with a hole in it lies in a rim of zeros; in the body lie overlapping ellipsoids.
    """
    random = np.random.RandomState(sum(map(ord, problem.name)))
    places = (np.indices(problem.shape).T / np.array(problem.shape)).T  # (3, z, y, x), 0 to 1
    body = _ellipsoid(places, (0.5, 0.5, 0.5), (0.45, 0.42, 0.48))
    body &= ~_ellipsoid(places, (0.5, 0.2, 0.5), (0.1, 0.08, 0.1))
    channels = [_texture(places, random) for _ in problem.schemes]
    image = np.round(np.stack(channels, axis=-1) * body[..., np.newaxis])
    labels = np.zeros(problem.shape, np.uint8)
    for value in range(1, problem.labels):
        centre, radii = random.uniform(0.45, 0.6, 3), random.uniform(0.15, 0.28, 3)
        labels[_ellipsoid(places, centre, radii) & body] = value
    return image.astype(np.float32), labels


def _ellipsoid(places: np.ndarray, centre: Any, radii: Any) -> np.ndarray:
    distances = ((places.T - np.array(centre)) / np.array(radii)) ** 2  # (x, y, z, 3)
    return np.asarray(distances.sum(axis=-1).T < 1)


def _texture(places: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Waves and noise, about as a CT has them in Hounsfield units; zero only by accident."""
    waves = [np.sin(2 * np.pi * random.uniform(1, 3) * axis + random.uniform(6)) for axis in places]
    return 40 + 60 * sum(waves) + random.normal(0, 25, places.shape[1:])


@dataclass(frozen=True)
class PlanningProblem:
    """A dataset as its fingerprint describes it: shapes and spacings (z, y, x) of its cases."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...]
    labels: int = 2
    channels: tuple[str, ...] = ("MRI",)
    relative_size: float = 1.0


def planning_problems() -> tuple[PlanningProblem, ...]:
    """Five tasks of the Decathlon by their median case, and ten made-up datasets."""
    return (
        _equal("Hippocampus", 260, (36, 50, 35), (1.0, 1.0, 1.0), 3),
        _equal("Heart", 20, (115, 320, 232), (1.37, 1.25, 1.25)),
        _equal("BrainTumour", 484, (138, 170, 138), (1.0, 1.0, 1.0), 4, ("MRI",) * 4, 0.5),
        _equal("Prostate", 32, (20, 320, 319), (3.6, 0.625, 0.625), 3, ("MRI",) * 2),
        _equal("Spleen", 41, (187, 512, 512), (1.6, 0.79, 0.79), 2, ("CT",)),
        _varied("varied CT", 30, (140, 380, 380), (2.0, 0.8, 0.8), 5, ("CT",)),
        _varied("few thick slices", 40, (12, 230, 220), (9.0, 1.5, 1.5), 4),
        _with_thin_cases("few thick slices, some cases thin", 30, (14, 240, 250), 0.8),
        _varied("coarse along x", 25, (210, 190, 30), (0.9, 0.8, 4.0), 3),
        _varied("two coarse axes", 20, (180, 110, 90), (0.24, 1.25, 1.2)),
        _varied("tiny", 12, (20, 26, 17), (1.1, 0.9, 1.0), 3),
        _equal("slices of 1024", 25, (40, 1024, 1024), (1.5, 0.1, 0.1), 2, ("CT",)),
        _varied("many labels", 60, (190, 260, 240), (1.5, 1.2, 1.2), 15, ("CT", "MRI"), 0.6),
        _varied("whole body", 90, (620, 440, 500), (1.2, 1.0, 0.9), 9, ("CT",)),
        _varied("very few", 4, (60, 120, 130), (1.0, 0.7, 0.7), 2, ("MRI",), 0.74),
    )


def _equal(name: str, cases: int, shape: Any, spacing: Any, *rest: Any) -> PlanningProblem:
    return PlanningProblem(name, (shape,) * cases, (spacing,) * cases, *rest)


def _varied(name: str, cases: int, shape: Any, spacing: Any, *rest: Any) -> PlanningProblem:
    """Sizes and spacings that differ by up to a fifth, whole voxels and hundredths."""
    random = np.random.RandomState(len(name))
    shapes = np.round(shape * random.uniform(0.8, 1.2, (cases, 3))).astype(int).tolist()
    spacings = np.round(spacing * random.uniform(0.8, 1.2, (cases, 3)), 2).tolist()
    return PlanningProblem(name, tuple(map(tuple, shapes)), tuple(map(tuple, spacings)), *rest)


def _with_thin_cases(name: str, cases: int, shape: Any, fine: float) -> PlanningProblem:
    """A fifth of the cases are finer along z than in plane, so that the 10th percentile is."""
    spacings = [(fine / 2 if case % 5 == 0 else 5.0, fine, fine) for case in range(cases)]
    return PlanningProblem(name, (shape,) * cases, tuple(spacings))


@dataclass(frozen=True)
class NetworkProblem:
    """A U-Net small enough to commit its answers: one entry a stage."""

    name: str
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    filters: tuple[int, ...]
    channels: int = 1
    classes: int = 3


def network_problems(scale: int) -> tuple[NetworkProblem, ...]:
    """2D and 3D, isotropic and anisotropic; `scale` multiplies the filters."""
    two, three = (2, 2), (2, 2, 2)
    in_plane, flat = (1, 2, 2), (1, 3, 3)
    wide = tuple(scale * count for count in (4, 8, 8, 8))
    return (
        NetworkProblem("2D", (24, 32), ((1, 1), two, two, two), ((3, 3),) * 4, wide),
        NetworkProblem("2D, anisotropic", (8, 32), ((1, 1), (1, 2), two, two),
                       ((1, 3), (3, 3), (3, 3), (3, 3)), wide, channels=2),
        NetworkProblem("3D", (8, 16, 8), ((1, 1, 1), three, three), ((3, 3, 3),) * 3, wide[:3]),
        NetworkProblem("3D, anisotropic", (4, 16, 16), ((1, 1, 1), in_plane, three, in_plane),
                       (flat, flat, (3, 3, 3), (3, 3, 3)), wide, channels=2, classes=2),
    )  # fmt: skip


def network_input(problem: NetworkProblem) -> np.ndarray:
    """One patch a batch of two: (2, *patch, channels) float32."""
    random = np.random.RandomState(7)
    return random.normal(size=(2, *problem.patch, problem.channels)).astype(np.float32)


def network_weights(problem: NetworkProblem) -> dict[str, np.ndarray]:
    """Random weights by PlainConvUNet's names and in PyTorch's layout, biases and norms too."""
    random = np.random.RandomState(11)
    return {name: _drawn(random, name, shape) for name, shape in _weight_shapes(problem)}


def _drawn(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Variances about as He et al. initialise, so that logits are of the order of one."""
    values = random.normal(size=shape)
    if len(shape) > 1:
        values *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("norm.weight"):
        values = 1 + 0.2 * values
    else:
        values *= 0.2
    return values.astype(np.float32)


def _weight_shapes(problem: NetworkProblem) -> Iterator[tuple[str, tuple[int, ...]]]:
    filters, kernels = problem.filters, problem.kernels
    ones = (1,) * len(problem.patch)
    for stage, (count, kernel) in enumerate(zip(filters, kernels, strict=True)):
        inputs = filters[stage - 1] if stage else problem.channels
        yield from _stage_shapes(f"encoder.stages.{stage}.0", inputs, count, kernel)
    for step, level in enumerate(reversed(range(len(filters) - 1))):
        stride, count = problem.strides[level + 1], filters[level]
        yield f"decoder.transpconvs.{step}.weight", (filters[level + 1], count, *stride)
        yield f"decoder.transpconvs.{step}.bias", (count,)
        yield from _stage_shapes(f"decoder.stages.{step}", 2 * count, count, kernels[level])
        yield f"decoder.seg_layers.{step}.weight", (problem.classes, count, *ones)
        yield f"decoder.seg_layers.{step}.bias", (problem.classes,)


def _stage_shapes(
    name: str, inputs: int, count: int, kernel: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    for index in range(2):
        block = f"{name}.convs.{index}"
        yield f"{block}.conv.weight", (count, count if index else inputs, *kernel)
        yield f"{block}.conv.bias", (count,)
        yield f"{block}.norm.weight", (count,)
        yield f"{block}.norm.bias", (count,)


@dataclass(frozen=True)
class LossProblem:
    """A batch of two patches, the heads' strides below the finest, and the settings."""

    name: str
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    include_background: bool = False
    classes: int = 3
    drawn: int = 3


def loss_problems() -> tuple[LossProblem, ...]:
    """2D and 3D, with and without deep supervision and background, and with an absent class."""
    heads = ((1, 1, 1), (1, 2, 2), (2, 4, 4))
    return (
        LossProblem("2D", (10, 12), ((1, 1),)),
        LossProblem("3D", (6, 8, 7), ((1, 1, 1),)),
        LossProblem("3D, with background", (6, 8, 7), ((1, 1, 1),), include_background=True),
        LossProblem("3D, an absent class", (6, 8, 7), ((1, 1, 1),), classes=4),
        LossProblem("3D, deep supervision", (4, 8, 8), heads),
    )


def loss_input(problem: LossProblem) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of each head (2, *grid, classes) float32, and labels (2, *patch) uint8."""
    random = np.random.RandomState(13)
    grids = [np.array(problem.patch) // stride for stride in problem.strides]
    logits = [2 * random.normal(size=(2, *grid, problem.classes)) for grid in grids]
    labels = random.randint(0, problem.drawn, (2, *problem.patch))
    return [head.astype(np.float32) for head in logits], labels.astype(np.uint8)


def head_weights(heads: int) -> list[float]:
    """1, 1/2, 1/4, ..., which sum to one."""
    return [2.0**-head / sum(2.0**-other for other in range(heads)) for head in range(heads)]


@dataclass(frozen=True)
class WindowProblem:
    """An image and a patch; MONAI lays its windows as nnU-Net does where `same_grid`."""

    name: str
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    same_grid: bool = True


def window_problems(scale: int) -> tuple[WindowProblem, ...]:
    """Windows that fit, that do not, in slices, and larger than the image."""

    def voxels(*sizes: int) -> tuple[int, ...]:
        return tuple(scale * size for size in sizes)

    return (
        WindowProblem("3D, steps of half a patch", voxels(12, 12, 10), voxels(8, 6, 4)),
        WindowProblem("3D, evenly spaced", voxels(13, 11, 9), voxels(8, 6, 4), same_grid=False),
        WindowProblem("3D, smaller than the patch", voxels(5, 9, 8), voxels(8, 6, 4)),
        WindowProblem("2D, slice by slice", (3, *voxels(12, 15)), voxels(8, 6)),
    )


def window_input(problem: WindowProblem) -> np.ndarray:
    """(*shape, 1) float32."""
    random = np.random.RandomState(17)
    return random.normal(size=(*problem.shape, 1)).astype(np.float32)


def window_network(patches: np.ndarray) -> np.ndarray:
    """Two logits a voxel of (n, *patch, 1), which depend on the place within the window."""
    patch = patches.shape[1:-1]
    places = np.indices(patch).sum(axis=0)[..., np.newaxis] / sum(patch)  # (*patch, 1), 0 to 1
    return np.concatenate([patches * (1 + places), patches**2 - places], axis=-1).astype(np.float32)


def gaussian_map(patch: tuple[int, ...]) -> np.ndarray:
    """exp(-d² / 2) with d in eighths of the patch from its middle, along every axis: (*patch)."""
    axes = [np.exp(-(((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) / 2) for n in patch]
    weights = reduce(np.multiply.outer, [axis / axis.max() for axis in axes])
    return np.asarray(weights, np.float32)


WINDOW_GRIDS = tuple(
    (size, patch) for patch in (4, 7, 16, 56) for size in range(patch, 5 * patch, 3)
)
"""Sizes and patches of one axis, for the first voxels of all windows."""


@dataclass(frozen=True)
class MaskProblem:
    """Two masks (z, y, x) of one organ, and the grid they lie on."""

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    tolerance: float = 1.25


def mask_problems(scale: int) -> tuple[MaskProblem, ...]:
    """Isotropic and anisotropic."""

    def voxels(z: int, y: int, x: int) -> tuple[int, int, int]:
        return scale * z, scale * y, scale * x

    return (
        MaskProblem("isotropic", voxels(14, 16, 15), (1.0, 1.0, 1.0)),
        MaskProblem("anisotropic", voxels(8, 20, 18), (3.0, 0.5, 0.75)),
        MaskProblem("coarse along x", voxels(12, 14, 9), (0.9, 1.1, 2.5)),
    )


def masks_of(problem: MaskProblem) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, (z, y, x) uint8: ellipsoids beside each other, with noise."""
    random = np.random.RandomState(19)
    places = (np.indices(problem.shape).T / np.array(problem.shape)).T  # (3, z, y, x), 0 to 1
    pair = []
    for centre in ((0.45, 0.5, 0.5), (0.5, 0.45, 0.55)):
        mask = _ellipsoid(places, centre, random.uniform(0.25, 0.35, 3))
        mask ^= random.uniform(size=problem.shape) < 0.01
        pair.append(mask.astype(np.uint8))
    return pair[0], pair[1]


def scan_problems() -> tuple[tuple[str, PreprocessingProblem], ...]:
    """What is done with a real scan of three labels, whose own shape and spacing count."""
    targets = {
        "finer": (0.8, 0.9, 0.85),
        "coarser": (1.4, 1.4, 1.4),
        "thick slices": (3.5, 1.1, 1.1),
    }
    return tuple(
        (f"a scan, {name}", PreprocessingProblem("scan", (1, 1, 1), (1.0, 1.0, 1.0), target))
        for name, target in targets.items()
    )

"""What lesson 03 claims, as numbers, measured from the outside: on the batches that come out.

The claims about draws, geometry and shards use cases that are made so that a patch tells where
it came from: one labelled voxel in a corner, a ramp beside its half-space, a case filled with
its own number. No claim asks the loader what it drew.
"""

import hashlib
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    Loader,
    LoaderSettings,
    training_batches,
)
from nnunet_lib.loading.cases import training_order
from nnunet_lib.loading.patches import training_patch

LOADERS: tuple[Loader, ...] = get_args(Loader)
Batch = tuple[np.ndarray, np.ndarray]

# Every change with probability 0: the place to switch on one at a time.
OFF = AugmentationSettings(
    zoom_probability=0.0,
    rotation_probability=0.0,
    flip_probability=0.0,
    noise_probability=0.0,
    blur_probability=0.0,
    brightness_probability=0.0,
    contrast_probability=0.0,
    low_resolution_probability=0.0,
    gamma_probability=0.0,
)
# Each change by itself, always, and strong enough to be seen.
GEOMETRIC = {
    "zoom": replace(OFF, zoom_probability=1.0, zoom_scale=(0.7, 0.7)),
    "rotation": replace(OFF, rotation_probability=1.0),
    "flip": replace(OFF, flip_probability=1.0),
}
INTENSITY = {
    "noise": replace(OFF, noise_probability=1.0, noise_standard_deviation=(0.3, 0.3)),
    "blur": replace(OFF, blur_probability=1.0, blur_sigma=(1.5, 1.5)),
    "brightness": replace(OFF, brightness_probability=1.0, brightness_factor=(1.3, 1.3)),
    "contrast": replace(OFF, contrast_probability=1.0, contrast_factor=(1.5, 1.5)),
    "low resolution": replace(
        OFF,
        low_resolution_probability=1.0,
        low_resolution_channel_probability=1.0,
        low_resolution_scale=(0.5, 0.5),
    ),
    "gamma": replace(OFF, gamma_probability=1.0, gamma_exponent=(1.5, 1.5)),
    "inverted gamma": replace(OFF, inverted_gamma_probability=1.0, gamma_exponent=(1.5, 1.5)),
}
EVERY_GEOMETRY = replace(OFF, zoom_probability=0.5, rotation_probability=0.5, flip_probability=0.5)
EVERYTHING = AugmentationSettings(
    rotation_probability=0.2,
    flip_probability=0.5,
    low_resolution_probability=0.25,
    gamma_probability=0.3,
    inverted_gamma_probability=0.1,
)

# The case whose corner is its only foreground: a crop meets it by chance once in 41^3 draws.
CORNER_SHAPE, CORNER_PATCH = (48, 48, 48), (8, 8, 8)
# Half-spaces: unit normals along which nothing lies straight, and the patches to look through.
NORMALS = ((0.3, 0.6, 0.742), (0.7, -0.5, 0.51), (-0.45, 0.35, 0.822), (0.55, 0.64, -0.536))
RAMP_SHAPE, RAMP_PATCHES = (20, 20, 20), ((15, 15, 15), (4, 15, 15), (15, 15))
NUMBERED_SHAPE = (4, 5, 6)
_BATCH = 50
_STILL = 1e-2  # how little a ramp may turn, in voxels a voxel, before it counts as turned


# Cases


def write_case(folder: Path, name: str, image: np.ndarray, label: np.ndarray) -> CaseFiles:
    """Write an image (d, h, w, c) and a label (d, h, w) as preprocessing would."""
    case = CaseFiles(folder / f"{name}_image.npy", folder / f"{name}_label.npy")
    np.save(case.image, np.ascontiguousarray(image, np.float32))
    np.save(case.label, np.ascontiguousarray(label[..., np.newaxis], np.uint8))
    return case


def corner_case(folder: Path) -> CaseFiles:
    """An empty case, but for one labelled voxel in the corner where the array begins."""
    label = np.zeros(CORNER_SHAPE)
    label[0, 0, 0] = 1
    return write_case(folder, "corner", label[..., np.newaxis], label)


def ramp_case(folder: Path, number: int) -> CaseFiles:
    """Voxels above an oblique plane: their height in voxels, (d, h, w, 1), and whether above."""
    normal = np.array(NORMALS[number]) / np.linalg.norm(NORMALS[number])
    middle = (np.array(RAMP_SHAPE) - 1) / 2 - 0.2  # the plane passes between voxels
    height = np.tensordot(normal, np.indices(RAMP_SHAPE).T - middle, (0, -1)).T
    return write_case(folder, f"ramp_{number}", height[..., np.newaxis], height > 0)


def numbered_case(folder: Path, number: int) -> CaseFiles:
    """A case whose image and label hold its number everywhere."""
    label = np.full(NUMBERED_SHAPE, number)
    return write_case(folder, f"numbered_{number}", label[..., np.newaxis], label)


def cut_case(folder: Path, case: CaseFiles, patch: Sequence[int]) -> CaseFiles:
    """The piece of a case with most foreground about its middle, as a case of its own.

    It is as large as the patch, so that every crop from it is the same.
    """
    image, label = np.load(case.image), np.load(case.label)[..., 0]
    places = np.argwhere(label > 0)
    middle = np.median(places, axis=0) if len(places) else np.array(label.shape) / 2
    last = np.array(label.shape) - patch
    start = np.clip(middle.astype(int) - np.array(patch) // 2, 0, last)
    cut = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
    return write_case(folder, "cut", image[cut], label[cut])


def small_patch(cases: Sequence[CaseFiles], parts: int = 4) -> tuple[int, int, int]:
    """A patch of a `parts`-th of the smallest case along each axis, of at least four voxels."""
    shapes = [np.load(case.label, mmap_mode="r").shape[:3] for case in cases]
    a, b, c = (max(size // parts, min(size, 4)) for size in np.min(shapes, axis=0).tolist())
    return a, b, c


# Draws


def draw_patches(
    cases: Sequence[CaseFiles],
    number: int,
    patch: tuple[int, ...],
    augmentation: AugmentationSettings = OFF,
    loader: Loader = "dali",
    seed: int = 0,
    oversampling: float = 0.0,
) -> Batch:
    """Patches from a loader: images (number, *patch, c) and labels (number, *patch)."""
    batch = math.gcd(number, _BATCH)
    settings = LoaderSettings(
        batch,
        patch,
        dimensions=len(patch),
        foreground_oversampling=oversampling,
        number_of_volumes=batch,
        seed=seed,
        augmentation=augmentation,
    )
    batches = training_batches(cases, settings, loader=loader)
    images, labels = zip(*_first(batches, number // batch), strict=True)
    return np.concatenate(images), np.concatenate(labels)[..., 0]


def _first(batches: Any, number: int) -> list[Batch]:
    """The first batches of a dataset without end, as NumPy arrays."""
    return [
        (image.numpy(), label.numpy()) for image, label in itertools.islice(iter(batches), number)
    ]


def foreground_share(
    cases: Sequence[CaseFiles],
    patch: tuple[int, ...],
    oversampling: float,
    number: int,
    loader: Loader = "dali",
    seed: int = 0,
) -> float:
    """The share of patches, unchanged after their crop, that show any foreground."""
    _, labels = draw_patches(
        cases, number, patch, OFF, loader, seed=seed, oversampling=oversampling
    )
    return float(labels.any(axis=tuple(range(1, labels.ndim))).mean())


def aimed_error(
    folder: Path, oversampling: float, number: int, loader: Loader, seed: int = 0
) -> float:
    """How far the share of aimed patches is from `oversampling`, in binomial standard errors.

    One voxel in a corner is foreground. A crop that is not aimed at it meets it once in 68,921
    draws, so that the patches which show it are the aimed ones.
    """
    share = foreground_share(
        [corner_case(folder)], CORNER_PATCH, oversampling, number, loader, seed
    )
    return _in_errors(share - oversampling, oversampling * (1 - oversampling) / number)


@dataclass(frozen=True)
class Shares:
    """Shares of patches that show foreground, each of `number` draws.

    Attributes:
        oversampling: the share that was asked for.
        by_chance: measured where no patch was aimed (q).
        measured: measured at `oversampling`.
        number: draws behind each of the two measurements.
    """

    oversampling: float
    by_chance: float
    measured: float
    number: int

    @property
    def upper(self) -> float:
        """What aiming cannot exceed: q + (1 - q) oversampling."""
        return self.by_chance + (1 - self.by_chance) * self.oversampling

    def outside(self) -> float:
        """How far `measured` lies outside oversampling ... `upper`, in standard errors."""
        own = self.measured * (1 - self.measured) / self.number
        limit = (1 - self.oversampling) ** 2 * self.by_chance * (1 - self.by_chance) / self.number
        below = self.oversampling - self.measured
        above = self.measured - self.upper
        return max(0.0, _in_errors(max(below, 0), own), _in_errors(max(above, 0), own + limit))


def measure_shares(
    cases: Sequence[CaseFiles],
    patch: tuple[int, ...],
    oversampling: float,
    number: int,
    loader: Loader = "dali",
    seed: int = 0,
) -> Shares:
    """Draw twice, once without aiming and once with. Cases without foreground are left out."""
    chosen = [case for case in cases if np.load(case.label, mmap_mode="r").any()]
    by_chance, measured = (
        foreground_share(chosen, patch, share, number, loader, seed)
        for share in (0.0, oversampling)
    )
    return Shares(oversampling, by_chance, measured, number)


def _in_errors(difference: float, variance: float) -> float:
    """|difference| in standard errors; where nothing can vary, 0 or infinite."""
    if variance > 0:
        return abs(difference) / math.sqrt(variance)
    return 0.0 if difference == 0 else math.inf


def coverage(
    folder: Path, case: CaseFiles, patch: tuple[int, int, int], oversampling: float, number: int
) -> np.ndarray:
    """The share of patches that contain each voxel of a case, (d, h, w)."""
    label = np.load(case.label)[..., 0]
    places = np.moveaxis(np.indices(label.shape), 0, -1)  # (d, h, w, 3): where each voxel is
    located = write_case(folder, "places", places, label)
    images, _ = draw_patches([located], number, patch, oversampling=oversampling)
    counts = np.zeros(label.shape)
    for start in images[:, 0, 0, 0].astype(int):  # (3,)
        counts[tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))] += 1
    return counts / number


# Geometry


def misalignment(
    folder: Path, augmentation: AugmentationSettings, loader: Loader, seed: int = 0
) -> float:
    """How far from the plane label and ramp disagree, in source voxels: the worst of all patches.

    The image is a voxel's height above an oblique plane, the label whether it is above. However
    a patch is zoomed, turned or mirrored, the ramp's sign must still be the label. Voxels that
    may have been turned in from beyond the patch are left out. Infinite if no ramp was turned,
    stretched or mirrored, or no patch saw both sides: nothing would have been tested.
    """
    cases = [ramp_case(folder, number) for number in range(len(NORMALS))]
    return max(_misalignment(cases, patch, augmentation, loader, seed) for patch in RAMP_PATCHES)


def _misalignment(
    cases: Sequence[CaseFiles],
    patch: tuple[int, ...],
    augmentation: AugmentationSettings,
    loader: Loader,
    seed: int,
) -> float:
    images, labels = draw_patches(cases, 2 * _BATCH, patch, augmentation, loader, seed)
    ramps, inside = images[..., 0], _turning_ball(patch)
    above = labels[:, inside] > 0
    if not _was_moved(ramps) or not (above.any() and not above.all()):
        return math.inf
    return float(np.abs(ramps[:, inside][(ramps[:, inside] > 0) != above]).max(initial=0.0))


def _turning_ball(patch: tuple[int, ...]) -> np.ndarray:
    """The voxels (*patch) that stay inside the patch when it turns about its middle.

    Where slices are kept apart they turn in their plane: then it is a cylinder.
    """
    place = np.indices(patch).T - (np.array(patch) - 1) / 2  # (*reversed patch, axes)
    turning = place[..., -2:] if patch[0] < patch[-1] else place
    distance: np.ndarray = np.linalg.norm(turning, axis=-1).T  # (*patch)
    return distance <= (patch[-1] - 1) / 2


def _was_moved(ramps: np.ndarray) -> bool:
    """Whether any ramp (n, *patch) rises otherwise in its middle than every ramp on disk."""
    patch = ramps.shape[1:]
    block = ramps[:, *(slice(size // 2 - 1, size // 2 + 1) for size in patch)]  # (n, 2, 2[, 2])
    spatial = tuple(range(1, ramps.ndim))
    slope = np.stack([np.diff(block, axis=a).mean(axis=spatial) for a in spatial], axis=-1)
    normals = np.array(NORMALS) / np.linalg.norm(NORMALS, axis=1, keepdims=True)
    stored = normals[:, -len(patch) :]  # of a slice, what rises within it
    distance = np.abs(slope[:, np.newaxis] - stored).max(axis=-1).min(axis=1)  # (n,)
    return bool(distance.max() > _STILL)


def slice_of_middle(
    folder: Path, patch: tuple[int, int, int], augmentation: AugmentationSettings, seed: int = 0
) -> int:
    """The slice of a changed patch that shows what its middle slice was before, at its centre.

    The patch is drawn once more, from a case that holds in each voxel the number of its slice.
    """
    number = np.indices(patch)[0]  # (d, h, w)
    case = write_case(folder, "slices", number[..., np.newaxis], np.zeros(patch))
    images, _ = draw_patches([case], 1, patch, augmentation, seed=seed)
    centre = images[0, :, patch[1] // 2, patch[2] // 2, 0]  # (d,)
    return int(np.abs(centre - patch[0] // 2).argmin())


def ramps_of(folder: Path, augmentation: AugmentationSettings, number: int, seed: int = 0) -> Batch:
    """A few ramps and labels after a transform, (number, d, h, w) each, for the figure."""
    cases = [ramp_case(folder, 0)]
    images, labels = draw_patches(cases, number, RAMP_PATCHES[0], augmentation, seed=seed)
    return images[..., 0], labels


def flip_mistakes(folder: Path, case: CaseFiles, loader: Loader) -> int:
    """Voxels of image and label that are wrong after one flip of all axes, or after two.

    Args:
        folder: where the flipped case is written, to be flipped again.
        case: an image and a label as large as the patch, so that nothing is drawn but the flip.
        loader: dali or tf.
    """
    once = _flipped(case, loader)
    twice = _flipped(write_case(folder, "flipped", *once), loader)
    image, label = np.load(case.image), np.load(case.label)[..., 0]
    expected = [(image[::-1, ::-1, ::-1], label[::-1, ::-1, ::-1]), (image, label)]
    return sum(
        int((mine != right).sum())
        for pair, reference in zip((once, twice), expected, strict=True)
        for mine, right in zip(pair, reference, strict=True)
    )


def _flipped(case: CaseFiles, loader: Loader) -> Batch:
    """A case mirrored on every axis by a loader: (d, h, w, c) and (d, h, w)."""
    a, b, c, _ = np.load(case.label, mmap_mode="r").shape
    images, labels = draw_patches([case], 1, (a, b, c), GEOMETRIC["flip"], loader)
    return images[0], labels[0]


def intensity_mistakes(case: CaseFiles, loader: Loader, seed: int = 0) -> int:
    """Label voxels that an intensity change altered, and changes that altered no image.

    The case is as large as the patch.
    """
    a, b, c, _ = np.load(case.label, mmap_mode="r").shape
    image, label = np.load(case.image), np.load(case.label)[..., 0]
    mistakes = 0
    for augmentation in INTENSITY.values():
        images, labels = draw_patches([case], 2, (a, b, c), augmentation, loader, seed)
        unchanged = [bool((one == image).all()) for one in images]
        mistakes += int((labels != label).sum()) + sum(unchanged)
    return mistakes


# Shards and seeds


@dataclass(frozen=True)
class Pass:
    """The cases that each rank met in one pass over all cases, numbered from 1."""

    cases: int
    met: tuple[tuple[int, ...], ...]

    @property
    def twice(self) -> int:
        """Meetings too many: a case that two ranks met, or one rank twice."""
        return sum(map(len, self.met)) - len(set().union(*self.met))

    @property
    def missed(self) -> int:
        """Cases that no rank met."""
        return len(set(range(1, self.cases + 1)) - set().union(*self.met))


def shard_passes(
    folder: Path, cases: int, ranks: int, loader: Loader, passes: int = 2, seed: int = 0
) -> list[Pass]:
    """What each rank meets in the first passes, read off patches that carry their case's number."""
    files = [numbered_case(folder, number) for number in range(1, cases + 1)]
    met = []
    for rank in range(ranks):
        length = len(range(rank, cases, ranks))  # of this rank's part of a pass
        settings = LoaderSettings(1, NUMBERED_SHAPE, seed=seed, augmentation=OFF)
        batches = training_batches(files, settings, 0, rank, ranks, loader=loader)
        numbers = [int(image[0, 0, 0, 0, 0]) for image, _ in _first(batches, passes * length)]
        met.append([tuple(numbers[i * length : (i + 1) * length]) for i in range(passes)])
    return [Pass(cases, tuple(parts)) for parts in zip(*met, strict=True)]


def digest(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    loader: Loader,
    batches: int,
    epoch: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> str:
    """The SHA-256 of the first batches' bytes."""
    result = hashlib.sha256()
    for image, label in _first(
        training_batches(cases, settings, epoch, rank, ranks, loader=loader), batches
    ):
        result.update(image.tobytes())
        result.update(label.tobytes())
    return result.hexdigest()


def different_repeats(
    cases: Sequence[CaseFiles], settings: LoaderSettings, loader: Loader, batches: int
) -> int:
    """Runs that differ from the first: the same again, and with one thread and with three."""
    runs = [settings, settings, replace(settings, threads=1), replace(settings, threads=3)]
    first, *others = (digest(cases, run, loader, batches) for run in runs)
    return sum(other != first for other in others)


def equal_others(
    cases: Sequence[CaseFiles], settings: LoaderSettings, loader: Loader, batches: int
) -> int:
    """Runs that another run equals, of five that must differ by seed, epoch or rank."""
    other_seed = replace(settings, seed=settings.seed + 1)
    found = {
        digest(cases, settings, loader, batches),
        digest(cases, other_seed, loader, batches),
        digest(cases, settings, loader, batches, epoch=1),
        digest(cases, settings, loader, batches, rank=0, ranks=2),
        digest(cases, settings, loader, batches, rank=1, ranks=2),
    }
    return 5 - len(found)


# Three loaders


def plain_batches(cases: Sequence[CaseFiles], settings: LoaderSettings) -> Iterator[Batch]:
    """Batches by a plain loop in NumPy: one patch after the other, when somebody asks for one."""
    order = training_order(len(cases), settings.seed, epoch=0, shard_id=0, shards=1)
    random = np.random.default_rng(settings.seed)
    drawn = (cases[index] for index in itertools.cycle(order))
    while True:
        patches = [
            training_patch(next(drawn), settings, random) for _ in range(settings.batch_size)
        ]
        image, label = map(np.stack, zip(*patches, strict=True))
        yield image, label


def make_loader(name: str, cases: Sequence[CaseFiles], settings: LoaderSettings) -> Iterator[Any]:
    """Batches without end: "numpy" is the plain loop, the others are the library's loaders."""
    if name == "numpy":
        return plain_batches(cases, settings)
    return iter(training_batches(cases, settings, loader="dali" if name == "dali" else "tf"))


def unequal_loaders(cases: Sequence[CaseFiles], settings: LoaderSettings, batches: int) -> int:
    """Batches of the library's loaders that are not the plain loop's, where nothing is drawn.

    The cases must be as large as the patch, and augmentation off: then only the order of the
    cases is left, which all three take from the same seed.
    """
    plain = list(itertools.islice(plain_batches(cases, settings), batches))
    wrong = 0
    for loader in LOADERS:
        found = _first(training_batches(cases, settings, loader=loader), batches)
        for batch, right in zip(found, plain, strict=True):
            wrong += not all(map(np.array_equal, batch, right))
    return wrong


def seconds_for(batches: Iterator[Any], number: int, step: float = 0.0) -> float:
    """Seconds until `number` batches are drawn, each followed by a training step of `step` seconds.

    The step sleeps, as a processor waits for its GPU. The first batch is not counted: what a
    loader needs to start is spent once.
    """
    next(batches)
    start = time.perf_counter()
    for _ in range(number):
        next(batches)
        time.sleep(step)
    return time.perf_counter() - start

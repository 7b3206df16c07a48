"""What lesson 02 claims about cropping, normalisation, resampling and planning, as numbers.

Where a claim is about voxels that came from other voxels, the source is worked out here from
the two grids alone, not taken from the library's interpolation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnunet_lib.course.lessons.data_and_fingerprint import over_ranges
from nnunet_lib.datasets import (
    Dataset,
    LabelMap,
    Volume,
    bounding_box,
    box_slices,
    make_phantom,
    nonzero_mask,
)
from nnunet_lib.planning import (
    Fingerprint,
    IntensityStatistics,
    Normalisation,
    Plan,
    PlannerSettings,
    make_plan,
)
from nnunet_lib.preprocessing import (
    normalise,
    preprocess_case,
    resample_image,
    resample_labels,
    resample_logits,
    resampled_shape,
    separate_axis,
)

# (factor, shift in standard deviations) that a scanner may give an image on the way.
SCALINGS = ((0.01, 0.0), (1000.0, 0.0), (1.0, 5.0), (1.0, -5.0), (3.0, 2.0))
# How the spacing (z, y, x) is multiplied to try resampling: finer, coarser, and thick slices.
FACTORS = ((0.6, 0.6, 0.6), (1.7, 1.3, 1.1), (4.0, 1.0, 1.0))
SHOWN = 20  # cases that the notebook reads whole: 200 of BrainTumour would need 28 GB
INTERIOR = 6  # voxels from a face after which a spline no longer feels it
NEARLY = 0.05  # voxels from halfway between two, within which either may be the nearest
NNUNET = {
    dimensions: PlannerSettings(
        dimensions, memory_gigabytes=8.0, base_filters=32, small_steps=False
    )
    for dimensions in (2, 3)
}

# Cropping ------------------------------------------------------------------------------------


def cropping_mistakes(volume: Volume, plan: Plan) -> int:
    """Voxels with something in them that preprocessing crops away, and faces cropped too far out.

    Every voxel that is not zero has to lie inside the box, and each of the box's six faces has to
    hold one, else it could be smaller.
    """
    box = preprocess_case(volume, plan).geometry.box
    something = (volume.array != 0).any(axis=-1)  # (z, y, x)
    inside = something[box_slices(box)]
    if not something.any():
        return int(inside.shape != something.shape)
    faces = (inside.take(end, axis) for axis in range(3) for end in (0, -1))
    return int(something.sum() - inside.sum()) + sum(not face.any() for face in faces)


# Normalisation -------------------------------------------------------------------------------


def changes(image: np.ndarray, scheme: Normalisation) -> Iterator[float]:
    """How far each of `SCALINGS` moves a normalised image: the largest difference of a voxel.

    The shift acts where the scheme takes its statistics: inside the mask of non-zero voxels if
    `scheme.inside_mask`, else everywhere.

    Args:
        image: one channel (z, y, x), as read.
        scheme: how it is normalised.
    """
    mask = nonzero_mask(image[..., np.newaxis])
    shifted = mask if scheme.inside_mask else np.ones_like(mask)
    deviation = float(image[shifted].std())
    before = normalise(image, mask, scheme)[0]
    for factor, shift in SCALINGS:
        changed = (factor * (image + shift * deviation * shifted)).astype(np.float32)
        after = normalise(changed, mask, scheme)[0]
        yield float(np.abs(after - before).max())


def z_score_change(volumes: Sequence[Volume]) -> float:
    """The most that any of `SCALINGS` changes under z-score, with and without the mask."""
    schemes = (Normalisation("z_score", inside_mask=inside) for inside in (True, False))
    return max(
        change
        for scheme in schemes
        for volume in volumes
        for channel in np.moveaxis(_cropped(volume), -1, 0)
        for change in changes(channel, scheme)
    )


def ct_phantom(folder: Path, seed: int = 0) -> Dataset:
    """Two of the phantom's heads in a CT, whatever the dataset of the lesson is."""
    return make_phantom(folder, cases=2, modality="ct", seed=seed)


def ct_change(volumes: Sequence[Volume], scheme: Normalisation) -> float:
    """The least that any of `SCALINGS` changes under CT's scheme."""
    return min(change for v in volumes for change in changes(v.array[..., 0], scheme))


def _cropped(volume: Volume) -> np.ndarray:
    """The image (z, y, x, channel) without its empty margins."""
    box = bounding_box(nonzero_mask(volume.array))
    cropped: np.ndarray = volume.array[box_slices(box)]
    return cropped


def foreground_ranges(
    volume: Volume, label: np.ndarray, plan: Plan
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Percentiles 0.5, 50 and 99.5 inside the structures, before and after normalisation.

    Of the first channel. NaN for a case without structures.
    """
    channel, mask, inside = volume.array[..., 0], nonzero_mask(volume.array), label > 0
    if not inside.any():
        return (math.nan,) * 3, (math.nan,) * 3
    box = box_slices(bounding_box(mask))
    after = normalise(channel[box], mask[box], plan.normalisation[0])[0]
    before_and_after = (channel[inside], after[inside[box]])
    one, other = (np.percentile(values, (0.5, 50, 99.5)) for values in before_and_after)
    return tuple(one.tolist()), tuple(other.tolist())


# Resampling ----------------------------------------------------------------------------------


def foreign_labels(label: np.ndarray, resampled: np.ndarray) -> int:
    """New voxels whose label none of the old voxels has that they were interpolated from.

    Those are, along each axis, the two whose centres lie around the new voxel's centre.

    Args:
        label: the old label map (z, y, x).
        resampled: the new one, over the same millimetres.
    """
    foreign = 0
    for value in np.unique(resampled):
        around = label == value  # (z, y, x), one axis after the other on the new grid
        for axis, size in enumerate(resampled.shape):
            around = over_ranges(around, _neighbours(label.shape[axis], size), axis, np.any)
        foreign += int(((resampled == value) & ~around).sum())
    return foreign


def _neighbours(size: int, new_size: int) -> list[tuple[int, int]]:
    """For each new voxel of an axis the first and last old one that its value comes from."""
    centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5  # in old voxels
    first = np.floor(centres - 1e-9).clip(0, size - 1).astype(int)
    last = (np.floor(centres + 1e-9) + 1).clip(0, size - 1).astype(int)
    return list(zip(first.tolist(), last.tolist(), strict=True))


def resampled_labels(
    label: np.ndarray, spacing: Sequence[float], factors: Sequence[float]
) -> np.ndarray:
    """The label map at the spacing times `factors`, as the library resamples it."""
    shape, new_spacing = _new_grid(label, spacing, factors)
    return resample_labels(label, shape, spacing, new_spacing)


def rounded_labels(
    label: np.ndarray, spacing: Sequence[float], factors: Sequence[float]
) -> np.ndarray:
    """The same done wrongly: label values are interpolated as if they were grey, and rounded."""
    shape, new_spacing = _new_grid(label, spacing, factors)
    grey = label[..., np.newaxis].astype(np.float32)  # (z, y, x, 1)
    values = resample_logits(grey, shape, spacing, new_spacing)[..., 0]
    rounded: np.ndarray = np.rint(values).astype(np.uint8)
    return rounded


def _new_grid(
    label: np.ndarray, spacing: Sequence[float], factors: Sequence[float]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    new_spacing = tuple(s * factor for s, factor in zip(spacing, factors, strict=True))
    return resampled_shape(label.shape, spacing, new_spacing), new_spacing


def labels_from_nowhere(label: np.ndarray, spacing: Sequence[float]) -> int:
    """`foreign_labels` over all `FACTORS`."""
    return sum(foreign_labels(label, resampled_labels(label, spacing, f)) for f in FACTORS)


def only_twos(label: np.ndarray) -> np.ndarray:
    """All structures as one, with the value 2: 0 touches 2, and 1 is nowhere."""
    twos: np.ndarray = np.where(label > 0, 2, 0).astype(np.uint8)
    return twos


def slices_of_many(thickness: float = 5.0, seed: int = 0) -> int:
    """New slices that are not made from exactly one old slice, when slices are thick.

    Each old slice is changed in turn, and the new slices that change are noted. The volume has 6
    slices, `thickness` times as thick as its voxels are wide; the new ones are twice as thin.
    """
    image = np.random.default_rng(seed).uniform(1, 2, (6, 12, 12, 1)).astype(np.float32)
    spacing, new_spacing = (thickness, 1.0, 1.0), (thickness / 2, 0.8, 0.8)
    shape = resampled_shape(image.shape[:3], spacing, new_spacing)
    before = resample_image(image, shape, spacing, new_spacing)
    felt = np.zeros((shape[0], len(image)), bool)  # (new slice, old slice)
    for old in range(len(image)):
        changed = image.copy()
        changed[old] += 1
        difference = np.abs(resample_image(changed, shape, spacing, new_spacing) - before)
        felt[:, old] = difference.max(axis=(1, 2, 3)) > 1e-4
    return int((felt.sum(axis=1) != 1).sum())


def gain_of_cubic(wavelength: float = 7.3) -> float:
    """How many times larger the error of linear than of cubic interpolation is.

    A wave of `wavelength` voxels along each axis is sampled, resampled to 0.6 of the spacing, and
    compared with the wave's own formula away from the faces: root mean square errors. The
    default is no multiple of the spacing, so that samples come near the wave's peaks: results are
    clipped to the range of the samples, and a peak beyond would be lost to both.
    """
    coarse, fine = _wave(24, 1.0, wavelength), _wave(40, 0.6, wavelength)
    inner = (slice(8, -8),) * 3
    grids = ((40, 40, 40), (1.0, 1.0, 1.0), (0.6, 0.6, 0.6))
    cubic, linear = (
        float(np.sqrt(np.mean((resample(coarse, *grids) - fine)[inner] ** 2)))
        for resample in (resample_image, resample_logits)
    )
    return linear / cubic


def _wave(size: int, step: float, wavelength: float) -> np.ndarray:
    """A wave (size, size, size, 1) at the centres of voxels `step` wide."""
    along = np.cos(2 * np.pi * (np.arange(size) + 0.5) * step / wavelength)
    product: np.ndarray = along[:, None, None] * along[:, None] * along
    return product[..., np.newaxis].astype(np.float32)


# Where voxels go -----------------------------------------------------------------------------


def displacement(volume: Volume, plan: Plan) -> float:
    """How far preprocessing moves anything, in voxels of the scan; infinite if a label strays.

    The scan's three channels become the millimetres x, y and z of each voxel, with a frame of
    zeros to crop. After preprocessing, to four fifths of the plan's spacing and without changing
    intensities, each voxel still says where it came from. That must be where the new grid puts it:
    cropping and resampling keep the box's outer faces. Left out are voxels near these faces, where
    a spline bends, and the coarse axis where it is resampled apart. A label map that tells eighths
    of the scan apart goes along, and `_label_strays` looks at it.
    """
    places = _places(volume.affine, volume.array.shape[:3])  # (z, y, x, 3)
    framed, box = _framed(places - places.min() + 1.0)  # nothing is zero but the frame
    label = LabelMap(_striped(volume.array.shape[:3]), volume.affine, volume.spacing)
    case = preprocess_case(replace(volume, array=framed), _for_places(plan), label)
    found = case.image.astype(np.float64) + places.min() - 1.0  # (a, b, c, 3): mm
    sizes = [box[axis][1] - box[axis][0] for axis in plan.axis_order]
    grid = [
        box[axis][0] + (np.arange(new) + 0.5) * old / new - 0.5  # in the scan's voxels
        for axis, old, new in zip(plan.axis_order, sizes, case.image.shape[:3], strict=True)
    ]
    if _label_strays(case.label, grid, plan.axis_order, volume.array.shape[:3]):
        return math.inf
    inner = tuple(_inner(old, new) for old, new in zip(sizes, case.image.shape[:3], strict=True))
    expected = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)  # (a, b, c, 3): plan order
    ijk = (found - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    differences = np.abs(ijk[..., ::-1][..., list(plan.axis_order)] - expected)[inner]
    apart = separate_axis(case.geometry.cropped_spacing, case.geometry.resampled_spacing)
    return float(np.delete(differences, [] if apart is None else [apart], axis=-1).max())


def _striped(shape: Sequence[int]) -> np.ndarray:
    """A label map (z, y, x) with values 0 to 7: of each axis a bit, its `_stripes`."""
    z, y, x = np.ix_(*(_stripes(size) for size in shape))
    striped: np.ndarray = (z + 2 * y + 4 * x).astype(np.uint8)
    return striped


def _stripes(size: int) -> np.ndarray:
    """0, 1, 0, 1 in the four quarters of an axis: mirrored they are others."""
    return 4 * np.arange(size) // size % 2


def _label_strays(
    label: np.ndarray | None,
    grid: Sequence[np.ndarray],
    axis_order: Sequence[int],
    shape: Sequence[int],
) -> bool:
    """Whether a new voxel has another label than the old voxel that is nearest to its place.

    Left out is a place halfway between stripes, where either one is right.

    Args:
        label: what became of the `_striped` label map (a, b, c), in plan order.
        grid: for each axis of it, where in the old voxels its own lie.
        axis_order: which old axis each of its axes is.
        shape: of the old label map (z, y, x).
    """
    if label is None or label.shape != tuple(map(len, grid)):
        return True
    for position, (axis, places) in enumerate(zip(axis_order, grid, strict=True)):
        stripes = _stripes(shape[axis])
        nearest = (np.rint(places + nudge).astype(int) for nudge in (-NEARLY, NEARLY))
        below, above = (stripes[voxels.clip(0, shape[axis] - 1)] for voxels in nearest)
        found = np.moveaxis(label >> axis & 1, position, -1)  # (..., voxels of the axis)
        if ((found != below) & (below == above)).any():
            return True
    return False


def _places(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The millimetres x, y, z of every voxel: (z, y, x, 3)."""
    k, j, i = np.indices(shape)
    places: np.ndarray = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    return places


def _framed(image: np.ndarray) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """The image with a frame of zeros, wider on one side, and the box inside of it."""
    box = tuple((2, size - 1) if size > 2 * INTERIOR else (0, size) for size in image.shape[:3])
    framed = np.zeros(image.shape, np.float32)
    framed[box_slices(box)] = image[box_slices(box)]
    return framed, box


def _for_places(plan: Plan) -> Plan:
    """The plan for three channels whose intensities stay as they are, and eight labels."""
    as_is = Normalisation("ct", lower=-1e9, upper=1e9, mean=0.0, standard_deviation=1.0)
    return replace(
        plan,
        channels=("x", "y", "z"),
        labels=tuple(f"eighth {number}" for number in range(8)),
        normalisation=(as_is,) * 3,
        target_spacing=tuple(0.8 * step for step in plan.target_spacing),
    )


def _inner(old: int, new: int) -> slice:
    """The new voxels of an axis that lie `INTERIOR` old ones inside; at least the middle one."""
    margin = min(math.ceil(INTERIOR * new / old), (new - 1) // 2)
    return slice(margin, new - margin)


# Plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """What is known of a task of the Medical Segmentation Decathlon, and what was planned for it.

    Patches and batches, and all strides but those of BrainTumour and Spleen, are what nnU-Net 2.8.1
    plans for 8 GB; these two follow NVIDIA's published patches and rule (DeepLearningExamples,
    TensorFlow2/Segmentation/nnUNet at commit 729963dd), which agree with it.

    Attributes:
        name: of the task.
        cases: in its training set.
        labels: with the background.
        shape: median voxels (z, y, x).
        spacing: median millimetres (z, y, x).
        patch_2d: pixels of a 2D patch.
        batch_2d: slices a batch.
        patch_3d: voxels of a 3D patch.
        batch_3d: volumes a batch.
        strides: of the 3D network, three digits a stage.
    """

    name: str
    cases: int
    labels: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    patch_2d: tuple[int, int]
    batch_2d: int
    patch_3d: tuple[int, int, int]
    batch_3d: int
    strides: str

    def fingerprint(self) -> Fingerprint:
        """As many cases as the task has, all of the median size; intensities decide nothing."""
        unknown = IntensityStatistics(0.0, 0.0, 1.0, -1.0, 1.0, -1.0, 1.0)
        return Fingerprint(
            dataset=self.name,
            channels=("MRI",),
            labels=tuple(f"label {value}" for value in range(self.labels)),
            spacings=(self.spacing,) * self.cases,
            shapes=(self.shape,) * self.cases,
            median_relative_size=1.0,
            intensities=(unknown,),
        )


PUBLISHED = (
    Published(
        "Hippocampus", 260, 3, (36, 50, 35), (1.0, 1.0, 1.0),
        (56, 40), 366, (40, 56, 40), 9, "111 222 222 222",
    ),
    Published(
        "Heart", 20, 2, (115, 320, 232), (1.37, 1.25, 1.25),
        (320, 256), 40, (80, 192, 160), 2, "111 222 222 222 222 122",
    ),
    Published(
        "BrainTumour", 484, 4, (138, 170, 138), (1.0, 1.0, 1.0),
        (192, 160), 105, (128, 128, 128), 2, "111 222 222 222 222 222",
    ),
    Published(
        "Prostate", 32, 3, (20, 320, 319), (3.6, 0.625, 0.625),
        (320, 320), 32, (20, 320, 256), 2, "111 122 122 222 222 122 122",
    ),
    Published(
        "Spleen", 41, 2, (187, 512, 512), (1.6, 0.79, 0.79),
        (512, 512), 12, (64, 192, 160), 2, "111 122 222 222 222 222",
    ),
)  # fmt: skip


def strides_of(plan: Plan) -> str:
    """The strides as digits, a group a stage, such as "111 222 122"."""
    return " ".join("".join(map(str, stage)) for stage in plan.strides)


def planned(task: Published) -> Mapping[str, tuple[object, object]]:
    """For each published decision what was published and what the library plans."""
    flat, solid = (make_plan(task.fingerprint(), NNUNET[dimensions]) for dimensions in (2, 3))
    return {
        "2D patch": (task.patch_2d, flat.patch_size),
        "2D batch": (task.batch_2d, flat.batch_size),
        "3D patch": (task.patch_3d, solid.patch_size),
        "3D batch": (task.batch_3d, solid.batch_size),
        "3D strides": (task.strides, strides_of(solid)),
    }


def disagreements() -> int:
    """Decisions for the `PUBLISHED` tasks that are not the published ones."""
    pairs = [pair for task in PUBLISHED for pair in planned(task).values()]
    return sum(published != ours for published, ours in pairs)


def impossible_networks(plans: Sequence[Plan]) -> int:
    """Axes of plans whose patch cannot be halved as the strides say, or has under 4 voxels left.

    Only axes that are halved at all need 4 voxels at the bottleneck.
    """
    wrong = 0
    for plan in plans:
        for axis, size in enumerate(plan.patch_size):
            halvings = sum(stage[axis] == 2 for stage in plan.strides)
            left = size / 2**halvings
            wrong += left != int(left) or (halvings > 0 and left < 4)
    return wrong


def why_this_batch(plan: Plan) -> str:
    """The plan's own reason for its batch size."""
    return next(reason for reason in plan.reasons if reason.startswith("Batch size"))

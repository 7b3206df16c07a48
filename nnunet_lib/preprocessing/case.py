"""One case, from the volume that was read to what the network sees.

Taught in lesson 02. nnU-Net's order: crop, normalise, resample, pad.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunet_lib.datasets import (
    LabelMap,
    Volume,
    bounding_box,
    box_slices,
    nonzero_mask,
    nonzero_voxels,
)
from nnunet_lib.errors import InputError
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing.geometry import Geometry
from nnunet_lib.preprocessing.normalisation import normalise
from nnunet_lib.preprocessing.resampling import resample_image, resample_labels, resampled_shape


@dataclass(frozen=True)
class PreprocessedCase:
    """A case as the network sees it, in plan order (coarsest axis first).

    Attributes:
        image: (a, b, c, channel) float32.
        label: (a, b, c) uint8, or None for an unlabelled case.
        geometry: the way back.
    """

    image: np.ndarray
    label: np.ndarray | None
    geometry: Geometry


def preprocess_case(
    volume: Volume, plan: Plan, label: LabelMap | None = None, pad: bool = False
) -> PreprocessedCase:
    """Crop to non-zero, normalise, resample to the plan's spacing, and pad if asked.

    Args:
        volume: the image as read.
        plan: the plan of the dataset that the network is trained on.
        label: the label map on the same grid, if there is one.
        pad: whether to pad, evenly on both sides, up to the plan's patch size. Training does,
            because it cuts patches from inside the case.

    Raises:
        InputError: if image, label and plan do not fit each other, or the image has no voxels,
            some that are no finite numbers, or an impossible spacing.
    """
    _check(volume, plan, label)
    box = bounding_box(nonzero_voxels(volume.array))
    image, padding_value = _normalised(volume.array[box_slices(box)], plan)
    geometry = _geometry(volume, plan, box, padding_value)
    order = plan.axis_order
    image = _resample(image.transpose(*order, 3), geometry)  # (a, b, c, channel)
    result = PreprocessedCase(image, None, geometry)
    if label is not None:
        cropped = label.array[box_slices(box)].transpose(order)
        result = replace(result, label=_resample(cropped, geometry))  # (a, b, c)
    return _padded(result, plan) if pad else result


def _check(volume: Volume, plan: Plan, label: LabelMap | None) -> None:
    _check_image(volume)
    channels = volume.array.shape[-1]
    if channels != len(plan.channels):
        raise InputError(
            f"the image has {channels} channels, but the plan is for {len(plan.channels)} "
            f"({', '.join(plan.channels)}). Give the images that the plan was made for."
        )
    if label is None:
        return
    if label.array.shape != volume.array.shape[:3]:
        raise InputError(
            f"the label has shape {label.array.shape}, but the image {volume.array.shape[:3]}. "
            "Give both on one grid."
        )
    require_known_labels(label, plan)


def _check_image(volume: Volume) -> None:
    """Refuse what would go through, and make all of the case one class or one voxel."""
    shape, spacing = volume.array.shape, volume.spacing
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(
            f"the image has shape {shape}. Give an array (z, y, x, channel) with at least one "
            "voxel."
        )
    if len(spacing) != 3 or not all(math.isfinite(size) and size > 0 for size in spacing):
        raise InputError(
            f"the image has the spacing {tuple(spacing)}. "
            "Give the distance of voxels along z, y and x in mm, three numbers above 0."
        )
    if not np.isfinite(volume.array).all():
        raise InputError(
            "the image has voxels that are NaN or infinite. "
            "Replace them, for instance by the background's value."
        )


def require_known_labels(label: LabelMap, plan: Plan) -> None:
    """Refuse a label map with a value that the plan does not know.

    Raises:
        InputError: if it has one.
    """
    if (largest := int(label.array.max())) >= len(plan.labels):
        raise InputError(
            f"the label holds the value {largest}, but the plan knows labels up to "
            f"{len(plan.labels) - 1}. Correct the label, or list it in dataset.json, plan again, "
            "and follow the new plan."
        )


def _normalised(image: np.ndarray, plan: Plan) -> tuple[np.ndarray, tuple[float, ...]]:
    """The cropped image (z, y, x, channel) normalised, and each channel's padding value."""
    # Finding holes takes as long as all the rest, and few plans ask for the mask.
    masked = any(scheme.inside_mask for scheme in plan.normalisation)
    mask = nonzero_mask(image) if masked else np.ones(image.shape[:3], bool)  # (z, y, x)
    result = np.empty(image.shape, np.float32)
    padding_value = []
    for channel, scheme in enumerate(plan.normalisation):
        result[..., channel], nothing = normalise(image[..., channel], mask, scheme)
        padding_value.append(nothing)
    return result, tuple(padding_value)


def _geometry(
    volume: Volume,
    plan: Plan,
    box: tuple[tuple[int, int], ...],
    padding_value: tuple[float, ...],
) -> Geometry:
    """The geometry before padding."""
    spacing = tuple(float(volume.spacing[axis]) for axis in plan.axis_order)
    # A 2D plan says nothing about the slice axis: it keeps the case's own spacing.
    target = spacing[: 3 - plan.dimensions] + plan.target_spacing
    cropped = tuple(box[axis][1] - box[axis][0] for axis in plan.axis_order)
    return Geometry(
        original_shape=tuple(volume.array.shape[:3]),
        affine=tuple(tuple(float(value) for value in row) for row in volume.affine),
        spacing=tuple(float(value) for value in volume.spacing),
        box=box,
        axis_order=plan.axis_order,
        resampled_shape=resampled_shape(cropped, spacing, target),
        resampled_spacing=target,
        padding=((0, 0),) * 3,
        padding_value=padding_value,
    )


def _resample(array: np.ndarray, geometry: Geometry) -> np.ndarray:
    """An image (a, b, c, channel) or a label map (a, b, c) to the geometry's shape."""
    resample = resample_labels if array.ndim == 3 else resample_image
    spacings = geometry.cropped_spacing, geometry.resampled_spacing
    return np.ascontiguousarray(resample(array, geometry.resampled_shape, *spacings))


def _padded(case: PreprocessedCase, plan: Plan) -> PreprocessedCase:
    """Padded up to the patch size: images with each channel's own value, labels with background."""
    least = (1,) * (3 - plan.dimensions) + plan.patch_size
    padding = padding_to(case.geometry.resampled_shape, least)
    image = np.stack(
        [
            np.pad(case.image[..., channel], padding, constant_values=value)
            for channel, value in enumerate(case.geometry.padding_value)
        ],
        axis=-1,
    )  # (a, b, c, channel)
    label = None if case.label is None else np.pad(case.label, padding)
    return PreprocessedCase(image, label, replace(case.geometry, padding=padding))


def padding_to(shape: Sequence[int], least: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(before, after) an axis that makes `shape` at least `least`; evenly, and never negative."""
    missing = [max(0, wanted - size) for size, wanted in zip(shape, least, strict=True)]
    return tuple((voxels // 2, voxels - voxels // 2) for voxels in missing)

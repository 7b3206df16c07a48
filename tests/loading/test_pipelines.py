"""What both loaders do to patches, against independent references and by counting draws.

For DALI that is `pipelines.py`, for the twin `patches.py`.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    Loader,
    LoaderSettings,
    training_batches,
)

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
BATCH = 50


Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def draw_patches(loader: Loader) -> Draw:
    """Draws `number` patches: images (number, *patch, c), labels (number, *patch)."""

    def draw(
        cases: list[CaseFiles],
        number: int,
        patch_size: tuple[int, ...],
        augmentation: AugmentationSettings = OFF,
        **settings: Any,
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = LoaderSettings(
            batch_size=BATCH,
            patch_size=patch_size,
            dimensions=len(patch_size),
            augmentation=augmentation,
            **settings,
        )
        batches = training_batches(cases, chosen, loader=loader).take(-(-number // BATCH))
        images, labels = zip(*batches.as_numpy_iterator(), strict=True)
        return np.concatenate(images)[:number], np.concatenate(labels)[:number, ..., 0]

    return draw


def assert_share(hits: np.ndarray, expected: float) -> None:
    """The share of True among independent draws is within 3 binomial standard errors."""
    error = np.sqrt(expected * (1 - expected) / len(hits))
    assert abs(hits.mean() - expected) <= 3 * error


# Where patches are cropped.


@pytest.mark.parametrize("oversampling", [0.0, 0.33, 1.0])
def test_the_share_of_patches_aimed_at_the_foreground(
    write_case: Callable[..., CaseFiles], oversampling: float, draw_patches: Draw
) -> None:
    label = np.zeros((24, 24, 24))
    label[12, 12, 12] = 1
    case = write_case("one_voxel", np.zeros((24, 24, 24, 1)), label)
    _, labels = draw_patches([case], 1200, (6, 6, 6), foreground_oversampling=oversampling)
    by_chance = (6 / 19) ** 3  # 6 of 19 starts an axis cover the voxel
    assert_share(labels.any(axis=(1, 2, 3)), oversampling + (1 - oversampling) * by_chance)


def test_the_class_is_drawn_uniformly_among_those_present(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((24, 24, 24))
    label[2, 2, 2] = 1
    label[14:, 14:, 14:] = 3  # a thousand voxels count no more than one
    case = write_case("two_classes", np.zeros((24, 24, 24, 1)), label)
    _, labels = draw_patches([case], 600, (6, 6, 6), foreground_oversampling=1.0)
    first, third = ((labels == value).any(axis=(1, 2, 3)) for value in (1, 3))
    assert (first ^ third).all()
    assert_share(first, 0.5)


def test_only_the_two_largest_components_are_aimed_at(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((30, 30, 30))
    label[1:5, 1:5, 1:5] = label[24:27, 24:27, 24:27] = label[14:16, 14:16, 14:16] = 1
    case = write_case("components", np.zeros((30, 30, 30, 1)), label)
    _, labels = draw_patches([case], 400, (5, 5, 5), foreground_oversampling=1.0)
    voxels = labels.sum(axis=(1, 2, 3))
    assert set(voxels) == {64, 27}  # whole, because they fit
    assert_share(voxels == 64, 0.5)


@pytest.mark.parametrize(("shape", "patch"), [((20, 20, 20), (5, 5, 5)), ((9, 20, 20), (6, 6))])
def test_a_component_larger_than_the_patch_is_always_seen(
    write_case: Callable[..., CaseFiles],
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    draw_patches: Draw,
) -> None:
    distance = np.linalg.norm(np.indices(shape[1:]).T - 9.5, axis=-1)
    label = np.zeros(shape)
    label[2:-2] = (distance > 7) & (distance < 9)  # a tube: much of its box is empty
    case = write_case("tube", np.zeros((*shape, 1)), label)
    _, labels = draw_patches([case], 400, patch, foreground_oversampling=1.0)
    assert labels.any(axis=tuple(range(1, labels.ndim))).all()


def test_a_class_is_aimed_at_where_another_fills_most_of_its_box(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((20, 20, 20))
    label[2:18, 2:18, 2:18] = 2
    label[2:18, 2, 2] = label[2, 2:18, 2] = label[2, 2, 2:18] = 1  # three edges of the cube
    case = write_case("edges", np.zeros((20, 20, 20, 1)), label)
    _, labels = draw_patches([case], 300, (4, 4, 4), foreground_oversampling=1.0)
    assert (labels == 1).any(axis=(1, 2, 3)).mean() > 0.45  # half are aimed at it


def test_on_an_axis_where_a_component_fits_all_of_it_is_seen(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((24, 24, 24))
    label[10:13, 2:22, 2:22] = 1  # three layers, wider than the patch
    case = write_case("plate", np.zeros((24, 24, 24, 1)), label)
    _, labels = draw_patches([case], 100, (5, 5, 5), foreground_oversampling=1.0)
    assert (labels.any(axis=(2, 3)).sum(axis=1) == 3).all()


def test_a_corner_does_not_join_components(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((12, 12, 12))
    label[2:5, 2:5, 2:5] = label[5:8, 5:8, 5:8] = 1
    case = write_case("corners", np.zeros((12, 12, 12, 1)), label)
    _, labels = draw_patches([case], 50, (3, 3, 3), foreground_oversampling=1.0)
    assert labels.all()  # of a larger component a patch would show a voxel and what is around it


def test_another_class_does_not_join_components(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((25, 9, 9))
    label[2:5, 2:5, 2:5] = label[20:23, 2:5, 2:5] = 1
    label[5:20, 3, 3] = 2  # from one to the other
    case = write_case("joined", np.zeros((25, 9, 9, 1)), label)
    _, labels = draw_patches([case], 400, (5, 5, 5), foreground_oversampling=1.0)
    whole = (labels == 1).sum(axis=(1, 2, 3)) == 27
    assert whole.mean() > 0.45  # half are aimed at one of the two, which fit


def test_a_label_that_was_replaced_is_aimed_at_where_it_is_now(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    image, before, after = np.zeros((24, 24, 24, 1)), np.zeros((24, 24, 24)), np.zeros((24, 24, 24))
    before[2, 2, 2] = after[20, 20, 20] = 1
    case, replaced = write_case("before", image, before), write_case("after", image, after)
    draw_patches([case], 1, (6, 6, 6), foreground_oversampling=1.0)
    os.replace(replaced.label, case.label)
    _, labels = draw_patches([case], 50, (6, 6, 6), foreground_oversampling=1.0)
    assert labels.any(axis=(1, 2, 3)).all()


def test_zoomed_patches_see_the_foreground_too(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    label = np.zeros((24, 24, 24))
    label[4:7, 16:19, 9:12] = 1
    case = write_case("cube", np.zeros((24, 24, 24, 1)), label)
    zoomed = replace(OFF, zoom_probability=1.0)
    _, labels = draw_patches([case], 200, (8, 8, 8), zoomed, foreground_oversampling=1.0)
    assert labels.any(axis=(1, 2, 3)).all()


def test_cases_without_foreground_are_cropped_all_the_same(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    case = write_case("empty", np.ones((9, 9, 9, 1)), np.zeros((9, 9, 9)))
    images, labels = draw_patches([case], 50, (4, 4, 4), foreground_oversampling=1.0)
    assert (images == 1).all()
    assert not labels.any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_patches_are_crops_from_everywhere(
    coordinate_case: Callable[..., CaseFiles], dimensions: int, draw_patches: Draw
) -> None:
    shape, size = (20, 22, 24), (1, 7, 8) if dimensions == 2 else (6, 7, 8)
    case = coordinate_case(shape, labelled_axis=2)
    images, labels = draw_patches([case], 1000, size[3 - dimensions :], foreground_oversampling=0.0)
    images, labels = images.reshape(-1, *size, 3), labels.reshape(-1, *size)
    anchors = images[:, 0, 0, 0].astype(int)
    whole, whole_label = np.load(case.image), np.load(case.label)[..., 0]
    for image, label, anchor in zip(images, labels, anchors, strict=True):
        crop = tuple(slice(a, a + s) for a, s in zip(anchor, size, strict=True))
        assert (image == whole[crop]).all()
        assert (label == whole_label[crop]).all()
    for axis in range(3):
        starts = shape[axis] - size[axis] + 1
        assert set(anchors[:, axis]) == set(range(starts))
        standard_error = np.sqrt((starts**2 - 1) / 12 / len(anchors))
        assert abs(anchors[:, axis].mean() - (starts - 1) / 2) <= 3 * standard_error


# Geometry: image and label alike.

GEOMETRY = {
    "zoom": replace(OFF, zoom_probability=1.0),
    "flip": replace(OFF, flip_probability=0.5),
    "both": replace(OFF, zoom_probability=0.5, flip_probability=0.5),
}


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("patch", [(10, 12, 14), (12, 14), (4, 14, 16)])
def test_label_and_image_move_together(
    coordinate_case: Callable[..., CaseFiles],
    name: str,
    axis: int,
    patch: tuple[int, ...],
    draw_patches: Draw,
) -> None:
    case = coordinate_case(labelled_axis=axis)
    images, labels = draw_patches([case], 100, patch, GEOMETRY[name])
    # Half a voxel for nearest, and a little where cubic interpolation meets the crop's edge.
    assert np.abs(images[..., axis] - labels).max() <= 0.7
    interior = (slice(None), *(slice(2, -2) if size > 4 else slice(None) for size in patch))
    assert np.abs(images[..., axis] - labels)[interior].max() <= 0.5 + 1e-4


@pytest.mark.parametrize("patch", [(6, 7, 8), (7, 8)])
def test_every_axis_is_flipped_half_the_time_by_itself(
    coordinate_case: Callable[..., CaseFiles], patch: tuple[int, ...], draw_patches: Draw
) -> None:
    images, _ = draw_patches([coordinate_case()], 800, patch, replace(OFF, flip_probability=0.5))
    axes = range(1, 1 + len(patch))
    first = 3 - len(patch)
    flipped = [np.diff(images, axis=a)[..., a - 1 + first].max(axis=tuple(axes)) < 0 for a in axes]
    for a, flags in enumerate(flipped):
        assert_share(flags, 0.5)
        for other in flipped[:a]:
            assert_share(flags == other, 0.5)


def test_zoom_enlarges_by_the_range_it_was_given(
    coordinate_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    augmentation = replace(OFF, zoom_probability=1.0, zoom_scale=(0.6, 0.8))
    images, _ = draw_patches([coordinate_case()], 200, (20, 20, 20), augmentation)
    steps = [np.diff(images[..., a], axis=a + 1)[:, 9, 9, 9] for a in range(3)]
    region = np.round(np.array(steps) * 20)  # voxels of the case in a patch's side
    assert region.min() == 12
    assert region.max() == 16
    assert (region == region[0]).all()


@pytest.mark.parametrize("name", ["zoom", "rotation"])
def test_neither_zoom_nor_rotation_invents_a_label(
    write_case: Callable[..., CaseFiles], name: str, draw_patches: Draw
) -> None:
    label = np.random.default_rng(4).choice([0, 3], size=(16, 16, 16))
    case = write_case("two_values", np.zeros((16, 16, 16, 1)), label)
    augmentation = replace(OFF, **{f"{name}_probability": 1.0})
    _, labels = draw_patches([case], 100, (12, 12, 12), augmentation)
    assert set(np.unique(labels)) == {0, 3}


def test_zoom_of_a_slice_is_the_bicubic_resize_of_tensorflow(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    places = np.stack(np.meshgrid(*map(np.arange, (3, 24, 24)), indexing="ij"), axis=-1)
    texture = np.random.default_rng(5).normal(size=(3, 24, 24, 1))
    case = write_case("texture", np.concatenate([places, texture], axis=-1), places[..., 0])
    augmentation = replace(OFF, zoom_probability=1.0, zoom_scale=(0.75, 0.75))
    images, _ = draw_patches([case], 50, (16, 16), augmentation)
    interior = slice(3, -3)  # the two continue an image differently beyond its edge
    for image in images:
        # Patch voxel i lies at anchor + (i + 1/2) 12/16 - 1/2.
        z, y, x = np.round(image[8, 8, :3] - [0, 5.875, 5.875]).astype(int)
        crop = texture[z, y : y + 12, x : x + 12]
        expected = tf.image.resize(crop, (16, 16), method="bicubic").numpy()
        np.testing.assert_allclose(
            image[interior, interior, 3:], expected[interior, interior], atol=1e-2
        )


def turned_by(images: np.ndarray) -> np.ndarray:
    """The rotation (number, 3, 3) at the centre of patches whose channels are z, y and x."""
    middle = tuple(size // 2 for size in images.shape[1:4])
    steps = [np.diff(images, axis=axis + 1)[(slice(None), *middle)] for axis in range(3)]
    return np.stack(steps, axis=-1)  # (number, what changes, along which axis)


def test_rotation_turns_about_every_axis_by_up_to_its_limit(
    coordinate_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    augmentation = replace(OFF, rotation_probability=1.0)
    images, _ = draw_patches([coordinate_case()], 400, (9, 9, 9), augmentation)
    matrices = turned_by(images)
    identity = np.broadcast_to(np.eye(3), matrices.shape)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), identity, atol=1e-3)
    assert (np.linalg.det(matrices) > 0.99).all()  # turned, not mirrored
    # SciPy's order is (x, y, z), ours (z, y, x).
    angles = Rotation.from_matrix(matrices[:, ::-1, ::-1]).as_euler("zyx", degrees=True)
    assert np.abs(angles).max() <= 30.01
    assert (np.abs(angles).max(axis=0) > 29).all()
    assert (np.abs(angles.mean(axis=0)) <= 3 * 60 / np.sqrt(12 * 400)).all()


def test_slices_turn_all_the_way_round_in_their_plane(
    coordinate_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    augmentation = replace(OFF, rotation_probability=1.0)
    images, _ = draw_patches([coordinate_case()], 400, (9, 9), augmentation)
    down, right = (np.diff(images, axis=axis)[:, 4, 4, 1:] for axis in (1, 2))  # (number, y x)
    np.testing.assert_allclose(np.linalg.norm(down, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(right, down[:, ::-1] * [-1, 1], atol=1e-3)
    angles = np.degrees(np.arctan2(down[:, 1], down[:, 0]))
    assert np.abs(angles.mean()) <= 3 * 360 / np.sqrt(12 * 400)
    assert angles.min() < -175
    assert angles.max() > 175


@pytest.mark.parametrize("patch", [(15, 15, 15), (4, 15, 15), (15, 15)])
def test_rotation_keeps_a_half_space_and_its_ramp_together(
    write_case: Callable[..., CaseFiles], patch: tuple[int, ...], draw_patches: Draw
) -> None:
    shape = (20, 20, 20)
    height = np.tensordot([0.3, 0.6, 0.742], np.indices(shape) - 9.7, 1)  # voxels above a plane
    case = write_case("half_space", height[..., np.newaxis], height > 0)
    augmentation = replace(OFF, rotation_probability=1.0, flip_probability=0.5)
    images, labels = draw_patches([case], 100, patch, augmentation)
    clear = np.abs(images[..., 0]) > 1  # further from the plane than rounding may turn a voxel
    assert clear.mean() > 0.5
    assert ((images[..., 0] > 0) == labels)[clear].all()


def test_beyond_a_turned_patch_the_edges_of_image_and_label_continue_alike(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    case = write_case("full", np.full((12, 12, 12, 1), 7), np.full((12, 12, 12), 3))
    augmentation = replace(OFF, rotation_probability=1.0)
    images, labels = draw_patches([case], 100, (12, 12, 12), augmentation)
    np.testing.assert_allclose(images, 7, atol=1e-5)
    assert (labels == 3).all()


@pytest.mark.parametrize("patch", [(4, 16, 16), (16, 16)])
def test_nothing_mixes_slices_that_are_kept_apart(
    write_case: Callable[..., CaseFiles], patch: tuple[int, ...], draw_patches: Draw
) -> None:
    slices = np.arange(20.0).reshape(-1, 1, 1, 1) ** 2
    case = write_case("slices", np.broadcast_to(slices, (20, 20, 20, 1)), np.zeros((20, 20, 20)))
    augmentation = replace(
        OFF,
        zoom_probability=1.0,
        rotation_probability=1.0,
        blur_probability=1.0,
        low_resolution_probability=1.0,
    )
    images, _ = draw_patches([case], 100, patch, augmentation)
    roots = np.sqrt(images)
    np.testing.assert_allclose(roots, np.round(roots), atol=1e-4)
    assert (np.ptp(images, axis=(-3, -2)) < 1e-3).all()


# Intensities: the image alone.


@pytest.fixture
def textured(write_case: Callable[..., CaseFiles]) -> CaseFiles:
    """A case as large as its patch: two smooth channels with some zeros, and a label."""
    noise = np.random.default_rng(3).normal(size=(12, 12, 12, 2))
    image = ndimage.gaussian_filter(noise, (1, 1, 1, 0)) + np.array([0.3, -0.2])
    image[:3] = 0
    return write_case("textured", image, image[..., 0] > 0.5)


def originals(case: CaseFiles) -> tuple[np.ndarray, np.ndarray]:
    return np.load(case.image), np.load(case.label)[..., 0]


INTENSITIES = [
    "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "inverted_gamma",
]  # fmt: skip
ALWAYS_SEEN = replace(OFF, low_resolution_channel_probability=1.0, low_resolution_scale=(0.5, 0.8))


@pytest.mark.parametrize("name", INTENSITIES)
def test_intensity_changes_come_with_their_probability_and_spare_the_label(
    textured: CaseFiles, name: str, draw_patches: Draw
) -> None:
    augmentation = replace(ALWAYS_SEEN, **{f"{name}_probability": 0.15})
    images, labels = draw_patches([textured], 1000, (12, 12, 12), augmentation)
    original, original_label = originals(textured)
    assert_share((images != original).any(axis=(1, 2, 3, 4)), 0.15)
    assert (labels == original_label).all()


def test_noise_has_zero_mean_and_deviations_over_the_whole_range(
    textured: CaseFiles, draw_patches: Draw
) -> None:
    augmentation = replace(OFF, noise_probability=1.0, noise_standard_deviation=(0.0, 0.3))
    images, _ = draw_patches([textured], 400, (12, 12, 12), augmentation)
    noise = (images - originals(textured)[0]).reshape(400, -1)
    assert abs(noise.mean()) < 0.002
    first, second = noise.reshape(-1, 2).T  # each channel has its own
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    deviations = noise.std(axis=1)
    assert deviations.max() < 0.31
    assert deviations.min() < 0.01
    assert abs(deviations.mean() - 0.15) <= 3 * 0.3 / np.sqrt(12 * 400)


def test_blur_is_the_gaussian_filter_of_scipy(textured: CaseFiles, draw_patches: Draw) -> None:
    augmentation = replace(OFF, blur_probability=1.0, blur_sigma=(1.0, 1.0))
    images, _ = draw_patches([textured], 50, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    expected = ndimage.gaussian_filter(original, (1, 1, 1, 0), mode="mirror", radius=3)
    for image in images:
        np.testing.assert_allclose(image, expected, atol=1e-5)


def test_blur_in_2d_is_the_filter_of_each_slice(textured: CaseFiles, draw_patches: Draw) -> None:
    augmentation = replace(OFF, blur_probability=1.0, blur_sigma=(1.0, 1.0))
    images, _ = draw_patches([textured], 100, (12, 12), augmentation)
    original = originals(textured)[0]
    expected = ndimage.gaussian_filter(original, (0, 1, 1, 0), mode="mirror", radius=3)
    distance = np.abs(images[:, np.newaxis] - expected).max(axis=(2, 3, 4)).min(axis=1)
    assert distance.max() < 1e-5


def test_brightness_multiplies_and_keeps_zeros_which_contrast_shifts(
    textured: CaseFiles, draw_patches: Draw
) -> None:
    augmentation = replace(OFF, brightness_probability=1.0)
    images, _ = draw_patches([textured], 200, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    factors = images[:, 6, 6, 6, 0] / original[6, 6, 6, 0]
    np.testing.assert_allclose(images, original * factors.reshape(-1, 1, 1, 1, 1), atol=1e-5)
    assert not images[:, :3].any()
    stretched = replace(OFF, contrast_probability=1.0, contrast_factor=(0.75, 0.75))
    images, _ = draw_patches([textured], 50, (12, 12, 12), stretched)
    shifted = np.broadcast_to(original.mean(axis=(0, 1, 2)) / 4, images[:, :3].shape)
    np.testing.assert_allclose(images[:, :3], shifted, atol=1e-5)
    assert np.abs(shifted).min() > 1e-2
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3


@pytest.mark.parametrize("factor", [0.65, 1.5])
def test_contrast_stretches_each_channel_about_its_mean_within_its_range(
    textured: CaseFiles, factor: float, draw_patches: Draw
) -> None:
    augmentation = replace(OFF, contrast_probability=1.0, contrast_factor=(factor, factor))
    images, _ = draw_patches([textured], 50, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    axes = (0, 1, 2)
    mean = original.mean(axis=axes)
    expected = (original - mean) * factor + mean
    expected = np.clip(expected, original.min(axis=axes), original.max(axis=axes))
    for image in images:
        np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["zoom", "low_resolution"])
def test_of_the_smallest_share_of_a_patch_a_voxel_is_left(
    write_case: Callable[..., CaseFiles], name: str, draw_patches: Draw
) -> None:
    image = np.random.default_rng(7).normal(size=(12, 12, 12, 1))
    case = write_case("noise", image, np.ones((12, 12, 12)))
    changes = {f"{name}_probability": 1.0, f"{name}_scale": (0.01, 0.02)}
    augmentation = replace(OFF, low_resolution_channel_probability=1.0, **changes)
    images, _ = draw_patches([case], 4, (8, 8, 8), augmentation)
    assert np.ptp(images, axis=(1, 2, 3)).max() < 1e-5
    assert np.abs(images).min() > 0


def test_low_resolution_shows_every_other_voxel_enlarged(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    texture = np.random.default_rng(6).normal(size=(24, 24, 2))
    case = write_case("texture", texture[np.newaxis], np.zeros((1, 24, 24)))
    augmentation = replace(OFF, low_resolution_probability=1.0, low_resolution_scale=(0.5, 0.5))
    images, _ = draw_patches([case], 800, (24, 24), augmentation)
    expected = tf.image.resize(texture[1::2, 1::2], (24, 24), method="bicubic").numpy()
    interior = slice(4, -4)  # the two continue an image differently beyond its edge
    changed = np.zeros((800, 2), bool)  # for each channel by itself
    for channel in range(2):
        changed[:, channel] = (images != texture.astype(np.float32))[..., channel].any(axis=(1, 2))
        lowered = images[changed[:, channel], ..., channel]
        assert_share(changed[:, channel], 0.5)
        difference = lowered - expected[..., channel]
        assert np.abs(difference[:, interior, interior]).max() < 2e-2
    assert_share(changed[:, 0] == changed[:, 1], 0.5)


@pytest.mark.parametrize(("name", "sign"), [("gamma", 1), ("inverted_gamma", -1)])
def test_gamma_is_a_power_of_each_channels_range_and_keeps_mean_and_deviation(
    textured: CaseFiles, name: str, sign: int, draw_patches: Draw
) -> None:
    augmentation = replace(OFF, **{f"{name}_probability": 1.0})
    images, _ = draw_patches([textured], 200, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    spatial = (-4, -3, -2)
    np.testing.assert_allclose(images.mean(spatial), [original.mean(spatial)] * 200, atol=1e-4)
    np.testing.assert_allclose(images.std(spatial), [original.std(spatial)] * 200, atol=1e-4)

    def in_range(array: np.ndarray) -> np.ndarray:
        """Each channel as shares of its range, without the ends and what is close to them."""
        array = sign * array.reshape(*array.shape[:-4], -1, 2).astype(float)
        lowest, highest = array.min(-2, keepdims=True), array.max(-2, keepdims=True)
        return (array - lowest) / (highest - lowest)

    shares = in_range(original)
    clear = ((shares > 0.2) & (shares < 0.8)).all(axis=-1)
    gamma = np.log(in_range(images)[:, clear]) / np.log(shares[clear])  # (200, voxels, 2)
    np.testing.assert_allclose(gamma, np.broadcast_to(gamma[:, :1], gamma.shape), rtol=1e-3)
    drawn = gamma[:, 0]  # (200, 2)
    assert 0.69 < drawn.min() < 0.72
    assert 1.48 < drawn.max() < 1.51
    assert abs(drawn.mean() - 1.1) <= 3 * 0.8 / np.sqrt(12 * 400)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 3 / np.sqrt(200)  # each channel has its own


def test_gamma_leaves_a_constant_image_alone(
    write_case: Callable[..., CaseFiles], draw_patches: Draw
) -> None:
    case = write_case("constant", np.full((8, 8, 8, 2), 2.5), np.zeros((8, 8, 8)))
    augmentation = replace(OFF, gamma_probability=1.0, inverted_gamma_probability=1.0)
    images, _ = draw_patches([case], 50, (8, 8, 8), augmentation)
    np.testing.assert_allclose(images, 2.5, atol=1e-5)


FIXED = replace(
    OFF,
    noise_standard_deviation=(0.3, 0.3),
    blur_sigma=(1.0, 1.0),
    brightness_factor=(2.0, 2.0),
    contrast_factor=(1.5, 1.5),
    low_resolution_channel_probability=1.0,
    low_resolution_scale=(0.5, 0.5),
    gamma_exponent=(0.7, 0.7),
)


# Brightness is only told apart from noise: what it multiplies, the others do not see.
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("blur", "contrast"),
        ("contrast", "low_resolution"),
        ("low_resolution", "inverted_gamma"),
        ("inverted_gamma", "gamma"),
    ],
)
def test_of_two_intensity_changes_the_second_meets_what_the_first_left(
    textured: CaseFiles,
    write_case: Callable[..., CaseFiles],
    first: str,
    second: str,
    draw_patches: Draw,
) -> None:
    original, label = originals(textured)

    def changed(image: np.ndarray, *names: str) -> np.ndarray:
        case = write_case(f"before_{'_'.join(names)}", image, label)
        augmentation = replace(FIXED, **{f"{name}_probability": 1.0 for name in names})
        return draw_patches([case], 1, (12, 12, 12), augmentation)[0][0]

    both = changed(original, first, second)
    np.testing.assert_allclose(both, changed(changed(original, first), second), atol=1e-4)
    assert np.abs(both - changed(changed(original, second), first)).max() > 1e-2


def test_noise_comes_first_so_that_it_is_blurred_and_brightened(
    textured: CaseFiles, draw_patches: Draw
) -> None:
    names = ("noise", "blur", "brightness")
    augmentation = replace(FIXED, **{f"{name}_probability": 1.0 for name in names})
    images, _ = draw_patches([textured], 50, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    blurred = ndimage.gaussian_filter(original, (1, 1, 1, 0), mode="mirror", radius=3)
    kernel = ndimage.gaussian_filter(np.eye(1, 15, 7)[0], 1, radius=3)
    middle = np.s_[:, 4:8, 4:8, 4:8]  # at the edges noise is mirrored, and less blurred
    deviation = (images - 2 * blurred)[middle].std()
    assert deviation == pytest.approx(2 * 0.3 * np.sqrt(np.sum(kernel**2)) ** 3, rel=0.1)


def test_no_augmentation_and_all_probabilities_zero_agree(
    textured: CaseFiles, draw_patches: Draw
) -> None:
    for augmentation in (OFF, AugmentationSettings.none()):
        images, labels = draw_patches([textured], 50, (12, 12, 12), augmentation)
        original, original_label = originals(textured)
        assert (images == original).all()
        assert (labels == original_label).all()

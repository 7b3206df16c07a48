"""What the graphs do to patches, against independent references and by counting draws."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from nnunet_lib.loading import AugmentationSettings, CaseFiles, LoaderSettings, training_batches

OFF = AugmentationSettings(
    zoom_probability=0.0,
    flip_probability=0.0,
    noise_probability=0.0,
    blur_probability=0.0,
    brightness_probability=0.0,
    contrast_probability=0.0,
)
BATCH = 50


def draw_patches(
    cases: list[CaseFiles],
    number: int,
    patch_size: tuple[int, ...],
    augmentation: AugmentationSettings = OFF,
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """`number` patches: images (number, *patch, c), labels (number, *patch)."""
    chosen = LoaderSettings(
        batch_size=BATCH,
        patch_size=patch_size,
        dimensions=len(patch_size),
        augmentation=augmentation,
        **settings,
    )
    batches = training_batches(cases, chosen).take(-(-number // BATCH)).as_numpy_iterator()
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images)[:number], np.concatenate(labels)[:number, ..., 0]


def assert_share(hits: np.ndarray, expected: float) -> None:
    """The share of True among independent draws is within 3 binomial standard errors."""
    error = np.sqrt(expected * (1 - expected) / len(hits))
    assert abs(hits.mean() - expected) <= 3 * error


# Where patches are cropped.


@pytest.mark.parametrize("oversampling", [0.0, 0.33, 1.0])
def test_the_share_of_patches_aimed_at_the_foreground(
    write_case: Callable[..., CaseFiles], oversampling: float
) -> None:
    label = np.zeros((24, 24, 24))
    label[12, 12, 12] = 1
    case = write_case("one_voxel", np.zeros((24, 24, 24, 1)), label)
    _, labels = draw_patches([case], 1200, (6, 6, 6), foreground_oversampling=oversampling)
    by_chance = (6 / 19) ** 3  # 6 of 19 starts an axis cover the voxel
    assert_share(labels.any(axis=(1, 2, 3)), oversampling + (1 - oversampling) * by_chance)


def test_the_class_is_drawn_uniformly_among_those_present(
    write_case: Callable[..., CaseFiles],
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
    write_case: Callable[..., CaseFiles],
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
    write_case: Callable[..., CaseFiles], shape: tuple[int, ...], patch: tuple[int, ...]
) -> None:
    distance = np.linalg.norm(np.indices(shape[1:]).T - 9.5, axis=-1)
    label = np.zeros(shape)
    label[2:-2] = (distance > 7) & (distance < 9)  # a tube: much of its box is empty
    case = write_case("tube", np.zeros((*shape, 1)), label)
    _, labels = draw_patches([case], 400, patch, foreground_oversampling=1.0)
    assert labels.any(axis=tuple(range(1, labels.ndim))).all()


def test_zoomed_patches_see_the_foreground_too(write_case: Callable[..., CaseFiles]) -> None:
    label = np.zeros((24, 24, 24))
    label[4:7, 16:19, 9:12] = 1
    case = write_case("cube", np.zeros((24, 24, 24, 1)), label)
    zoomed = replace(OFF, zoom_probability=1.0)
    _, labels = draw_patches([case], 200, (8, 8, 8), zoomed, foreground_oversampling=1.0)
    assert labels.any(axis=(1, 2, 3)).all()


def test_cases_without_foreground_are_cropped_all_the_same(
    write_case: Callable[..., CaseFiles],
) -> None:
    case = write_case("empty", np.ones((9, 9, 9, 1)), np.zeros((9, 9, 9)))
    images, labels = draw_patches([case], 50, (4, 4, 4), foreground_oversampling=1.0)
    assert (images == 1).all()
    assert not labels.any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_patches_are_crops_from_everywhere(
    coordinate_case: Callable[..., CaseFiles], dimensions: int
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
    coordinate_case: Callable[..., CaseFiles], name: str, axis: int, patch: tuple[int, ...]
) -> None:
    case = coordinate_case(labelled_axis=axis)
    images, labels = draw_patches([case], 100, patch, GEOMETRY[name])
    # Half a voxel for nearest, and a little where cubic interpolation meets the crop's edge.
    assert np.abs(images[..., axis] - labels).max() <= 0.7
    interior = (slice(None), *(slice(2, -2) if size > 4 else slice(None) for size in patch))
    assert np.abs(images[..., axis] - labels)[interior].max() <= 0.5 + 1e-4


@pytest.mark.parametrize("patch", [(6, 7, 8), (7, 8)])
def test_every_axis_is_flipped_half_the_time_by_itself(
    coordinate_case: Callable[..., CaseFiles], patch: tuple[int, ...]
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
    coordinate_case: Callable[..., CaseFiles],
) -> None:
    augmentation = replace(OFF, zoom_probability=1.0, zoom_scale=(0.6, 0.8))
    images, _ = draw_patches([coordinate_case()], 200, (20, 20, 20), augmentation)
    steps = [np.diff(images[..., a], axis=a + 1)[:, 9, 9, 9] for a in range(3)]
    region = np.round(np.array(steps) * 20)  # voxels of the case in a patch's side
    assert region.min() == 12
    assert region.max() == 16
    assert (region == region[0]).all()


def test_zoom_invents_no_label(write_case: Callable[..., CaseFiles]) -> None:
    label = np.random.default_rng(4).choice([0, 3], size=(16, 16, 16))
    case = write_case("two_values", np.zeros((16, 16, 16, 1)), label)
    _, labels = draw_patches([case], 100, (12, 12, 12), GEOMETRY["zoom"])
    assert set(np.unique(labels)) == {0, 3}


def test_zoom_of_a_slice_is_the_bicubic_resize_of_tensorflow(
    write_case: Callable[..., CaseFiles],
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


@pytest.mark.parametrize("patch", [(4, 16, 16), (16, 16)])
def test_zoom_and_blur_leave_slices_apart(
    write_case: Callable[..., CaseFiles], patch: tuple[int, ...]
) -> None:
    slices = np.arange(20.0).reshape(-1, 1, 1, 1) ** 2
    case = write_case("slices", np.broadcast_to(slices, (20, 20, 20, 1)), np.zeros((20, 20, 20)))
    augmentation = replace(OFF, zoom_probability=1.0, blur_probability=1.0)
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


INTENSITIES = ["noise", "blur", "brightness", "contrast"]


@pytest.mark.parametrize("name", INTENSITIES)
def test_intensity_changes_come_with_their_probability_and_spare_the_label(
    textured: CaseFiles, name: str
) -> None:
    augmentation = replace(OFF, **{f"{name}_probability": 0.15})
    images, labels = draw_patches([textured], 1000, (12, 12, 12), augmentation)
    original, original_label = originals(textured)
    assert_share((images != original).any(axis=(1, 2, 3, 4)), 0.15)
    assert (labels == original_label).all()


def test_noise_has_zero_mean_and_deviations_over_the_whole_range(textured: CaseFiles) -> None:
    augmentation = replace(OFF, noise_probability=1.0, noise_standard_deviation=(0.0, 0.3))
    images, _ = draw_patches([textured], 400, (12, 12, 12), augmentation)
    noise = (images - originals(textured)[0]).reshape(400, -1)
    assert abs(noise.mean()) < 0.002
    deviations = noise.std(axis=1)
    assert deviations.max() < 0.31
    assert deviations.min() < 0.01
    assert abs(deviations.mean() - 0.15) <= 3 * 0.3 / np.sqrt(12 * 400)


def test_blur_is_the_gaussian_filter_of_scipy(textured: CaseFiles) -> None:
    augmentation = replace(OFF, blur_probability=1.0, blur_sigma=(1.0, 1.0))
    images, _ = draw_patches([textured], 50, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    expected = ndimage.gaussian_filter(original, (1, 1, 1, 0), mode="mirror", radius=3)
    for image in images:
        np.testing.assert_allclose(image, expected, atol=1e-5)


def test_blur_in_2d_is_the_filter_of_each_slice(textured: CaseFiles) -> None:
    augmentation = replace(OFF, blur_probability=1.0, blur_sigma=(1.0, 1.0))
    images, _ = draw_patches([textured], 100, (12, 12), augmentation)
    original = originals(textured)[0]
    expected = ndimage.gaussian_filter(original, (0, 1, 1, 0), mode="mirror", radius=3)
    distance = np.abs(images[:, np.newaxis] - expected).max(axis=(2, 3, 4)).min(axis=1)
    assert distance.max() < 1e-5


def test_brightness_multiplies_and_keeps_zeros(textured: CaseFiles) -> None:
    augmentation = replace(OFF, brightness_probability=1.0)
    images, _ = draw_patches([textured], 200, (12, 12, 12), augmentation)
    original = originals(textured)[0]
    factors = images[:, 6, 6, 6, 0] / original[6, 6, 6, 0]
    np.testing.assert_allclose(images, original * factors.reshape(-1, 1, 1, 1, 1), atol=1e-5)
    assert not images[:, :3].any()
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3


@pytest.mark.parametrize("factor", [0.65, 1.5])
def test_contrast_stretches_each_channel_about_its_mean_within_its_range(
    textured: CaseFiles, factor: float
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


def test_no_augmentation_and_all_probabilities_zero_agree(textured: CaseFiles) -> None:
    for augmentation in (OFF, AugmentationSettings.none()):
        images, labels = draw_patches([textured], 50, (12, 12, 12), augmentation)
        original, original_label = originals(textured)
        assert (images == original).all()
        assert (labels == original_label).all()

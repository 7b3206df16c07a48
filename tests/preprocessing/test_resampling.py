"""Resampling against SciPy's zoom over whole volumes, and against what must always hold."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, map_coordinates, zoom

from nnunet_lib.preprocessing import (
    resample_argmax,
    resample_image,
    resample_labels,
    resample_logits,
    resampled_shape,
    separate_axis,
)
from nnunet_lib.preprocessing.resampling import interpolation_matrix, nearest_voxels

FINE = (1.0, 1.0, 1.0)
SHAPES = [(9, 14, 11), (5, 7, 6), (18, 7, 12), (7, 10, 9), (1, 21, 4)]


def noise(shape: tuple[int, ...] = (7, 10, 9), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole_zoom(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """The reference: SciPy on all axes at once, clipped to the range of what went in."""
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    result = zoom(volume.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(result, volume.min(), volume.max())


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_is_resampled_as_scipy_does_it(shape: tuple[int, ...]) -> None:
    image = noise((7, 10, 9, 2))
    result = resample_image(image, shape, FINE, FINE)
    assert result.dtype == np.float32
    for channel in range(2):
        expected = whole_zoom(image[..., channel], shape, order=3)
        np.testing.assert_allclose(result[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_resampled_as_scipy_does_it(shape: tuple[int, ...]) -> None:
    logits = noise((7, 10, 9, 3))
    result = resample_logits(logits, shape, FINE, FINE)
    for index in range(3):
        expected = whole_zoom(logits[..., index], shape, order=1)
        np.testing.assert_allclose(result[..., index], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "axis"),
    [
        ((5.0, 1.0, 1.0), FINE, 0),
        (FINE, (1.0, 4.0, 1.0), 1),
        ((1.0, 1.0, 5.0), (4.0, 1.0, 1.0), 2),  # the old spacing is asked first
    ],
)
@pytest.mark.parametrize("order", [1, 3])
def test_thick_slices_are_resampled_apart(
    spacing: tuple[float, ...], new_spacing: tuple[float, ...], axis: int, order: int
) -> None:
    """In plane a slice at a time, as SciPy does it; then SciPy's nearest neighbour between."""
    volume, shape = noise(), (11, 13, 6)
    in_plane = [size for index, size in enumerate(shape) if index != axis]
    slices = [whole_zoom(part, tuple(in_plane), order) for part in np.moveaxis(volume, axis, 0)]
    grid = np.indices(shape).astype(float)
    grid[axis] = (grid[axis] + 0.5) * volume.shape[axis] / shape[axis] - 0.5
    expected = map_coordinates(np.stack(slices, axis), grid, order=0, mode="nearest")
    resample = resample_image if order == 3 else resample_logits
    result = resample(volume[..., None], shape, spacing, new_spacing)
    np.testing.assert_allclose(result[..., 0], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("spacing", "new_spacing", "expected"),
    [
        (FINE, FINE, None),
        ((3.0, 1.0, 1.0), FINE, None),  # more than 3 times, not just 3
        ((3.1, 1.0, 1.0), FINE, 0),
        (FINE, (1.0, 1.0, 3.1), 2),
        ((1.0, 3.1, 1.0), (3.1, 1.0, 1.0), 1),  # the old spacing is asked first
        ((0.2, 1.25, 1.25), FINE, None),  # two coarse axes: nothing to keep apart
        ((0.2, 1.25, 1.25), (5.0, 1.0, 1.0), None),
    ],
)
def test_separate_axis(
    spacing: tuple[float, ...], new_spacing: tuple[float, ...], expected: int | None
) -> None:
    assert separate_axis(spacing, new_spacing) == expected


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("size", "new_size"), [(9, 14), (14, 9), (1, 5), (5, 1), (2, 3), (8, 16)])
def test_rows_of_the_matrix_sum_to_one(size: int, new_size: int, order: int) -> None:
    matrix = interpolation_matrix(size, new_size, order)
    assert matrix.shape == (new_size, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("new_size", range(1, 12))
def test_nearest_voxels_are_scipys(size: int, new_size: int) -> None:
    centres = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    expected = map_coordinates(np.arange(size), centres[None], order=0, mode="nearest")
    np.testing.assert_array_equal(nearest_voxels(size, new_size), expected)


def test_a_constant_stays_constant() -> None:
    image = np.full((5, 6, 7, 1), 3.25, np.float32)
    np.testing.assert_array_equal(resample_image(image, (8, 9, 3), FINE, FINE), 3.25)


def test_a_ramp_stays_a_ramp_inside() -> None:
    ramp = np.broadcast_to(np.arange(12.0, dtype=np.float32)[:, None, None, None], (12, 4, 4, 1))
    result = resample_logits(ramp, (24, 4, 4), FINE, FINE)[1:-1, 0, 0, 0]
    np.testing.assert_allclose(result, (np.arange(24)[1:-1] + 0.5) / 2 - 0.5, atol=1e-5)


@pytest.mark.parametrize("spacing", [FINE, (5.0, 1.0, 1.0)])
def test_never_leaves_the_range_that_was_there(spacing: tuple[float, ...]) -> None:
    image = (noise((6, 8, 8, 2)) > 0).astype(np.float32)
    result = resample_image(image, (9, 13, 11), spacing, FINE)
    assert result.min() >= 0
    assert result.max() <= 1


def test_each_thick_slice_keeps_to_its_own_range() -> None:
    most = np.arange(1, 7)[:, None, None, None]
    image = np.where(noise((6, 8, 8, 2)) > 0, most, -most).astype(np.float32)
    result = resample_image(image, (6, 13, 11), (5.0, 1.0, 1.0), FINE)
    assert (np.abs(result) <= most).all()


def test_the_same_shape_changes_nothing_and_is_a_copy() -> None:
    image = noise((4, 5, 6, 2))
    label = (image[..., 0] > 0).astype(np.uint8)
    result = resample_image(image, (4, 5, 6), FINE, FINE)
    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)
    np.testing.assert_array_equal(resample_logits(image, (4, 5, 6), FINE, FINE), image)
    np.testing.assert_array_equal(resample_labels(label, (4, 5, 6), FINE, FINE), label)


@pytest.mark.parametrize(
    ("shape", "spacing", "new_spacing", "expected"),
    [
        ((10, 20, 30), (2.0, 1.0, 1.0), (1.0, 1.0, 1.5), (20, 20, 20)),
        ((7, 7, 7), (1.0, 1.0, 1.0), (1.3, 1.4, 2.0), (5, 5, 4)),
        ((1, 3, 2), (1.0, 1.0, 1.0), (9.0, 7.0, 1.0), (1, 1, 2)),
    ],
)
def test_the_new_shape_covers_the_same_millimetres(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    new_spacing: tuple[float, ...],
    expected: tuple[int, ...],
) -> None:
    assert resampled_shape(shape, spacing, new_spacing) == expected


class TestLabels:
    def blocks(self) -> np.ndarray:
        label = np.zeros((9, 12, 10), np.uint8)
        label[2:7, 3:9, 2:5] = 2
        label[2:7, 3:9, 5:8] = 7
        return label

    @pytest.mark.parametrize("shape", [(13, 17, 9), (5, 6, 7), (9, 12, 20)])
    def test_the_largest_resampled_one_hot_wins(self, shape: tuple[int, ...]) -> None:
        label = self.blocks()
        one_hot = [whole_zoom(label == value, shape, order=1) for value in range(8)]
        # Ties are decided by rounding in the reference; a hair for the nearest voxel's label, and
        # a thinner one for lower labels, settles them.
        nearest = whole_zoom(label, shape, order=0)
        hair = [2e-6 * (nearest == value) - 1e-7 * value for value in range(8)]
        expected = np.argmax(np.stack(one_hot) + hair, axis=0)
        np.testing.assert_array_equal(resample_labels(label, shape, FINE, FINE), expected)

    @pytest.mark.parametrize("spacing", [FINE, (5.0, 1.0, 1.0)])
    def test_no_new_label_appears(self, spacing: tuple[float, ...]) -> None:
        result = resample_labels(self.blocks(), (14, 18, 15), spacing, FINE)
        assert set(np.unique(result)) == {0, 2, 7}
        assert result.dtype == np.uint8

    def test_every_label_occurs_among_the_source_voxels_around(self) -> None:
        label = np.random.default_rng(0).integers(0, 5, (6, 7, 8)).astype(np.uint8)
        shape = (9, 9, 5)
        result = resample_labels(label, shape, FINE, FINE)
        for index in np.ndindex(shape):
            centre = [
                (i + 0.5) * old / new - 0.5
                for i, old, new in zip(index, label.shape, shape, strict=True)
            ]
            around = tuple(
                slice(max(0, int(np.floor(place))), int(np.floor(place)) + 2) for place in centre
            )
            assert result[index] in label[around]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([3, 1], 1),  # the middle is the upper voxel's, as SciPy rounds
            ([1, 3], 3),
            ([1, 255], 255),
            ([3, 1, 1, 1, 2, 2, 2, 0], 1),  # the nearest is no winner: the lowest of those that are
            ([3, 200, 200, 200, 100, 100, 100, 0], 100),
        ],
    )
    def test_on_a_tie_the_nearest_voxel_decides(self, values: list[int], expected: int) -> None:
        label = np.array(values, np.uint8).reshape(2, -1, 1)
        block = label.reshape(2, 2, 2) if len(values) == 8 else label
        assert resample_labels(block, (1, 1, 1), FINE, FINE).item() == expected


@pytest.mark.parametrize(
    ("spacing", "target"),
    [
        (FINE, (0.67, 0.67, 0.67)),
        (FINE, (1.5, 1.5, 1.5)),
        (FINE, (1.2, 0.8, 1.5)),
        ((4.0, 1.0, 1.0), (5.0, 1.4, 1.2)),  # thick slices: nearest neighbour between them
        ((2.0, 1.5, 1.0), (4.5, 1.0, 1.0)),
    ],
)
def test_a_perfect_prediction_survives_there_and_back(
    spacing: tuple[float, ...], target: tuple[float, ...]
) -> None:
    """Labels to the target grid; back as logits would go, which say those labels exactly."""
    millimetres = (np.indices((36, 40, 44)).T + 0.5) * spacing  # (x, y, z, 3)
    distance = np.linalg.norm(millimetres - np.array([36, 40, 44]) * spacing / 2, axis=-1).T
    label = (distance < 16 * max(spacing) / 2).astype(np.uint8)  # 16 voxels across at least
    label[distance < 6 * max(spacing)] = 2
    shape = resampled_shape(label.shape, spacing, target)
    there = resample_labels(label, shape, spacing, target)
    logits = np.eye(3, dtype=np.float32)[there]  # (*shape, class)
    back = resample_argmax(logits, label.shape, target, spacing)
    far = distance_to_boundary(label, spacing) > np.linalg.norm(target)
    assert far.mean() > 0.2
    np.testing.assert_array_equal(back[far], label[far])
    whole, returned = label > 0, back > 0
    assert 2 * (whole & returned).sum() / (whole.sum() + returned.sum()) > 0.9


def distance_to_boundary(label: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Millimetres from each voxel to the nearest one with another label."""
    distances = np.zeros(label.shape)
    for value in np.unique(label):
        here = label == value
        distances[here] = distance_transform_edt(here, sampling=spacing)[here]
    return distances


@pytest.mark.parametrize(
    "spacings", [(FINE, FINE), ((5.0, 1.0, 1.0), FINE), ((1.0, 1.0, 5.0), (4.0, 1.0, 1.0))]
)
def test_argmax_a_few_planes_at_a_time_is_the_argmax_of_all(
    spacings: tuple[tuple[float, ...], tuple[float, ...]],
) -> None:
    logits, shape = noise((6, 9, 8, 5)), (21, 12, 6)  # planes: no multiple of a few
    expected = resample_logits(logits, shape, *spacings).argmax(axis=-1)
    np.testing.assert_array_equal(resample_argmax(logits, shape, *spacings), expected)


@pytest.mark.parametrize("new_spacing", [(3.0, 0.7, 0.7), (1.0, 1.0, 4.0)])
def test_labels_of_thick_slices_are_not_mixed_across_them(new_spacing: tuple[float, ...]) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (4, 9, 9)).astype(np.uint8)
    whole = resample_labels(labels, (7, 14, 14), (5.0, 1.0, 1.0), new_spacing)
    slices = [
        resample_labels(each[None], (1, 14, 14), (5.0, 1.0, 1.0), (5.0, 0.7, 0.7))
        for each in labels
    ]
    np.testing.assert_array_equal(whole, np.concatenate(slices)[nearest_voxels(4, 7)])


def test_the_size_is_rounded_after_nnu_net_s_order_of_operations() -> None:
    """nnU-Net divides the spacings first; where the product is a half, the order decides."""
    pairs = [(old, new) for old in (0.3, 0.7, 1.1, 1.3) for new in (0.2, 0.4, 0.6, 1.0, 1.4)]
    tried = [(size, old, new) for size in range(5, 200) for old, new in pairs]
    differ = [
        (s, old, new) for s, old, new in tried if round(old / new * s) != round(s * old / new)
    ]
    assert differ
    for size, old, new in differ:
        assert resampled_shape((size,), (old,), (new,)) == (round(old / new * size),)


def test_labels_that_stay_as_they_are_are_a_copy() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    assert not np.shares_memory(labels, resample_labels(labels, labels.shape, FINE, FINE))

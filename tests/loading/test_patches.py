"""What the twin computes by matrices and by a table, against SciPy's and NumPy's own."""

import numpy as np
import pytest
from scipy import ndimage, stats

from nnunet_lib.loading.patches import (
    along_each_axis,
    blur,
    cubic_matrix,
    normal_noise,
    resize_nearest,
)

SIGMA = 1.2


@pytest.mark.parametrize("shape", [(9, 11, 13, 1), (1, 11, 13, 2), (4, 3, 2, 3), (5, 17, 40, 2)])
@pytest.mark.parametrize("apart", [False, True])
def test_blur_is_scipys_also_where_it_reaches_beyond_the_patch(
    shape: tuple[int, ...], apart: bool
) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=shape).astype(np.float32)
    axes = (1, 2) if apart else (0, 1, 2)
    expected = ndimage.gaussian_filter(image, SIGMA, mode="mirror", radius=4, axes=axes)
    found = blur(image, (SIGMA, SIGMA), apart, random)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_axis_has_its_matrix_and_channels_are_kept_apart(channels: int) -> None:
    random = np.random.default_rng(1)
    image = random.normal(size=(4, 5, 6, channels)).astype(np.float32)
    z, y, x = (random.normal(size=size).astype(np.float32) for size in ((7, 4), (2, 5), (3, 6)))
    expected = np.einsum("zd,yh,xw,dhwc->zyxc", z, y, x, image)
    np.testing.assert_allclose(along_each_axis([z, y, x], image), expected, rtol=1e-4, atol=1e-5)
    turned = np.flip(image, (0, 2))  # a view
    np.testing.assert_array_equal(
        along_each_axis([z, y, x], turned), along_each_axis([z, y, x], turned.copy())
    )


def test_only_what_is_zero_is_left_out_of_a_matrix() -> None:
    random = np.random.default_rng(6)
    image = random.normal(size=(37, 20, 33, 2)).astype(np.float32)
    sizes = ((50, 37), (16, 20), (17, 33))
    full = [random.normal(0, 0.1, size).astype(np.float32) for size in sizes]
    for matrices in (full, [near_the_diagonal(matrix) for matrix in full]):
        expected = np.einsum("zd,yh,xw,dhwc->zyxc", *matrices, image.astype(float))
        np.testing.assert_allclose(along_each_axis(matrices, image), expected, atol=1e-5)


def near_the_diagonal(matrix: np.ndarray) -> np.ndarray:
    """A matrix (n, m) with zeros three columns and more from its diagonal."""
    row, column = np.indices(matrix.shape)
    return np.where(np.abs(row * matrix.shape[1] / len(matrix) - column) < 3, matrix, 0)


def test_beyond_a_line_s_ends_cubic_continues_the_edge_value() -> None:
    line = np.random.default_rng(7).normal(size=6)
    longer = np.pad(line, 4, mode="edge")
    enlarged = (cubic_matrix(14, 28) @ longer)[8:-8]
    np.testing.assert_allclose(cubic_matrix(6, 12) @ line, enlarged, atol=1e-6)


def test_nearest_takes_whole_planes() -> None:
    array = np.random.default_rng(2).integers(0, 9, (3, 4, 5, 2))
    bigger = resize_nearest(array, (6, 4, 10))
    np.testing.assert_array_equal(bigger, array.repeat(2, axis=0).repeat(2, axis=2))


def test_noise_is_normal_and_follows_its_generator() -> None:
    noise = normal_noise((40, 50, 60, 1), np.random.default_rng(3))
    assert noise.dtype == np.float32
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert stats.kurtosis(noise.ravel()) == pytest.approx(0, abs=0.06)
    for axis in range(3):  # neighbours know nothing of each other
        pairs = np.moveaxis(noise[..., 0], axis, 0)
        correlation = np.corrcoef(pairs[1:].ravel(), pairs[:-1].ravel())[0, 1]
        assert abs(correlation) < 0.015
    again, other = (normal_noise((40, 50, 60, 1), np.random.default_rng(n)) for n in (3, 4))
    np.testing.assert_array_equal(noise, again)
    assert not np.array_equal(noise, other)

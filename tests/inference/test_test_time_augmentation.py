"""Flips are all made, and all undone."""

import tracemalloc

import numpy as np
import pytest

from nnunet_lib.inference.test_time_augmentation import flip_combinations, with_flips
from nnunet_lib.inference.windows import sliding_window


def an_image(shape=(6, 9, 7, 2), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def an_asymmetric_predictor(image):
    """It looks at one neighbour only, and at the place in the image."""
    place = np.linspace(0, 1, image[..., 0].size).reshape(image.shape[:-1])[..., None]
    return (np.roll(image, 1, axis=0) + 2 * np.roll(image, 1, axis=2) + place).astype(np.float32)


def test_all_subsets_of_the_axes_are_flipped():
    assert set(flip_combinations((1, 2))) == {(), (1,), (2,), (1, 2)}
    assert len(set(flip_combinations((0, 1, 2)))) == 8


@pytest.mark.parametrize("axes", [(), (1, 2), (0, 1, 2)])
def test_an_identity_predictor_gives_back_the_image(axes):
    image = an_image()
    kept = image.copy()
    np.testing.assert_allclose(with_flips(lambda x: x, image, axes), image, atol=1e-6)
    np.testing.assert_array_equal(image, kept)


def test_it_is_the_mean_over_flips_undone():
    image = an_image()
    expected = np.mean(
        [
            np.flip(an_asymmetric_predictor(np.flip(image, axes)), axes)
            for axes in [(), (1,), (2,), (1, 2)]
        ],
        axis=0,
    )
    np.testing.assert_allclose(
        with_flips(an_asymmetric_predictor, image, (1, 2)), expected, atol=1e-5
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_asymmetric_predictor_becomes_equivariant(axis):
    image = an_image()

    def averaged(x):
        return with_flips(an_asymmetric_predictor, x, (0, 1, 2))

    alone = an_asymmetric_predictor(np.flip(image, axis))
    assert np.abs(alone - np.flip(an_asymmetric_predictor(image), axis)).max() > 0.1
    np.testing.assert_allclose(
        averaged(np.flip(image, axis)), np.flip(averaged(image), axis), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(16, 16, 16, 2), (8, 12, 8, 2), (5, 17, 3, 2)])
def test_an_identity_network_comes_back_through_windows_and_flips(shape):
    image = an_image(shape)

    def predict(x):
        return sliding_window(lambda patches: patches, x, (8, 12, 8))

    np.testing.assert_allclose(with_flips(predict, image, (0, 1, 2)), image, atol=1e-5)


def test_memory_does_not_grow_with_the_number_of_flips():
    image = an_image((40, 40, 40, 2))
    tracemalloc.start()
    mean = with_flips(lambda x: x * 2, image, (0, 1, 2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * mean.nbytes  # the mean, and the flip that is being added

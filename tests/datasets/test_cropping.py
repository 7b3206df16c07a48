import numpy as np
import pytest

from nnunet_lib.datasets.cropping import bounding_box, box_slices, nonzero_mask


def test_the_mask_holds_any_channel_and_fills_holes():
    image = np.zeros((7, 7, 7, 2), np.float32)
    image[1:6, 1:6, 1:6, 0] = -1
    image[3, 3, 3] = 0  # a hole
    image[0, 3, 3, 1] = 5  # the other channel alone
    mask = nonzero_mask(image)
    assert mask.dtype == bool
    assert mask[3, 3, 3]
    assert mask[0, 3, 3]
    assert mask.sum() == 5**3 + 1


def test_a_notch_is_no_hole():
    image = np.zeros((5, 5, 5, 1))
    image[1:4, 1:4, 1:4] = 1
    image[:3, 2, 2] = 0
    assert not nonzero_mask(image)[2, 2, 2]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, -1])
def test_what_reaches_a_face_of_the_image_is_no_hole(axis, end):
    image = np.ones((7, 8, 9, 1))
    voxel = [3, 4, 4]
    voxel[axis] = end
    image[tuple(voxel)] = 0
    assert not nonzero_mask(image)[tuple(voxel)]


def test_an_image_of_zeros_is_kept_whole():
    mask = nonzero_mask(np.zeros((3, 4, 5, 2)))
    assert bounding_box(mask) == ((0, 3), (0, 4), (0, 5))
    assert bounding_box(np.zeros((3, 4), bool)) == ((0, 3), (0, 4))


@pytest.mark.parametrize("seed", range(10))
def test_the_box_holds_everything_and_touches_it(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random(tuple(generator.integers(1, 9, 3))) < 0.05
    mask.flat[generator.integers(mask.size)] = True
    box = bounding_box(mask)
    inside = mask[box_slices(box)]
    assert inside.sum() == mask.sum()
    for axis in range(3):
        planes = np.moveaxis(inside, axis, 0)
        assert planes[0].any()
        assert planes[-1].any()

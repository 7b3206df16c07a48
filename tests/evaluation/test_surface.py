"""Surface distances by hand, against every pair of voxels, and against MedPy."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.distance import cdist

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.surface import SurfaceScores, surface_of, surface_scores

REFERENCES = json.loads((Path(__file__).parent / "references/surfaces.json").read_text())
SPACING = (3.0, 0.5, 0.75)


def cube(start, size=4, shape=(12, 12, 12)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(at, at + size) for at in start)] = 1
    return mask


def blobs(seed, shape=(8, 15, 13)):
    """Two random masks with smooth borders, some of which touch the image's own."""
    random = np.random.default_rng(seed)
    noise = [gaussian_filter(random.normal(size=shape), 1.5) for _ in range(2)]
    return tuple((values > np.quantile(values, 0.6)).astype(np.uint8) for values in noise)


def by_all_pairs(prediction, truth, spacing, tolerance):
    """The definitions, from the distance of every surface voxel to every other."""
    edges = [mask & ~binary_erosion(mask).astype(np.uint8) for mask in (prediction, truth)]
    points = [np.argwhere(edge) * spacing for edge in edges]
    pairs = cdist(*points)  # (voxel, voxel)
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    hd95 = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    assd = (there.sum() + back.sum()) / (len(there) + len(back))
    within = (there <= tolerance).sum() + (back <= tolerance).sum()
    return SurfaceScores(hd95, assd, within / (len(there) + len(back)))


def assert_close(scores, expected):
    assert vars(scores) == pytest.approx(vars(expected), abs=1e-9)


def test_two_voxels():
    one, other = cube((2, 3, 4), size=1), cube((3, 7, 4), size=1)
    # Δz = 1 voxel of 3 mm, Δy = 4 voxels of 1 mm
    assert surface_scores(one, other, (3, 1, 10), tolerance=4.9) == SurfaceScores(5, 5, 0)
    assert surface_scores(one, other, (3, 1, 10), tolerance=5) == SurfaceScores(5, 5, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_of_one_slice_is_compared_as_a_picture(axis):
    truth, prediction = np.zeros((2, 64, 64), np.uint8)
    truth[12:52, 12:52] = 1
    prediction[14:50, 14:50] = 1  # each edge is 2 voxels off, and nearly all is inside of both
    flat = surface_scores(prediction, truth, (1.0, 1.0))
    assert flat.surface_dice == 0
    assert flat.assd_mm == pytest.approx(2, abs=0.1)
    slices = (np.expand_dims(array, axis) for array in (prediction, truth))
    assert surface_scores(*slices, np.insert((1.0, 1.0), axis, 7.0)) == flat


def test_an_image_of_one_voxel_has_a_surface():
    voxel = np.ones((1, 1, 1), np.uint8)
    assert surface_scores(voxel, voxel, SPACING) == SurfaceScores(0, 0, 1)
    assert surface_scores(voxel, 0 * voxel, SPACING) == SurfaceScores(None, None, 0)


def test_a_shifted_cube():
    # Each cube of 3 voxels has 26 on its surface (all but the centre). Shifted by 3 along x they
    # touch: the facing layer of 9 is 1 voxel from the other's, the middle layer's 8 are 2 away and
    # the far layer's 9 are 3 away.
    scores = surface_scores(cube((4, 4, 2), 3), cube((4, 4, 5), 3), (1, 1, 2), tolerance=2)
    assert scores.assd_mm == pytest.approx(2 * (9 * 1 + 8 * 2 + 9 * 3) / 26)
    assert scores.surface_dice == pytest.approx(9 / 26)
    assert scores.hd95_mm == pytest.approx(6)


def test_one_cube_inside_another():
    # A cube of 3 in the middle of one of 7: all 26 inner surface voxels are 2 away. The outer ones
    # lie 0, 1 or 2 beyond the inner cube along each axis, for which an axis has 3, 2 and 2 places.
    counts = {
        (2, 0, 0): 3 * 2 * 3 * 3,
        (2, 1, 0): 6 * 2 * 2 * 3,
        (2, 1, 1): 3 * 2 * 2 * 2,
        (2, 2, 0): 3 * 2 * 2 * 3,
        (2, 2, 1): 3 * 2 * 2 * 2,
        (2, 2, 2): 2 * 2 * 2,
    }
    assert sum(counts.values()) == 7**3 - 5**3
    total = 26 * 2 + sum(count * np.linalg.norm(beyond) for beyond, count in counts.items())
    scores = surface_scores(cube((4, 4, 4), 3), cube((2, 2, 2), 7), (1, 1, 1), tolerance=2)
    assert scores.assd_mm == pytest.approx(total / (26 + 218))
    assert scores.surface_dice == pytest.approx((26 + 54) / (26 + 218))
    assert scores.hd95_mm == pytest.approx(3)  # 0.95 x 217 = 206: of (2, 2, 1), ranks 186 to 209


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1, 1, 1), SPACING, (0.9, 2.5, 1.1)])
def test_the_definitions_over_all_pairs_of_voxels(seed, spacing):
    prediction, truth = blobs(seed)
    scores = surface_scores(prediction, truth, spacing, tolerance=1.3)
    assert_close(scores, by_all_pairs(prediction, truth, spacing, 1.3))


@pytest.mark.parametrize("pair", REFERENCES["pairs"])
def test_medpy_agrees(pair):
    size = np.prod(pair["shape"])
    prediction, truth = (
        np.unpackbits(np.frombuffer(bytes.fromhex(pair[name]), np.uint8), count=size)
        .reshape(pair["shape"])
        for name in ("prediction", "truth")
    )  # fmt: skip
    scores = surface_scores(prediction, truth, pair["spacing"], tolerance=REFERENCES["tolerance"])
    assert vars(scores) == pytest.approx({name: pair[name] for name in vars(scores)}, abs=1e-9)


@pytest.mark.parametrize("shape", [(6, 7, 5), (1, 6, 7), (2, 2, 2), (9, 8), (4,)])
def test_the_surface_is_what_scipys_erosion_takes(shape):
    mask = np.random.default_rng(0).random(shape) < 0.8
    np.testing.assert_array_equal(surface_of(mask), mask & ~binary_erosion(mask))
    whole = np.ones(shape, bool)
    np.testing.assert_array_equal(surface_of(whole), whole & ~binary_erosion(whole))


def test_it_is_symmetric():
    one, other = blobs(5)
    assert_close(surface_scores(one, other, SPACING), surface_scores(other, one, SPACING))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_turning_maps_and_spacing_together_changes_nothing(axes):
    maps = blobs(6)
    turned = [mask.transpose(axes) for mask in maps]
    assert_close(
        surface_scores(*turned, [SPACING[axis] for axis in axes]), surface_scores(*maps, SPACING)
    )


def test_spacing_in_the_wrong_order_is_another_result():
    slab = np.zeros((6, 9, 9), np.uint8)
    moved = slab.copy()
    slab[2], moved[3] = 1, 1
    assert surface_scores(slab, moved, SPACING) == SurfaceScores(3, 3, 0)
    assert surface_scores(slab, moved, SPACING[::-1]) == SurfaceScores(0.75, 0.75, 1)


def test_distances_grow_with_the_spacing():
    maps = blobs(7)
    once = surface_scores(*maps, SPACING, tolerance=1)
    twice = surface_scores(*maps, np.multiply(2, SPACING), tolerance=2)
    assert_close(twice, SurfaceScores(2 * once.hd95_mm, 2 * once.assd_mm, once.surface_dice))


def test_a_larger_tolerance_accepts_more_up_to_all():
    maps = blobs(8)
    accepted = [surface_scores(*maps, SPACING, tolerance=t).surface_dice for t in (0, 1, 2, 4, 99)]
    assert accepted == sorted(accepted)
    assert 0 < accepted[0] < accepted[2] < accepted[-1] == 1


def test_a_distance_that_equals_the_tolerance_is_within_whatever_the_rounding():
    spacing = float(np.float32(0.8))  # as NIfTI stores it
    assert spacing > 0.8
    for at in range(8):
        one, other = cube((5, 5, at), 1), cube((5, 5, at + 1), 1)
        assert surface_scores(one, other, (1, 1, spacing), tolerance=0.8).surface_dice == 1
        assert surface_scores(one, other, (1, 1, spacing), tolerance=0.7999).surface_dice == 0


def test_equal_maps():
    mask, _ = blobs(9)
    assert surface_scores(mask, mask, SPACING, tolerance=0) == SurfaceScores(0, 0, 1)


def test_only_the_class_asked_for_counts():
    one, other = cube((1, 1, 1)), cube((5, 5, 5))
    with_more = np.where(cube((0, 7, 0), 3), 2, one)
    assert surface_scores(with_more, other, SPACING) == surface_scores(one, other, SPACING)
    doubled = surface_scores(2 * one, 2 * other, SPACING, label=2)
    assert doubled == surface_scores(one, other, SPACING)


def test_a_surface_that_is_not_there_has_no_distance():
    mask, empty = cube((1, 2, 3)), np.zeros((12, 12, 12), np.uint8)
    assert surface_scores(mask, empty, SPACING) == SurfaceScores(None, None, 0)
    assert surface_scores(empty, mask, SPACING, empty_as="one") == SurfaceScores(None, None, 0)
    assert surface_scores(empty, empty, SPACING) == SurfaceScores(None, None, None)
    assert surface_scores(empty, empty, SPACING, empty_as="one") == SurfaceScores(None, None, 1)


def test_maps_and_spacings_of_different_shapes_are_refused():
    mask = cube((0, 0, 0))
    with pytest.raises(ValueError, match="shape"):
        surface_scores(mask, mask[:1], SPACING)
    with pytest.raises(ValueError, match="spacing"):
        surface_scores(mask, mask, (1, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, -1, 1)}, "spacing"),
        ({"spacing": (1, 1, np.nan)}, "spacing"),
        ({"tolerance": -1}, "tolerance"),
        ({"tolerance": np.nan}, "tolerance"),
        ({"empty_as": "One"}, "empty_as"),
    ],
)
def test_distances_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        surface_scores(cube((1, 1, 1)), cube((2, 2, 2)), **{"spacing": SPACING, **changes})

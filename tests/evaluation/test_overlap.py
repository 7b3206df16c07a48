"""Dice against values by hand and SciPy's dissimilarity."""

import numpy as np
import pytest
from scipy.spatial.distance import dice as dissimilarity

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.overlap import Overlap, dice, dice_of, overlap_of


def test_values_by_hand():
    truth = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)
    prediction = np.array([[1, 1, 0], [2, 2, 2]], np.uint8)
    assert overlap_of(prediction, truth, 2) == Overlap(prediction=3, truth=2, both=2)
    assert dice(prediction, truth, 1) == 2 * 1 / (2 + 2)
    assert dice(prediction, truth, 2) == 2 * 2 / (3 + 2)
    assert dice(truth, truth, 2) == 1
    assert dice(np.zeros_like(truth), truth, 2) == 0


@pytest.mark.parametrize("label", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_it_is_one_minus_scipys_dissimilarity(label, kind):
    random = np.random.default_rng(label)
    prediction, truth = random.integers(0, 4, (2, 5, 6, 7)).astype(kind)
    expected = 1 - dissimilarity((prediction == label).ravel(), (truth == label).ravel())
    assert dice(prediction, truth, label) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("kind", [bool, np.uint8])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_large_masks_are_counted_whole_whatever_their_layout(kind, axes):
    prediction, truth = np.random.default_rng(0).integers(0, 2, (2, 70, 65, 60)).astype(kind)
    found = overlap_of(prediction.transpose(axes), truth.transpose(axes), 1)
    assert found == Overlap(
        int(prediction.sum()), int(truth.sum()), int((prediction * truth).sum())
    )


def test_empty_in_both_is_undefined_or_one_as_asked():
    empty = np.zeros((2, 3), np.uint8)
    assert dice(empty, empty, 1) is None
    assert dice(empty, empty, 1, empty_as="one") == 1
    assert dice(empty, empty + 1, 1, empty_as="one") == 0  # empty in one of them only: just wrong


def test_counts_do_not_overflow():
    many = 2**33  # more voxels than 32 bits count
    assert dice_of(Overlap(many, many, many // 2)) == 0.5


@pytest.mark.parametrize("shape", [(1, 3), (3, 4), (4, 3, 1)], ids=["broadcast", "turned", "3D"])
def test_maps_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="maps differ in shape"):
        dice(np.zeros((4, 3), np.uint8), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", [bool, np.uint8])
@pytest.mark.parametrize(("label", "score"), [(0, 0.0), (1, 2 / 3)])
def test_the_maps_are_not_changed(kind, label, score):
    prediction, truth = np.array([[0, 1]], kind), np.array([[1, 1]], kind)
    assert dice(prediction, truth, label) == score
    assert prediction.tolist() == [[0, 1]]
    assert truth.tolist() == [[1, 1]]


@pytest.mark.parametrize("word", ["One", "zero", None])
@pytest.mark.parametrize("maps", [np.zeros((2, 3), np.uint8), np.ones((2, 3), np.uint8)])
def test_another_word_for_an_empty_class_is_refused(word, maps):
    with pytest.raises(InputError, match=r"empty_as .*: must be one of undefined, one"):
        dice(maps, maps, 1, empty_as=word)

"""Logits go back to the grid that they came from, and nowhere else."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from nnunet_lib.datasets import Dataset, LabelMap, Volume, read_label, read_volume, write_label
from nnunet_lib.evaluation import dice, evaluate_folder
from nnunet_lib.inference import restore, restore_labels, restore_probabilities
from nnunet_lib.preprocessing import preprocess_case

ORDERS = list(itertools.permutations(range(3)))


def a_case(shape, spacing, rim=((2, 1), (0, 3), (4, 0)), classes=3, seed=0):
    """A random image with a rim of zeros, which preprocessing crops, and where it is not zero."""
    random = np.random.default_rng(seed)
    array = np.zeros((*shape, classes), np.float32)
    inside = tuple(
        slice(before, size - after) for (before, after), size in zip(rim, shape, strict=True)
    )
    array[inside] = random.normal(size=array[inside].shape) + 5
    return Volume(array, np.diag([*spacing[::-1], 1.0]), spacing), inside


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pad", [False, True])
def test_without_resampling_every_voxel_returns_to_its_place(make_plan, order, pad):
    spacing = (3.0, 1.0, 2.0)
    volume, inside = a_case((13, 16, 17), spacing)
    plan = make_plan(spacing, (15, 18, 20), order)  # larger than the crop along every axis
    case = preprocess_case(volume, plan, pad=pad)
    assert pad == any(before + after for before, after in case.geometry.padding)
    restored = restore(case.image, case.geometry, probabilities=True)
    labels = np.zeros(volume.array.shape[:-1], np.uint8)
    labels[inside] = volume.array[inside].argmax(axis=-1)
    np.testing.assert_array_equal(restored.labels, labels)
    exponentials = np.exp(volume.array.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=-1, keepdims=True)
    expected = np.zeros_like(volume.array)
    expected[..., 0] = 1
    expected[inside] = softmax[inside]
    np.testing.assert_allclose(restored.probabilities, expected, atol=1e-5)


def test_a_margin_of_another_grid_is_seen(make_plan):
    """The planted fault takes the crop's corner in plan order; the test above would fail."""
    spacing, order = (3.0, 1.0, 2.0), (2, 0, 1)
    volume, _ = a_case((16, 16, 16), spacing, rim=((1, 4), (2, 3), (5, 0)))
    case = preprocess_case(volume, make_plan(spacing, (8, 8, 8), order))
    box = case.geometry.box
    wrong = replace(case.geometry, box=tuple(box[axis] for axis in order))
    right = restore_labels(case.image, case.geometry)
    assert (restore_labels(case.image, wrong) != right).any()


def test_logits_of_another_grid_are_refused(make_plan):
    volume, _ = a_case((13, 16, 17), (1.0, 1.0, 1.0))
    case = preprocess_case(volume, make_plan((1.0, 1.0, 1.0), (8, 8, 8)))
    with pytest.raises(ValueError, match="preprocessed grid"):
        restore_labels(case.image[1:], case.geometry)


def test_probabilities_sum_to_one_and_agree_with_the_labels(make_plan):
    volume, _ = a_case((14, 16, 17), (2.0, 1.0, 1.5))
    case = preprocess_case(volume, make_plan((1.4, 1.3, 1.2), (8, 8, 8)))
    restored = restore(case.image * 100, case.geometry, probabilities=True)  # must not overflow
    np.testing.assert_allclose(restored.probabilities.sum(axis=-1), 1, atol=1e-5)
    clear = np.ptp(np.sort(restored.probabilities, axis=-1)[..., -2:], axis=-1) > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(
        restored.probabilities.argmax(axis=-1)[clear], restored.labels[clear]
    )


def test_the_logits_are_not_changed(make_plan):
    volume, _ = a_case((13, 16, 17), (1.0, 1.0, 1.0))
    case = preprocess_case(volume, make_plan((1.0, 1.0, 1.0), (8, 8, 8)))
    kept = case.image.copy()
    restore_probabilities(case.image, case.geometry)
    np.testing.assert_array_equal(case.image, kept)


def structures(spacing, voxels_across=16, shape=(40, 44, 48)):
    """Two touching ellipsoids, `voxels_across` voxels wide, and a box: labels 1, 2 and 3."""
    grid = np.indices(shape).reshape(3, -1).T.reshape(*shape, 3)
    radius = voxels_across / 2
    labels = np.zeros(shape, np.uint8)
    for label, centre in ((1, (12.3, 14.0, 13.7)), (2, (12.3, 14.0, 29.5))):
        inside = ((grid - centre) ** 2).sum(axis=-1) <= radius**2
        labels[inside & (labels == 0)] = label
    labels[22:38, 24:40, 6:44] = 3
    return LabelMap(labels, np.diag([*spacing[::-1], 1.0]), spacing)


RATIOS = [(1.0, 1.0, 1.0), (1.5, 1.5, 1.5), (0.7, 1.3, 1.5), (1.5, 1.0, 0.67), (0.8, 0.9, 1.1)]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 2.0, 1.1), (4.0, 1.0, 1.0)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_perfect_prediction_survives_resampling(make_plan, ratio, spacing, order):
    truth = structures(spacing)
    target = tuple(size * factor for size, factor in zip(spacing, ratio, strict=True))
    image = np.ones((*truth.array.shape, 4), np.float32)
    volume = Volume(image, truth.affine, spacing)
    case = preprocess_case(volume, make_plan(target, (16, 16, 16), order, classes=4), truth)
    perfect = np.eye(4, dtype=np.float32)[case.label.reshape(case.image.shape[:3])]
    restored = restore_labels(perfect, case.geometry)
    diagonal = np.linalg.norm(target)
    for label in range(4):
        distance = distance_transform_edt(truth.array == label, sampling=spacing)
        safe = distance > diagonal
        assert safe.any()
        assert (restored[safe] == label).all()
    for label in (1, 2, 3):
        assert dice(restored, truth.array, label) > 0.9


@pytest.mark.real_data
def test_real_labels_come_back_into_the_folder_they_are_compared_with(
    make_plan, real_dataset_path, tmp_path
):
    """A perfect network at the scans' own spacing scores exactly 1 against the label files."""
    dataset = Dataset.open(real_dataset_path)
    for case in dataset.training[:3]:
        volume, truth = read_volume(case.images), read_label(case.label)
        plan = make_plan(volume.spacing, (40, 56, 40), (1, 0, 2))
        plan = replace(plan, channels=dataset.channels, normalisation=plan.normalisation[:1])
        preprocessed = preprocess_case(volume, plan, truth, pad=True)
        perfect = np.eye(3, dtype=np.float32)[preprocessed.label]
        labels = restore_labels(perfect, preprocessed.geometry)
        write_label(tmp_path / case.label.name, labels, volume.affine)
    report = evaluate_folder(tmp_path, real_dataset_path / "labelsTr", progress=False)
    assert [report.mean.dice, report.mean.confidence_interval] == [1.0, (1.0, 1.0)]
    assert len(report.cases) == 3
    assert report.labels_without_prediction == len(dataset.training) - 3

"""Lesson 00's claims fail when the library is broken in the way that they speak of."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from nnunet_lib.course.lessons import quickstart
from nnunet_lib.datasets import Case
from nnunet_lib.evaluation import CaseScores, ClassScore, EvaluationReport
from nnunet_lib.inference import InferenceSettings, test_time_augmentation, windows
from nnunet_lib.loading import CaseFiles, Fold, LoaderSettings, split_folds, training_batches
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="test",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "front"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 12, 8),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    filters=(4, 8),
)
TTA = InferenceSettings(tta=True)


def save(path, voxels, shift=0.0, spacing=(1.0, 2.0, 3.0), unit="mm"):
    """Write a NIfTI file whose affine is shifted by `shift` of its unit along the first axis."""
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    path.parent.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, path)
    return path


def test_grids_differ_by_voxels_or_altogether(tmp_path):
    voxels = np.zeros((4, 5, 6), np.uint8)
    image = save(tmp_path / "image.nii.gz", voxels)
    good = save(tmp_path / "good.nii.gz", voxels)
    shifted = save(tmp_path / "shifted.nii.gz", voxels, shift=0.5)
    turned = save(tmp_path / "turned.nii.gz", voxels.transpose(2, 1, 0))
    assert quickstart.grid_difference(image, good) == 0
    assert quickstart.grid_difference(image, shifted) == 0.5
    assert quickstart.grid_difference(image, turned) == np.inf
    cases = [Case("a", (image,), good), Case("b", (image,), shifted), Case("c", (image,), None)]
    assert quickstart.worst_label_grid(cases) == 0.5


def test_a_label_that_is_stretched_a_little_is_noticed_at_its_corners(tmp_path):
    """0.04 mm a voxel is less than 0.05 of a voxel; over all voxels of a scan it is not."""
    voxels = np.zeros((4, 5, 6), np.uint8)
    image = save(tmp_path / "image.nii.gz", voxels)
    stretched = save(tmp_path / "label.nii.gz", voxels, spacing=(1.04, 2.04, 3.04))
    apart = 0.04 * np.linalg.norm([3, 4, 5])
    assert quickstart.grid_difference(image, stretched) == pytest.approx(apart, rel=1e-4)


def test_grids_are_compared_in_each_case_s_own_voxels(tmp_path):
    """0.03 mm is little where voxels have 1 mm, and much where they have 0.2 mm."""
    voxels = np.zeros((4, 5, 6), np.uint8)
    files = [
        save(tmp_path / f"{name}{shift}.nii.gz", voxels, shift, spacing)
        for name, spacing in {"coarse": (1.0, 1.0, 1.0), "fine": (0.2, 0.2, 0.2)}.items()
        for shift in (0.0, 0.03)
    ]
    assert quickstart.grid_difference(*files[:2]) == pytest.approx(0.03)
    assert quickstart.grid_difference(*files[2:]) == pytest.approx(0.15)


def test_microns_and_millimetres_may_say_the_same(tmp_path):
    voxels = np.zeros((4, 5, 6), np.uint8)
    image = save(tmp_path / "image.nii.gz", voxels, shift=7.0)
    microns = {"spacing": (1000.0, 2000.0, 3000.0), "unit": "micron"}
    same = save(tmp_path / "same.nii.gz", voxels, shift=7000.0, **microns)
    other = save(tmp_path / "other.nii.gz", voxels, shift=7.0, **microns)
    assert quickstart.grid_difference(image, same) < 1e-6
    assert quickstart.grid_difference(image, other) == pytest.approx(7, abs=0.01)
    case = Case("a", (same,), None)
    plan = replace(PLAN, target_spacing=(3.0, 2.0, 1.0))
    assert quickstart.distance_from_median_spacing(plan, [case]) < 1e-6


@pytest.fixture
def distance(tmp_path):
    """How far a target spacing (z, y, x) is from the median of scans with these (x, y, z)."""
    voxels = np.zeros((4, 5, 6), np.uint8)

    def of(spacings, target, axis_order=(0, 1, 2)):
        paths = [
            save(tmp_path / f"{number}.nii.gz", voxels, spacing=spacing)
            for number, spacing in enumerate(spacings)
        ]
        cases = [Case(path.name, (path,), None) for path in paths]
        plan = replace(PLAN, target_spacing=target, axis_order=axis_order)
        return quickstart.distance_from_median_spacing(plan, cases)

    return of


THICK = ((1.0, 2.0, 5.0), (1.5, 2.0, 7.0), (1.25, 1.5, 8.0))
EVEN = ((1.0, 1.0, 1.0), (1.25, 1.0, 1.25), (1.25, 1.0, 1.5))


def test_a_target_spacing_that_is_not_the_median_is_noticed(distance):
    assert distance(THICK, (5.4, 2.0, 1.25)) < 1e-6  # thick slices, z, may differ
    assert distance(THICK, (5.4, 2.0, 1.5)) == pytest.approx(0.25)
    assert distance(THICK, (1.25, 2.0, 7.0)) > 1  # the header's order


def test_a_coarsest_axis_that_is_hardly_coarser_has_to_be_the_median(distance):
    assert distance(EVEN, (1.25, 1.0, 1.25)) < 1e-6
    assert distance(EVEN, (1.05, 1.0, 1.25)) == pytest.approx(0.2)  # the 10th percentile of z
    three_times = ((1.0, 1.0, 3.0),)
    assert distance(three_times, (2.0, 1.0, 1.0)) == pytest.approx(1)  # not more than 3 times


def test_the_thick_axis_is_the_plan_s_first(distance):
    along_x = ((5.0, 1.0, 1.25), (6.0, 1.0, 1.25))
    assert distance(along_x, (5.1, 1.25, 1.0), axis_order=(2, 0, 1)) < 1e-6
    assert distance(along_x, (5.1, 1.0, 1.0), axis_order=(2, 0, 1)) == pytest.approx(0.25)


def test_folds_that_leak_repeat_or_forget_are_noticed():
    names = [f"case{number}" for number in range(12)]
    folds = split_folds(names, seed=3)
    assert quickstart.misplaced_cases(folds, names) == 0
    leaking = Fold((*folds[0].training, folds[0].validation[0]), folds[0].validation)
    assert quickstart.misplaced_cases([leaking, *folds[1:]], names) == 1
    assert quickstart.misplaced_cases([*folds, folds[0]], names) == len(folds[0].validation)
    assert quickstart.misplaced_cases(folds[1:], names) == len(folds[0].validation)
    forgetful = Fold(folds[0].training[1:], folds[0].validation)
    assert quickstart.misplaced_cases([forgetful, *folds[1:]], names) == 1


def test_a_dataset_that_is_not_dali_s_is_noticed():
    tensorflows = type("TakeDataset", (), {"__module__": "tensorflow.python.data.ops.take_op"})
    dalis = type("DALIDataset", (), {"__module__": "nvidia.dali.plugin.tf"})
    assert quickstart.source_of(tensorflows()) == "tensorflow.python"
    assert quickstart.source_of(dalis()) == "nvidia.dali"


@pytest.mark.parametrize(
    ("loader", "source"), [("dali", "nvidia.dali"), ("tf", "tensorflow.python")]
)
def test_batches_that_tensorflow_cuts_to_size_are_still_dali_s(tmp_path, loader, source):
    case = CaseFiles(tmp_path / "image.npy", tmp_path / "label.npy")
    np.save(case.image, np.ones((6, 6, 6, 1), np.float32))
    np.save(case.label, np.ones((6, 6, 6, 1), np.uint8))
    batches = training_batches([case], LoaderSettings(2, (4, 4, 4)), loader=loader)
    assert quickstart.source_of(batches) == source


@pytest.mark.parametrize(
    "weights", [(0.5, 0.25, 0.125), (1 / 3, 1 / 3, 1 / 3), (0.6, 0.4), (4 / 7, 1 / 7, 2 / 7)]
)
def test_weights_that_do_not_halve_or_sum_to_one_are_noticed(weights):
    assert quickstart.uneven_weights((4 / 7, 2 / 7, 1 / 7)) < 1e-12
    assert quickstart.uneven_weights((1.0,)) == 0
    assert quickstart.uneven_weights(weights) > 0.05


def test_a_plan_that_changed_on_the_way_is_noticed():
    assert quickstart.changed_decisions(PLAN, Plan.from_json(PLAN.to_json())) == 0
    other = replace(PLAN, batch_size=3, target_spacing=(1.0, 1.0, 1.1))
    assert quickstart.changed_decisions(PLAN, other) == 2


def test_the_identity_comes_back_in_3d_and_2d():
    flat = replace(
        PLAN,
        dimensions=2,
        patch_size=(12, 8),
        target_spacing=(1.0, 1.0),
        strides=((1, 1), (2, 2)),
        kernels=((3, 3), (3, 3)),
    )
    assert quickstart.identity_error(PLAN, TTA) < 1e-5
    assert quickstart.identity_error(flat, TTA) < 1e-5


def test_a_weight_sum_that_starts_at_one_breaks_the_identity(monkeypatch):
    real = windows.weight_sums

    def from_one(*arguments):
        first, *rest = real(*arguments)
        return (first + 1, *rest)

    monkeypatch.setattr(windows, "weight_sums", from_one)
    assert quickstart.identity_error(PLAN, TTA) > 1e-2


def test_flips_that_are_not_undone_break_the_identity(monkeypatch):
    class Numpy:
        """NumPy, whose second flip, the one that undoes the first, is forgotten."""

        def __init__(self):
            self.calls = 0

        def __getattr__(self, name):
            return getattr(np, name)

        def flip(self, array, axes):
            self.calls += 1
            return np.flip(array, axes) if self.calls % 2 else array

    monkeypatch.setattr(test_time_augmentation, "np", Numpy())
    assert quickstart.identity_error(PLAN, TTA) > 1e-2


def test_a_wrong_dice_is_noticed(tmp_path):
    truth = np.zeros((4, 4, 4), np.uint8)
    truth[:2] = 1
    predicted = np.zeros_like(truth)
    predicted[1:3] = 1  # 32 voxels each, 16 in common: Dice 0.5
    save(tmp_path / "predictions" / "a.nii.gz", predicted)
    save(tmp_path / "labels" / "a.nii.gz", truth)

    def disagreement(one, two):
        scores = {1: ClassScore(one, 0.0, 0.0), 2: ClassScore(two, 0.0, 0.0)}
        report = EvaluationReport((CaseScores("a", scores),))
        return quickstart.dice_disagreement(report, tmp_path / "predictions", tmp_path / "labels")

    assert disagreement(0.5, None) == 0
    assert disagreement(1 / 3, None) == pytest.approx(1 / 6)  # that is the Jaccard index
    assert disagreement(0.5, 1.0) == np.inf  # class 2 is nowhere, its Dice is undefined
    assert disagreement(None, None) == np.inf

"""A folder of predictions against a folder of labels: scores, files, and faults."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from nnunet_lib.datasets import write_label, write_probabilities, write_volume
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import EvaluationReport, evaluate_folder

AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])  # (i, j, k): a voxel is 10 cubic millimetres
VOXEL_ML = 0.01
TILTED = np.array([[2.0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
"""The same voxels in slices that each lie 2 mm further along j: 10 cubic millimetres, too."""


def write(folder, case, values, affine=AFFINE, ending=".nii.gz"):
    """A 2 x 2 x 3 map with these 12 values, and the path it is at."""
    path = folder / (case + ending)
    write_label(path, np.array(values, np.uint8).reshape(2, 2, 3), affine)
    return path


@pytest.fixture
def folders(tmp_path):
    """Case a has classes 1 and 2, case b only class 1; c has no prediction."""
    predictions, labels = tmp_path / "predictions", tmp_path / "labels"
    write(labels, "a", [1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0])
    write(predictions, "a", [1, 1, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0])
    write(labels, "b", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    write(predictions, "b", [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    write(labels, "c", [1] * 12)
    return predictions, labels


def test_scores_by_hand(folders):
    report = evaluate_folder(*folders)
    a, b = report.cases
    assert a.dice == {1: pytest.approx(2 * 2 / (2 + 4)), 2: pytest.approx(2 * 2 / (4 + 2))}
    assert b.dice == {1: 1.0, 2: None}
    assert a.classes[1].prediction_ml == pytest.approx(2 * VOXEL_ML)
    assert a.classes[1].truth_ml == pytest.approx(4 * VOXEL_ML)
    assert report.classes[1].dice == pytest.approx((2 / 3 + 1) / 2)
    assert report.classes[2].dice == pytest.approx(2 / 3)
    assert report.classes[2].confidence_interval is None  # one case
    assert report.mean.dice == pytest.approx(((2 / 3 + 1) / 2 + 2 / 3) / 2)


def test_empty_in_both_is_one_if_asked(folders):
    report = evaluate_folder(*folders, empty_as="one")
    assert report.cases[1].dice == {1: 1.0, 2: 1.0}
    assert report.classes[2].dice == pytest.approx((2 / 3 + 1) / 2)


def test_the_json_and_csv_files(folders, tmp_path):
    report = evaluate_folder(*folders, tolerance=None)
    report.save(tmp_path / "results" / "scores.json")
    written = json.loads((tmp_path / "results" / "scores.json").read_text())
    assert written == report.to_json()
    assert written["mean"]["dice"] == pytest.approx(0.75)
    assert written["classes"]["1"]["cases"] == 2
    assert written["classes"]["2"] == {
        "dice": pytest.approx(2 / 3), "confidence_interval": None, "cases": 1,
    }  # fmt: skip
    lower, upper = written["classes"]["1"]["confidence_interval"]
    assert lower < written["classes"]["1"]["dice"] < upper
    assert [case["case"] for case in written["cases"]] == ["a", "b"]
    assert written["cases"][1]["classes"]["2"] == {
        "dice": None, "volume_ml": {"prediction": 0.0, "truth": 0.0},
    }  # fmt: skip
    with (tmp_path / "results" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows] == [
        ("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"),
    ]  # fmt: skip
    assert rows[3]["dice"] == ""
    assert float(rows[0]["dice"]) == pytest.approx(2 / 3)
    assert float(rows[0]["truth_ml"]) == pytest.approx(4 * VOXEL_ML)
    assert "hd95_mm" not in rows[0]


def test_surfaces_use_the_spacing_of_the_file_and_the_tolerance(folders):
    # Class 1 of case a, (k, j, i): truth (0, 0, 0) to (0, 1, 0), prediction its first two voxels.
    # The two that are missed, (0, 0, 2) and (0, 1, 0), lie 2 mm (i) and 1 mm (j) away.
    a = evaluate_folder(*folders, tolerance=1.0).cases[0].classes[1].surface
    assert a.assd_mm == pytest.approx((1 + 2) / 6)
    assert a.hd95_mm == pytest.approx(np.percentile([0, 0, 1, 2], 95))
    assert a.surface_dice == pytest.approx(5 / 6)
    assert evaluate_folder(*folders, tolerance=2.0).cases[0].classes[1].surface.surface_dice == 1


def test_a_tilted_gantrys_voxels_keep_their_volume_and_its_distances_are_named(folders):
    ones, note = [1] * 12, "perpendicular, are not exact: a."
    for folder in folders:
        write(folder, "a", ones, TILTED)
    report = evaluate_folder(*folders)
    assert report.cases[0].classes[1].truth_ml == pytest.approx(12 * VOXEL_ML)
    assert report.describe().count(note) == 1
    assert EvaluationReport.from_json(report.to_json()) == report
    assert note not in evaluate_folder(*folders, tolerance=None).describe()


def test_a_template_that_a_scan_was_aligned_to_changes_neither_its_volume_nor_its_axes(folders):
    for folder in folders:
        image = nib.Nifti1Image(np.ones((3, 2, 2), np.uint8), None)
        image.set_qform(AFFINE, 1)
        image.set_sform(1.3 * TILTED, 4)  # MNI space
        nib.save(image, folder / "a.nii.gz")
    report = evaluate_folder(*folders)
    assert report.cases[0].classes[1].truth_ml == pytest.approx(12 * VOXEL_ML)
    assert not report.cases[0].sheared


@pytest.mark.parametrize("qform", [None, AFFINE], ids=["no qform", "qform"])
@pytest.mark.parametrize("code", [1, 4], ids=["scanner", "template"])
@pytest.mark.parametrize("sign", [1, -1])
def test_volumes_are_above_0_and_a_tilt_is_seen_whatever_else_is_said(folders, qform, code, sign):
    """A converter writes a tilt as sform, beside a qform, which cannot hold it, or alone."""
    mirror = np.diag([sign, 1, 1, 1])
    for folder in folders:
        image = nib.Nifti1Image(np.ones((3, 2, 2), np.uint8), TILTED @ mirror)
        image.set_qform(None if qform is None else qform @ mirror, 0 if qform is None else 1)
        image.set_sform(TILTED @ mirror, code)
        nib.save(image, folder / "a.nii.gz")
    a, _ = evaluate_folder(*folders).cases
    volumes = (a.classes[1].prediction_ml, a.classes[1].truth_ml)
    assert volumes == pytest.approx((12 * VOXEL_ML, 12 * VOXEL_ML))
    assert a.sheared == (code == 1 or qform is None)


def test_surface_scores_are_in_both_files_and_means_leave_out_what_has_no_distance(
    folders, tmp_path
):
    predictions, _ = folders
    write(predictions, "b", [0] * 12)  # class 1 is missed altogether
    report = evaluate_folder(*folders)
    report.save(tmp_path / "scores.json")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["tolerance_mm"] == 1
    a, b = (case["classes"]["1"] for case in written["cases"])
    assert (b["hd95_mm"], b["assd_mm"], b["surface_dice"], b["dice"]) == (None, None, 0, 0)
    mean = written["classes"]["1"]
    assert (mean["cases"], mean["cases_with_distances"]) == (2, 1)
    assert (mean["hd95_mm"], mean["assd_mm"]) == (a["hd95_mm"], a["assd_mm"])
    assert mean["surface_dice"] == pytest.approx(a["surface_dice"] / 2)
    two = written["cases"][0]["classes"]["2"]
    assert written["mean"]["assd_mm"] == pytest.approx((a["assd_mm"] + two["assd_mm"]) / 2)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["hd95_mm"]) == a["hd95_mm"]
    assert (rows[2]["hd95_mm"], rows[2]["surface_dice"]) == ("", "0.0")
    line = report.describe().splitlines()[-4]  # before class 2, the mean and what was left out
    assert line.split() == ["1", f"{a['surface_dice'] / 2:.4f}", "1", f"{a['hd95_mm']:.4f}",
                            f"{a['assd_mm']:.4f}"]  # fmt: skip


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(folders, tolerance):
    with pytest.raises(InputError, match="tolerance"):
        evaluate_folder(*folders, tolerance=tolerance)


def test_another_word_for_an_empty_class_is_refused_before_any_work(folders, monkeypatch):
    monkeypatch.setattr("nnunet_lib.evaluation.folder.run_all", None)
    with pytest.raises(InputError, match="empty_as One: must be one of undefined, one"):
        evaluate_folder(*folders, empty_as="One")


def test_results_that_are_no_json_file_are_refused(folders, tmp_path):
    with pytest.raises(InputError, match="json"):
        evaluate_folder(*folders).save(tmp_path / "scores.csv")


def test_the_table_names_classes_scores_and_what_was_left_out(folders):
    text = evaluate_folder(*folders).describe()
    assert "0.7500" in text.splitlines()[3]
    assert "0.6667  none (fewer than 2 cases)" in text
    assert "Label maps without a prediction: 1" in text


def test_a_class_that_is_only_predicted_counts_as_wrong(folders):
    predictions, _ = folders
    write(predictions, "b", [1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    report = evaluate_folder(*folders)
    assert report.classes[3].dice == 0
    assert report.cases[0].dice[3] is None


def test_probabilities_and_hidden_files_are_passed_over(folders):
    predictions, _ = folders
    write_probabilities(predictions / "a_probabilities.nii.gz", np.ones((2, 2, 3, 2)), AFFINE)
    (predictions / "._a.nii.gz").write_bytes(b"left behind by a copy")
    assert [case.case for case in evaluate_folder(*folders).cases] == ["a", "b"]


def test_endings_may_differ_between_the_folders(folders):
    predictions, _ = folders
    (predictions / "b.nii.gz").unlink()
    write(predictions, "b", [0] * 12, ending=".nii")
    assert evaluate_folder(*folders).cases[1].dice[1] == 0


def test_chosen_cases_only(folders):
    assert [case.case for case in evaluate_folder(*folders, cases=["b"]).cases] == ["b"]
    with pytest.raises(InputError, match=r"no prediction of c\."):
        evaluate_folder(*folders, cases=["b", "c"])


def test_a_prediction_without_a_label_is_an_error(folders):
    predictions, labels = folders
    write(predictions, "d", [0] * 12)
    write(predictions, "e", [0] * 12)
    with pytest.raises(InputError) as caught:
        evaluate_folder(predictions, labels)
    assert f"{labels}: has no label map of d." in str(caught.value)
    assert f"{labels}: has no label map of e." in str(caught.value)


def test_other_grids_and_unreadable_files_are_reported_together(folders):
    predictions, labels = folders
    moved = AFFINE.copy()
    moved[0, 3] = 1.0
    write(predictions, "a", [0] * 12, affine=moved)
    (predictions / "b.nii.gz").write_bytes(b"not an image")
    write_label(predictions / "c.nii.gz", np.zeros((2, 3, 2), np.uint8), AFFINE)
    with pytest.raises(InputError) as caught:
        evaluate_folder(predictions, labels)
    for name, problem in (("a", "1 mm apart"), ("b", "cannot be read"), ("c", "shape")):
        line = next(x for x in str(caught.value).splitlines() if f"{name}.nii.gz" in x)
        assert problem in line


@pytest.mark.parametrize("workers", [1, 2])
def test_voxels_that_are_no_labels_are_named_by_whichever_process_meets_them(folders, workers):
    predictions, labels = folders
    halves = np.full((2, 2, 3), 0.5, np.float32)
    write_volume(predictions / "b.nii.gz", halves, AFFINE)
    with pytest.raises(InputError, match=r"b\.nii\.gz: holds labels .* such as 0\.5"):
        evaluate_folder(predictions, labels, workers=workers)


def test_folders_without_label_maps_are_refused(folders, tmp_path):
    _, labels = folders
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match="is not a folder"):
        evaluate_folder(empty, labels)
    empty.mkdir()
    with pytest.raises(InputError, match="holds no"):
        evaluate_folder(empty, labels)


def test_one_case_twice_is_refused(folders):
    predictions, _ = folders
    write(predictions, "a", [0] * 12, ending=".nii")
    with pytest.raises(InputError, match=r"as \.nii and as \.nii\.gz"):
        evaluate_folder(*folders)

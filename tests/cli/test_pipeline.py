"""From a phantom to scores through the command line, as a user types it."""

import csv
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nnunet_lib.cli import main
from nnunet_lib.planning import Plan


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_six_commands_lead_from_a_phantom_to_a_dice_table(
    dimensions: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, plan = tmp_path / "data", tmp_path / "plan.json"
    prepared, trained, predicted = (tmp_path / name for name in ("prepared", "run", "predicted"))
    run("phantom", "--output", data, "--cases", 6, "--seed", 1)
    spacing, patch = ("3 3 3", "16 16 16") if dimensions == 3 else ("3 3", "16 16")
    run("plan", "--data", data, "--output", plan, "--dim", dimensions, "--base-filters", 4,
        "--batch-size", 2, "--patch-size", *patch.split(), "--target-spacing", *spacing.split(),
        "--workers", 1)  # fmt: skip
    run("preprocess", "--data", data, "--results", prepared, "--plan", plan, "--workers", 1)
    run("train", "--data", prepared, "--results", trained, "--dim", dimensions, "--nfolds", 3,
        "--epochs", 1, "--steps-per-epoch", 3)  # fmt: skip
    run("predict", "--model", trained, "--input", data / "imagesTr", "--output", predicted,
        "--subset", "validation", "--tta")  # fmt: skip
    results = tmp_path / "scores.json"
    capsys.readouterr()
    run("evaluate", "--predictions", predicted, "--labels", data / "labelsTr",
        "--results", results)  # fmt: skip

    fold = json.loads((trained / "fold.json").read_text())
    names = {path.name.removesuffix(".nii.gz") for path in predicted.iterdir()}
    assert names == set(fold["validation"])
    report = json.loads(results.read_text())
    per_class = [report["classes"][label]["dice"] for label in ("1", "2")]
    assert report["mean"]["dice"] == pytest.approx(np.mean(per_class))
    assert {case["case"] for case in report["cases"]} == names
    with results.with_suffix(".csv").open() as table:
        assert len(list(csv.DictReader(table))) == 2 * len(names)
    assert "Dice" in capsys.readouterr().out
    assert Plan.load(plan).dimensions == dimensions


@pytest.mark.slow
def test_a_scan_from_nowhere_is_predicted_from_the_run_folder_alone(tmp_path: Path) -> None:
    import shutil

    data, prepared, trained = (tmp_path / name for name in ("data", "prepared", "run"))
    run("phantom", "--output", data, "--cases", 5, "--channels", 2)
    run("plan", "--data", data, "--output", tmp_path / "plan.json", "--base-filters", 4,
        "--patch-size", 16, 16, 16, "--target-spacing", 3, 3, 3, "--batch-size", 2)  # fmt: skip
    run("preprocess", "--data", data, "--results", prepared, "--plan", tmp_path / "plan.json")
    run("train", "--data", prepared, "--results", trained, "--epochs", 1, "--steps-per-epoch", 2)
    scan = shutil.copy(next((data / "imagesTs").iterdir()), tmp_path / "scan.nii.gz")
    shutil.rmtree(data)
    shutil.rmtree(prepared)
    run("predict", "--model", trained, "--input", scan, "--output", tmp_path / "label.nii.gz")
    image, label = nibabel.load(scan), nibabel.load(tmp_path / "label.nii.gz")
    assert label.shape == image.shape[:3]
    np.testing.assert_array_equal(label.affine, image.affine)
    assert label.get_data_dtype() == np.uint8


@pytest.mark.slow
def test_folds_in_2d_and_3d_are_trained_scored_and_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, prepared = tmp_path / "data", tmp_path / "prepared"
    run("phantom", "--output", data, "--cases", 4)
    models = [tmp_path / "2d", tmp_path / "3d"]
    for dimensions, model in zip((2, 3), models, strict=True):
        plan = tmp_path / f"plan_{dimensions}d.json"
        run("plan", "--data", data, "--output", plan, "--dim", dimensions, "--base-filters", 2,
            "--batch-size", 2, "--patch-size", *[16] * dimensions,
            "--target-spacing", *[4] * dimensions, "--workers", 1)  # fmt: skip
        run("preprocess", "--data", data, "--results", prepared, "--plan", plan, "--workers", 1)
        capsys.readouterr()
        run("train", "--data", prepared, "--results", model, "--dim", dimensions,
            "--fold", "all", "--nfolds", 2, "--epochs", 1, "--steps-per-epoch", 2,
            "--nvol", 2)  # fmt: skip
        rows = re.findall(r"^ *(0|1|all) +(\d+) ", capsys.readouterr().out, flags=re.MULTILINE)
        assert rows == [("0", "2"), ("1", "2"), ("all", "4")]
    (scan,) = sorted((data / "imagesTs").iterdir())[:1]
    for name, used in (("both", models), ("2d", models[:1]), ("3d", models[1:])):
        run("predict", "--model", *used, "--input", scan, "--output", tmp_path / name / "x.nii.gz",
            "--save-probabilities", "--no-postprocess")  # fmt: skip
    both, alone_2d, alone_3d = (
        nibabel.load(tmp_path / name / "x_probabilities.nii.gz").get_fdata()
        for name in ("both", "2d", "3d")
    )
    np.testing.assert_allclose(both, (alone_2d + alone_3d) / 2, atol=1e-5)
    assert np.abs(alone_2d - alone_3d).max() > 1e-3
    labels = np.asarray(nibabel.load(tmp_path / "both" / "x.nii.gz").dataobj)
    clear = np.ptp(np.sort(both, axis=-1)[..., -2:], axis=-1) > 1e-4
    np.testing.assert_array_equal(labels[clear], both.argmax(axis=-1)[clear])

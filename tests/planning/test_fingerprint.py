"""Fingerprints of datasets whose numbers are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.datasets import Case, Dataset, write_label, write_volume
from nnunet_lib.errors import InputError
from nnunet_lib.planning import (
    Fingerprint,
    PlannerSettings,
    compute_fingerprint,
    make_plan,
    plan_dataset,
)


def write_dataset(root: Path, cases: list[tuple[np.ndarray, np.ndarray]]) -> Dataset:
    """Cases of (image, label) on a grid of spacing (z, y, x) = (3, 2, 1) mm."""
    training = []
    for number, (image, label) in enumerate(cases):
        case = Case(f"case_{number}", (root / f"i{number}.nii.gz",), root / f"l{number}.nii.gz")
        write_volume(case.images[0], image, np.diag([1.0, 2.0, 3.0, 1.0]))
        assert case.label is not None
        write_label(case.label, label, np.diag([1.0, 2.0, 3.0, 1.0]))
        training.append(case)
    channels = ("MRI",) * cases[0][0].shape[-1] if cases else ("MRI",)
    return Dataset("Small", root, channels, ("background", "one"), tuple(training), (), ".nii.gz")


def ball(shape: tuple[int, ...] = (10, 12, 14)) -> tuple[np.ndarray, np.ndarray]:
    """An image with a margin of zeros; half of what is left is foreground."""
    image = np.zeros((*shape, 2), np.float32)
    image[2:8, 3:9, 4:10, 0] = 5
    image[2:8, 3:9, 4:10, 1] = np.arange(6)
    label = np.zeros(shape, np.uint8)
    label[2:5, 3:9, 4:10] = 1
    return image, label


def test_knows_spacing_crop_and_statistics(tmp_path: Path) -> None:
    fingerprint = compute_fingerprint(write_dataset(tmp_path, [ball(), ball()]))
    assert fingerprint.spacings == ((3.0, 2.0, 1.0),) * 2
    assert fingerprint.shapes == ((6, 6, 6),) * 2
    assert fingerprint.median_relative_size == pytest.approx(6**3 / (10 * 12 * 14))
    constant, ramp = fingerprint.intensities
    assert (constant.mean, constant.standard_deviation) == (5.0, 0.0)
    assert (ramp.minimum, ramp.maximum) == (0.0, 5.0)
    assert ramp.mean == pytest.approx(2.5, abs=0.05)
    assert ramp.standard_deviation == pytest.approx(np.arange(6).std(), abs=0.02)


def test_knows_how_scans_are_stored_and_which_classes_occur(tmp_path: Path) -> None:
    image, label = ball()
    dataset = write_dataset(tmp_path, [(image, label), (image, label), (image, 0 * label)])
    turned = np.diag([-1.0, -2.0, 3.0, 1.0])
    write_volume(dataset.training[1].images[0], image, turned)
    fingerprint = compute_fingerprint(dataset)
    assert fingerprint.orientations == ("RAS", "LPS", "RAS")
    assert fingerprint.cases_with == (3, 2)


@pytest.mark.parametrize("fault", ["turned label", "no number", "short label"])
def test_a_faulty_dataset_gets_no_plan(tmp_path: Path, fault: str) -> None:
    """From Python too, where no command has checked it."""
    image, label = ball()
    dataset = write_dataset(tmp_path, [(image, label), (image, label)])
    case = dataset.training[1]
    assert case.label is not None
    if fault == "no number":
        image[4, 4, 4] = np.nan
        write_volume(case.images[0], image, np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = np.diag([-1.0 if fault == "turned label" else 1.0, 2.0, 3.0, 1.0])
    write_label(case.label, label[: -2 if fault == "short label" else None], turned)
    with pytest.raises(InputError, match=r"(i|l)1\.nii\.gz"):
        plan_dataset(dataset)


def test_percentiles_leave_out_half_a_percent_at_each_end(tmp_path: Path) -> None:
    ramp = np.arange(1000, dtype=np.float32).reshape(10, 10, 10, 1)
    dataset = write_dataset(tmp_path, [(ramp, np.ones((10, 10, 10), np.uint8))])
    (statistics,) = compute_fingerprint(dataset).intensities
    assert statistics.percentile_00_5 == pytest.approx(5, abs=3)  # of 10,000 drawn voxels
    assert statistics.percentile_99_5 == pytest.approx(995, abs=3)


def test_every_label_but_the_background_is_foreground(tmp_path: Path) -> None:
    image, label = ball()
    image[5:8, ..., 0] *= 3
    label[5:8, 3:9, 4:10] = 2
    dataset = write_dataset(tmp_path, [(image[..., :1], label)])
    assert compute_fingerprint(dataset).intensities[0].mean == pytest.approx(10.0, abs=0.3)


def test_what_is_zero_in_some_channels_alone_is_not_cropped(tmp_path: Path) -> None:
    image, label = ball()
    image[0, ..., 0] = image[-1, ..., 1] = 1
    (shape,) = compute_fingerprint(write_dataset(tmp_path, [(image, label)])).shapes
    assert shape == label.shape


def test_foreground_that_is_zero_counts(tmp_path: Path) -> None:
    """Water has 0 Hounsfield units."""
    image, label = ball()
    image[2:5, 3:6] = 0  # half of the foreground
    (statistics, _) = compute_fingerprint(write_dataset(tmp_path, [(image, label)])).intensities
    assert statistics.mean == pytest.approx(2.5, abs=0.1)


def test_the_relative_size_is_the_median_over_cases(tmp_path: Path) -> None:
    cropped, label = ball()
    whole = np.ones_like(cropped)
    dataset = write_dataset(tmp_path, [(whole, label), (cropped, label), (whole, label)])
    assert compute_fingerprint(dataset).median_relative_size == 1.0


def test_each_case_weighs_the_same(tmp_path: Path) -> None:
    image, label = ball()
    few = np.zeros_like(label)
    few[3, 4, 5] = 1
    brighter = np.where(image[..., :1] > 0, 15, 0).astype(np.float32)
    dataset = write_dataset(tmp_path, [(image[..., :1], label), (brighter, few)])
    assert compute_fingerprint(dataset).intensities[0].mean == pytest.approx(10.0)


def test_depends_on_the_seed_and_not_on_the_workers(phantom_path: Path) -> None:
    dataset = Dataset.open(phantom_path)
    alone = compute_fingerprint(dataset)
    assert compute_fingerprint(dataset, workers=2) == alone
    assert compute_fingerprint(dataset, seed=7) != alone


def test_comes_back_equal_from_its_file(phantom_path: Path, tmp_path: Path) -> None:
    fingerprint, plan = plan_dataset(Dataset.open(phantom_path))
    fingerprint.save(tmp_path / "fingerprint.json")
    assert Fingerprint.load(tmp_path / "fingerprint.json") == fingerprint
    assert make_plan(fingerprint) == plan


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "fingerprint.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"fingerprint\.json"):
        Fingerprint.load(path)


def test_a_dataset_without_foreground_is_refused(tmp_path: Path) -> None:
    image, label = ball()
    with pytest.raises(InputError, match="foreground"):
        compute_fingerprint(write_dataset(tmp_path, [(image, np.zeros_like(label))]))


def test_a_training_case_without_label_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, [ball()])
    unlabelled = replace(dataset.training[0], label=None)
    with pytest.raises(InputError, match="case_0: has no label"):
        compute_fingerprint(replace(dataset, training=(unlabelled,)))


def test_a_dataset_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training cases"):
        compute_fingerprint(write_dataset(tmp_path, []))


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_hippocampus_has_the_published_plan(real_dataset_path: Path) -> None:
    settings = PlannerSettings(small_steps=False)
    fingerprint, plan = plan_dataset(Dataset.open(real_dataset_path), settings)
    assert fingerprint.median_relative_size == pytest.approx(1.0, abs=0.01)
    assert plan.patch_size == (40, 56, 40)
    assert plan.target_spacing == (1.0, 1.0, 1.0)

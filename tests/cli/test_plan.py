"""`plan` with and without a preset."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from nnunet_lib.cli import main
from nnunet_lib.datasets import make_phantom
from nnunet_lib.planning import Plan


def plan(data: Path, output: Path, *words: str) -> int:
    return main(["plan", "--data", str(data), "--output", str(output), "--workers", "1", *words])


@pytest.fixture(scope="module")
def spleens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT phantom."""
    return make_phantom(tmp_path_factory.mktemp("ct") / "data", cases=2, modality="ct").root


@pytest.mark.parametrize(("task", "patch"), [("9", (64, 192, 160)), ("09", (64, 192, 160))])
def test_a_preset_is_planned_for_a_dataset_of_its_kind(
    spleens: Path, tmp_path: Path, task: str, patch: tuple[int, ...]
) -> None:
    path = tmp_path / "plan.json"
    assert plan(spleens, path, "--preset", "nvidia", "--task", task) == 0
    planned = Plan.load(path)
    assert planned.patch_size == patch
    assert planned.normalisation[0].mean == 99.29


def test_two_dimensions_and_a_batch_size_may_be_added(spleens: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    words = "--preset nvidia --task 09 --dim 2 --batch-size 8"
    assert plan(spleens, path, *words.split()) == 0
    assert (Plan.load(path).patch_size, Plan.load(path).batch_size) == ((512, 512), 8)


def test_a_dataset_of_ones_own_takes_its_values_from_options(spleens: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    words = "--preset nnunet --patch-size 16 32 32 --target-spacing 4 2 2 --batch-size 3"
    assert plan(spleens, path, *words.split()) == 0
    planned = Plan.load(path)
    assert planned.patch_size == (16, 32, 32)
    assert planned.target_spacing == (4.0, 2.0, 2.0)
    assert planned.batch_size == 3


def test_preprocessing_plans_for_itself_in_as_many_dimensions_as_it_is_told(
    spleens: Path, tmp_path: Path
) -> None:
    words = ["preprocess", "--data", str(spleens), "--results", str(tmp_path), "--dim", "2"]
    assert main([*words, "--workers", "1"]) == 0
    assert Plan.load(tmp_path / "2d/plan.json").dimensions == 2
    assert (tmp_path / "2d/fingerprint.json").is_file()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--preset nvidia", "--task"),
        ("--task 09", "--preset nvidia"),
        ("--preset nnunet --task 09", "--preset nvidia"),
        ("--preset nvidia --task 11", "01_BrainTumour"),
        ("--preset nvidia --task 04", "Task04_Hippocampus is for 1-channel MRI"),
        ("--preset nvidia --task 09 --patch-size 32 32 32", "patch_size"),
    ],
)
def test_what_does_not_fit_is_reported_before_the_images_are_read(
    spleens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, problem: str
) -> None:
    assert plan(spleens, tmp_path / "plan.json", *words.split()) == 2
    printed = capsys.readouterr()
    assert problem in printed.err
    assert "validate" not in printed.err  # the progress bar
    assert not (tmp_path / "plan.json").exists()


def test_a_plan_left_by_another_dataset_is_not_followed(
    spleens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = make_phantom(tmp_path / "heads", cases=2).root
    path = tmp_path / "results/3d/plan.json"
    assert plan(heads, path) == 0
    words = ["preprocess", "--data", str(spleens), "--results", str(tmp_path / "results")]
    assert main([*words, "--workers", "1"]) != 0
    assert "was made for the channels" in capsys.readouterr().err
    assert not (tmp_path / "results/3d/training").exists()


@pytest.mark.parametrize(
    ("change", "words", "problem"),
    [
        ({"channels": ("a", "b")}, "", "the plan is for 2 channels and"),
        ({"labels": ("background", "one")}, "", "labels up to 1, and"),
        ({}, "--dim 2", r"other\.json: is a 3D plan"),
        (None, "", r"other\.json: there is no such file"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_at_once_and_replaces_none(
    spleens: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, tuple[str, ...]] | None,
    words: str,
    problem: str,
) -> None:
    there, other = tmp_path / "results/3d/plan.json", tmp_path / "other.json"
    assert plan(spleens, there) == 0
    before = Plan.load(there)
    if change is not None:
        channels = len(change.get("channels", before.channels))
        fitting = before.normalisation[:1] * channels
        replace(before, normalisation=fitting, **change).save(other)
    capsys.readouterr()
    command = ["preprocess", "--data", str(spleens), "--results", str(tmp_path / "results")]
    assert main([*command, "--plan", str(other), "--workers", "1", *words.split()]) == 2
    told = capsys.readouterr().err
    assert re.search(problem, told)
    assert "validate" not in told  # the progress bar
    assert Plan.load(there) == before


def test_a_plan_of_other_dimensions_that_is_there_is_named(
    spleens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(spleens, tmp_path / "results/2d/plan.json") == 0
    words = ["preprocess", "--data", str(spleens), "--results", str(tmp_path / "results")]
    assert main([*words, "--dim", "2"]) == 2
    assert re.search(r"2d.plan\.json: is a 3D plan", capsys.readouterr().err)

"""A dataset preprocessed to disk: modes, resuming, workers, errors."""

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nnunet_lib.datasets import Dataset, Volume, read_label, read_volume, write_volume
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json
from nnunet_lib.planning import Fingerprint, Normalisation, Plan, PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import (
    Mode,
    PreprocessedDataset,
    preprocess,
    preprocess_case,
    preprocessing_key,
)

Planned = tuple[Dataset, Fingerprint, Plan]


@pytest.fixture(scope="module")
def planned(phantom_path: Path) -> Planned:
    """The phantom with a plan whose patch is larger than some of its cases."""
    dataset = Dataset.open(phantom_path)
    fingerprint, plan = plan_dataset(dataset, PlannerSettings(small_steps=False))
    return dataset, fingerprint, plan


@pytest.fixture
def small(planned: Planned) -> Planned:
    """Two cases of it."""
    dataset, fingerprint, plan = planned
    return replace(dataset, training=dataset.training[:2]), fingerprint, plan


@pytest.fixture(scope="module")
def done(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole phantom, preprocessed once in mode training; tests only read it."""
    dataset, fingerprint, plan = planned
    results = tmp_path_factory.mktemp("preprocessed")
    preprocess(dataset, plan, results, fingerprint=fingerprint)
    return results


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def stamps(folder: Path) -> dict[str, int]:
    """When each file was last written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_writes_what_preprocess_case_makes(planned: Planned, done: Path) -> None:
    dataset, fingerprint, plan = planned
    preprocessed = PreprocessedDataset.open(done, 3)
    assert preprocessed.plan == plan
    assert preprocessed.identifiers == tuple(case.identifier for case in dataset.training)
    assert Fingerprint.load(done / "3d" / "fingerprint.json") == fingerprint
    case = dataset.training[1]
    assert case.label is not None
    volume, label = read_volume(case.images), read_label(case.label)
    expected = preprocess_case(volume, plan, label, pad=True)
    image = np.load(preprocessed.image_path(case.identifier), allow_pickle=False)
    stored = np.load(preprocessed.label_path(case.identifier), allow_pickle=False)
    # Sums may differ in the last bit: here linear algebra uses more than one thread.
    np.testing.assert_allclose(image, expected.image, atol=1e-5)
    assert expected.label is not None
    np.testing.assert_array_equal(stored, expected.label[..., np.newaxis])
    assert (image.dtype, stored.dtype) == (np.float32, np.uint8)
    geometry, padding = preprocessed.geometry(case.identifier), expected.geometry.padding_value
    np.testing.assert_allclose(geometry.padding_value, padding, rtol=1e-12)  # a sum's last bit
    assert replace(geometry, padding_value=padding) == expected.geometry


def test_training_cases_hold_a_patch_and_their_labels(planned: Planned, done: Path) -> None:
    _, _, plan = planned
    preprocessed = PreprocessedDataset.open(done, 3)
    for identifier in preprocessed.identifiers:
        label = np.load(preprocessed.label_path(identifier))
        assert all(size >= patch for size, patch in zip(label.shape, plan.patch_size, strict=False))
        assert set(np.unique(label)) == set(range(len(plan.labels)))


def test_val_cases_are_not_padded(small: Planned, tmp_path: Path) -> None:
    dataset, _, plan = small
    plan = replace(plan, patch_size=tuple(2 * size for size in plan.patch_size))
    trained = preprocess(dataset, plan, tmp_path)
    validated = preprocess(dataset, plan, tmp_path, mode="val")
    assert validated.folder == tmp_path / "3d" / "val"
    for identifier in validated.identifiers:
        geometry = trained.geometry(identifier)
        padded, plain = (np.load(one.image_path(identifier)) for one in (trained, validated))
        assert validated.geometry(identifier).padding == ((0, 0),) * 3
        assert sum(sum(pair) for pair in geometry.padding) > 0
        np.testing.assert_array_equal(geometry.unpad(padded), plain)


def test_test_cases_have_no_label(planned: Planned, tmp_path: Path) -> None:
    dataset, _, plan = planned
    preprocessed = preprocess(dataset, plan, tmp_path, mode="test")
    (identifier,) = preprocessed.identifiers
    assert identifier == dataset.test[0].identifier
    assert not list(preprocessed.folder.glob("*_label.npy"))
    with pytest.raises(InputError, match="no labels"):
        preprocessed.label_path(identifier)


def test_2d_and_3d_lie_side_by_side(small: Planned, tmp_path: Path) -> None:
    dataset, _, plan = small
    _, flat = plan_dataset(dataset, PlannerSettings(dimensions=2))
    preprocess(dataset, plan, tmp_path)
    preprocess(dataset, flat, tmp_path)
    slices = PreprocessedDataset.open(tmp_path, 2)
    assert PreprocessedDataset.open(tmp_path, 3).plan == plan
    assert slices.plan == flat
    for case in dataset.training:
        geometry = slices.geometry(case.identifier)
        assert geometry.resampled_shape[0] == geometry.cropped_shape[0]
        assert geometry.resampled_spacing[1:] == flat.target_spacing


@pytest.mark.slow  # two worker processes start
def test_two_workers_write_the_same_bytes_as_one(
    planned: Planned, done: Path, tmp_path: Path
) -> None:
    dataset, fingerprint, plan = planned
    preprocess(dataset, plan, tmp_path, workers=2, fingerprint=fingerprint)
    assert files(tmp_path) == files(done)


class TestResuming:
    def test_nothing_is_done_twice(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        folder = preprocess(dataset, plan, tmp_path).folder
        before = stamps(folder)
        preprocess(dataset, plan, tmp_path)
        assert stamps(folder) == before

    @pytest.mark.parametrize("damage", ["no json", "half a json", "short image", "no label"])
    def test_a_half_written_case_is_made_again_and_only_that(
        self, small: Planned, tmp_path: Path, damage: str
    ) -> None:
        dataset, _, plan = small
        preprocessed = preprocess(dataset, plan, tmp_path)
        whole, before = files(tmp_path), stamps(preprocessed.folder)
        broken, other = preprocessed.identifiers
        record = preprocessed.folder / f"{broken}.json"
        image = preprocessed.image_path(broken)
        damages: dict[str, Callable[[], object]] = {
            "no json": record.unlink,
            "half a json": lambda: record.write_text(record.read_text()[:40]),
            "short image": lambda: os.truncate(image, image.stat().st_size - 100),
            "no label": preprocessed.label_path(broken).unlink,
        }
        damages[damage]()
        preprocess(dataset, plan, tmp_path)
        assert files(tmp_path) == whole
        after = stamps(preprocessed.folder)
        assert all(after[name] == before[name] for name in after if name.startswith(other))
        assert after[f"{broken}_image.npy"] > before[f"{broken}_image.npy"]

    def test_what_a_killed_run_left_is_cleared_away(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        left = tmp_path / "3d" / "training" / ".writing-abc"
        left.mkdir(parents=True)
        (left / "x.npy").write_bytes(b"half")
        preprocess(dataset, plan, tmp_path)
        assert not left.exists()

    def test_another_plan_makes_all_again(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        before = stamps(preprocess(dataset, plan, tmp_path).folder)
        coarser = replace(plan, target_spacing=tuple(1.25 * size for size in plan.target_spacing))
        preprocessed = preprocess(dataset, coarser, tmp_path)
        after = stamps(preprocessed.folder)
        assert all(after[name] > before[name] for name in before)
        spacing = preprocessed.geometry(preprocessed.identifiers[0]).resampled_spacing
        assert spacing == coarser.target_spacing

    def test_another_batch_size_makes_none_again(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        before = stamps(preprocess(dataset, plan, tmp_path).folder)
        preprocessed = preprocess(dataset, replace(plan, batch_size=1), tmp_path)
        assert stamps(preprocessed.folder) == before
        assert preprocessed.plan.batch_size == 1

    @pytest.mark.parametrize("kind", ["image", "label"])
    def test_a_changed_source_file_is_read_again(
        self, small: Planned, tmp_path: Path, kind: str
    ) -> None:
        dataset, _, plan = small
        case = dataset.training[0]
        assert case.label is not None
        source = case.images[0] if kind == "image" else case.label
        copy = tmp_path / source.name
        copy.write_bytes(source.read_bytes())
        changed: dict[str, Any] = {"images": (copy,)} if kind == "image" else {"label": copy}
        dataset = replace(dataset, training=(replace(case, **changed),))
        before = stamps(preprocess(dataset, plan, tmp_path / "out").folder)
        os.utime(copy, ns=(1, 1))
        after = stamps(preprocess(dataset, plan, tmp_path / "out").folder)
        assert all(after[name] > before[name] for name in before)

    def test_a_source_file_that_changes_after_it_is_read_is_read_again(
        self, small: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset, _, plan = small
        case = dataset.training[0]
        copy = tmp_path / case.images[0].name
        copy.write_bytes(case.images[0].read_bytes())
        dataset = replace(dataset, training=(replace(case, images=(copy,)),))

        def read(paths: tuple[Path, ...]) -> Volume:
            volume = read_volume(paths)
            os.utime(copy, ns=(1, 1))
            return volume

        module = importlib.import_module("nnunet_lib.preprocessing.preprocess")
        monkeypatch.setattr(module, "read_volume", read)
        before = stamps(preprocess(dataset, plan, tmp_path / "out").folder)
        after = stamps(preprocess(dataset, plan, tmp_path / "out").folder)
        assert all(after[name] > before[name] for name in before)


@pytest.mark.parametrize(
    "change",
    [
        {"dimensions": 2},
        {"channels": ("CT",)},
        {"labels": ("background", "one", "two", "three")},
        {"axis_order": (1, 0, 2)},
        {"target_spacing": (2.0, 1.0, 1.5)},
        {"normalisation": (Normalisation("z_score", inside_mask=True),)},
    ],
)
def test_what_changes_the_arrays_changes_the_key(
    make_plan: Callable[..., Plan], change: dict[str, Any]
) -> None:
    assert preprocessing_key(make_plan(**change)) != preprocessing_key(make_plan())


@pytest.mark.parametrize(("mode", "depends"), [("training", True), ("val", False), ("test", False)])
def test_only_cases_that_are_padded_depend_on_the_patch(
    make_plan: Callable[..., Plan], mode: Mode, depends: bool
) -> None:
    small, large = (make_plan(patch_size=(8, size, size)) for size in (16, 32))
    assert (preprocessing_key(small, mode) != preprocessing_key(large, mode)) == depends


class TestOpening:
    def test_what_was_never_preprocessed_says_what_to_run(self, done: Path) -> None:
        with pytest.raises(InputError, match="--dim 2 --exec-mode training"):
            PreprocessedDataset.open(done, 2)
        with pytest.raises(InputError, match="--dim 3 --exec-mode val"):
            PreprocessedDataset.open(done, 3, mode="val")

    def test_half_done_says_how_far(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        preprocessed = preprocess(dataset, plan, tmp_path)
        (preprocessed.folder / f"{preprocessed.identifiers[1]}.json").unlink()
        with pytest.raises(InputError, match="1 of 2 cases"):
            PreprocessedDataset.open(tmp_path, 3)

    @pytest.mark.parametrize("index", ["3", '"hippocampus"', "{}", '["case", 3]'])
    def test_a_damaged_list_of_cases_is_named(
        self, small: Planned, tmp_path: Path, index: str
    ) -> None:
        dataset, _, plan = small
        preprocess(dataset, plan, tmp_path)
        (tmp_path / "3d" / "training.json").write_text(index)
        with pytest.raises(InputError, match=r"training\.json: is no list of cases"):
            PreprocessedDataset.open(tmp_path, 3)

    def test_cases_of_another_plan_are_refused(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        preprocess(dataset, plan, tmp_path, mode="val")
        coarser = replace(plan, target_spacing=tuple(1.25 * size for size in plan.target_spacing))
        preprocess(dataset, coarser, tmp_path)
        with pytest.raises(InputError, match="another plan"):
            PreprocessedDataset.open(tmp_path, 3, mode="val")


class TestErrors:
    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_name_the_case_and_its_files(
        self, small: Planned, tmp_path: Path, workers: int
    ) -> None:
        dataset, _, plan = small
        good, bad = dataset.training
        missing = tmp_path / "missing.nii.gz"
        dataset = replace(dataset, training=(good, replace(bad, images=(missing,))))
        with pytest.raises(InputError) as caught:
            preprocess(dataset, plan, tmp_path, workers=workers)
        assert f"case {bad.identifier}" in str(caught.value)
        assert str(missing) in str(caught.value)
        # Of two workers the quicker may fail before the other has begun.
        with pytest.raises(InputError, match="1 of 2" if workers == 1 else "[12] of 2"):
            PreprocessedDataset.open(tmp_path, 3)

    @pytest.mark.parametrize("scheme", ["ct", "z_score"])
    def test_a_voxel_that_is_no_number_is_named_and_nothing_is_written(
        self, small: Planned, tmp_path: Path, scheme: Literal["ct", "z_score"]
    ) -> None:
        dataset, _, plan = small
        case = dataset.training[0]
        volume = read_volume(case.images)
        volume.array[3, 2, 1, 0] = np.nan
        write_volume(tmp_path / "scan.nii.gz", volume.array, volume.affine)
        dataset = replace(dataset, training=(replace(case, images=(tmp_path / "scan.nii.gz",)),))
        normalisation = (Normalisation(scheme, upper=1.0),)
        with pytest.raises(InputError, match=r"scan\.nii\.gz.*: the image has voxels that are NaN"):
            preprocess(dataset, replace(plan, normalisation=normalisation), tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.npy"))

    def test_a_training_case_needs_a_label(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        case = replace(dataset.training[0], label=None)
        with pytest.raises(InputError, match="no label"):
            preprocess(replace(dataset, training=(case,)), plan, tmp_path)

    def test_a_label_that_the_plan_does_not_know(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        known = replace(plan, labels=plan.labels[:-1])
        dataset = replace(dataset, labels=known.labels)
        with pytest.raises(InputError, match=f"the value {len(known.labels)}.*labels up to"):
            preprocess(dataset, known, tmp_path)

    @pytest.mark.parametrize(
        "misfit", [{"labels": ("background", "one")}, {"channels": ("MRI", "MRI")}]
    )
    def test_a_plan_that_does_not_fit_replaces_none(
        self, small: Planned, tmp_path: Path, misfit: dict[str, Any]
    ) -> None:
        dataset, _, plan = small
        preprocess(dataset, plan, tmp_path)
        before = files(tmp_path)
        schemes = plan.normalisation * len(misfit.get("channels", plan.channels))
        with pytest.raises(InputError, match=r"dataset\.json: the plan is for . channels"):
            preprocess(dataset, replace(plan, **misfit, normalisation=schemes), tmp_path)
        assert files(tmp_path) == before

    def test_a_full_disk_is_told_with_the_folder(
        self, small: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def save(path: Path, array: np.ndarray, **_: Any) -> None:
            raise OSError("1024 requested and 0 written")  # NumPy's own, without a reason

        monkeypatch.setattr(np, "save", save)
        dataset, _, plan = small
        with pytest.raises(InputError, match=r"3d.training: .*0 written: is the disk full\?"):
            preprocess(dataset, plan, tmp_path)

    @pytest.mark.parametrize("mode", ["training", "val", "test"])
    def test_no_cases(self, small: Planned, tmp_path: Path, mode: Mode) -> None:
        dataset, _, plan = small
        kind = "test" if mode == "test" else "training"
        with pytest.raises(InputError, match=f"lists no {kind} cases"):
            preprocess(replace(dataset, training=(), test=()), plan, tmp_path, mode=mode)

    def test_unknown_mode(self, small: Planned, tmp_path: Path) -> None:
        dataset, _, plan = small
        with pytest.raises(InputError, match="training, val, test"):
            preprocess(dataset, plan, tmp_path, mode="train")  # type: ignore[arg-type]  # on purpose


def test_a_cases_json_says_what_it_was_made_from(done: Path) -> None:
    preprocessed = PreprocessedDataset.open(done, 3)
    value = read_json(preprocessed.folder / f"{preprocessed.identifiers[0]}.json")
    assert set(value) == {"made_from", "geometry"}
    assert set(value["made_from"]) == {"plan", "sources"}


def test_a_case_counts_as_finished_only_when_all_of_it_is_there(
    small: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its JSON file says so: it is gone while arrays are written, also those of another plan."""
    dataset, _, plan = small
    module = importlib.import_module("nnunet_lib.preprocessing.preprocess")
    save, seen = module._save_array, []

    def watched(path: Path, array: np.ndarray) -> None:
        seen.append(path.with_name(path.stem.rsplit("_", 1)[0] + ".json").exists())
        save(path, array)

    monkeypatch.setattr(module, "_save_array", watched)
    for inside in (False, True):
        scheme = replace(plan.normalisation[0], inside_mask=inside)
        preprocess(dataset, replace(plan, normalisation=(scheme,)), tmp_path, workers=1)
    assert seen == [False] * 8  # an image and a label of two cases, twice

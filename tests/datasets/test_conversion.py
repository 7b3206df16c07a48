"""Loose files become a dataset with the same voxels, and every fault among them is named."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from nnunet_lib.datasets import convert, find_images, read_volume, validate
from nnunet_lib.errors import InputError

SHAPE = (5, 6, 7)  # i, j, k
SUFFIXES = {"T1w": "_t1", "T2w": "_t2"}


@pytest.fixture
def loose(tmp_path, write_nifti):
    """Three patients with two images and a mask each; one image is not compressed."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "loose"
    for patient in ("patient_1", "patient_2", "patient_3"):
        for suffix in SUFFIXES.values():
            write_nifti(folder / f"{patient}{suffix}.nii.gz", generator.random(SHAPE, np.float32))
        mask = generator.integers(0, 3, SHAPE, dtype=np.uint8)
        write_nifti(folder / f"{patient}_mask.nii.gz", mask)
    packed = folder / "patient_2_t2.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def run(loose, output, **changes):
    settings = {"channels": SUFFIXES, "label_suffix": "_mask", "labels": ["front", "back"]}
    return convert(loose, output, **{**settings, **changes})


def test_the_dataset_holds_the_voxels_and_grids_of_the_loose_files(loose, tmp_path):
    dataset = run(loose, tmp_path / "msd")
    assert validate(dataset) == []
    assert (dataset.name, dataset.channels) == ("loose", ("T1w", "T2w"))
    assert dataset.labels == ("background", "front", "back")
    assert [case.identifier for case in dataset.training] == ["patient_1", "patient_2", "patient_3"]
    for case in dataset.training:
        for path, suffix in zip((*case.images, case.label), ("_t1", "_t2", "_mask"), strict=True):
            before = nib.load(next(loose.glob(f"{case.identifier}{suffix}.nii*")))
            after = nib.load(path)
            np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj))
            np.testing.assert_array_equal(after.affine, before.affine)
            assert after.get_data_dtype() == before.get_data_dtype()


def test_what_is_compressed_does_not_hold_the_time(loose, tmp_path):
    dataset = run(loose, tmp_path / "msd")
    copy = dataset.training[1].images[1]  # of the one that was not compressed
    assert copy.read_bytes()[4:8] == bytes(4)


def test_one_channel_is_one_file(loose, tmp_path):
    for path in loose.glob("*_t2*"):
        path.unlink()
    dataset = run(str(loose), str(tmp_path / "msd"), channels={"T1w": "_t1"}, name="Heads")
    assert dataset.name == "Heads"
    assert dataset.training[0].images[0].name == "patient_1.nii.gz"
    assert read_volume(dataset.training[0].images).array.shape == (*SHAPE[::-1], 1)


def test_cases_that_are_numbered_like_channels_stay_cases(tmp_path, write_nifti):
    names = ["scan_0000", "scan_0001", "scan_0002"]
    for name in names:
        for suffix in ("_ct", "_mask"):
            write_nifti(tmp_path / "loose" / f"{name}{suffix}.nii.gz", np.ones(SHAPE, np.uint8))
    dataset = run(tmp_path / "loose", tmp_path / "msd", channels={"CT": "_ct"})
    found = find_images(tmp_path / "msd/imagesTr", 1)
    assert validate(dataset) == []
    assert [case.identifier for case in found] == names
    assert [case.images for case in found] == [case.images for case in dataset.training]


def test_channels_keep_the_order_that_they_were_given_in(loose, tmp_path):
    dataset = run(loose, tmp_path / "msd", channels={"T2w": "_t2", "T1w": "_t1"})
    first = read_volume(dataset.training[0].images).array[..., 0]  # (z, y, x)
    expected = nib.load(loose / "patient_1_t2.nii.gz").get_fdata().T
    np.testing.assert_allclose(first, expected)


def test_the_longest_suffix_that_fits_is_meant(loose, tmp_path, write_nifti):
    for patient in (1, 2, 3):
        write_nifti(loose / f"patient_{patient}_gd_t1.nii.gz", np.ones(SHAPE, np.float32))
    dataset = run(loose, tmp_path / "msd", channels={**SUFFIXES, "T1gd": "_gd_t1"})
    assert len(dataset.training) == 3
    assert {len(case.images) for case in dataset.training} == {3}


def test_hidden_files_and_subfolders_are_passed_over(loose, tmp_path):
    (loose / ".DS_Store").touch()
    (loose / "old").mkdir()
    assert len(run(loose, tmp_path / "msd").training) == 3


def moved(loose, save, name):
    affine = np.diag([0.8, 1.2, 2.5, 1.0])
    save(loose / name, np.zeros(SHAPE, np.uint8), affine)


def broken(path):
    path.unlink()
    path.symlink_to("/unmounted/disk.nii.gz")


FAULTS = {
    "an image without a label": (
        lambda loose, save: (loose / "patient_2_mask.nii.gz").unlink(),
        r"patient_2_mask\.nii\.gz: is missing: the image has no label map\. Draw it",
    ),
    "a label without an image": (
        lambda loose, save: (loose / "patient_3_t1.nii.gz").unlink(),
        r"patient_3_t1\.nii\.gz: is missing: the case has no such image",
    ),
    "a label on another grid": (
        lambda loose, save: moved(loose, save, "patient_1_mask.nii.gz"),
        r"patient_1_mask\.nii\.gz: is not on the grid of patient_1_t1\.nii\.gz: the affines",
    ),
    "a channel of another shape": (
        lambda loose, save: save(loose / "patient_1_t2.nii.gz", np.zeros((5, 6, 8), np.uint8)),
        r"patient_1_t2\.nii\.gz: is not on the grid of .*shape 8 x 6 x 5 against 7 x 6 x 5",
    ),
    "a file that is not NIfTI": (
        lambda loose, save: (loose / "patient_1_t1.nii.gz").write_bytes(b"not compressed"),
        r"patient_1_t1\.nii\.gz: cannot be read as NIfTI",
    ),
    "a file that fits no suffix": (
        lambda loose, save: save(loose / "patient_4_flair.nii.gz", np.zeros(SHAPE, np.uint8)),
        r"patient_4_flair\.nii\.gz: belongs to no case\. .*_t1, _t2, _mask",
    ),
    "a suffix without a case": (
        lambda loose, save: save(loose / "_mask.nii.gz", np.zeros(SHAPE, np.uint8)),
        r"loose/_mask\.nii\.gz: belongs to no case",
    ),
    "a link that leads nowhere": (
        lambda loose, save: broken(loose / "patient_2_t1.nii.gz"),
        r"patient_2_t1\.nii\.gz: does not exist",
    ),
    "another kind of file": (
        lambda loose, save: (loose / "notes.docx").touch(),
        r"notes\.docx: belongs to no case",
    ),
    "one image in two files": (
        lambda loose, save: save(loose / "patient_2_t2.nii.gz", np.zeros(SHAPE, np.uint8)),
        r"patient_2_t2\.nii\.gz: is there as patient_2_t2\.nii too",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_is_written(loose, tmp_path, write_nifti, fault):
    plant, message = FAULTS[fault]
    plant(loose, write_nifti)
    with pytest.raises(InputError, match=message):
        run(loose, tmp_path / "msd")
    assert [path.name for path in tmp_path.iterdir()] == ["loose"]


def test_all_faults_are_named_at_once(loose, tmp_path, write_nifti):
    for name in ("an image without a label", "a label on another grid", "another kind of file"):
        FAULTS[name][0](loose, write_nifti)
    with pytest.raises(InputError) as error:
        run(loose, tmp_path / "msd")
    assert str(error.value).count("  - ") == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_suffix": "_t1"}, "one of its own"),
        ({"label_suffix": ""}, "one of its own"),
        ({"channels": {}}, "one of its own"),
        ({"channels": {"T1w": "", "FLAIR": ""}}, "one of its own"),
        ({"labels": []}, "no label beside the background"),
        ({"labels": ["a", "a"]}, "The dataset.json to write names .* 'a', 'a'.*name of its own"),
        ({"labels": ["background", "a"]}, "name of its own"),
        ({"labels": ["a", ""]}, "name of its own"),
        ({"labels": ["a", "ignore"]}, 'has the label "ignore"'),
        (
            {"channels": {"noNorm": "_t1"}},
            "The dataset.json to write .*normalisation that is not there",
        ),
        ({"channels": {"T1w": "_nothing"}, "label_suffix": "_none"}, "holds no file of any case"),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(loose, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(loose, tmp_path / "msd", **changes)
    assert [path.name for path in tmp_path.iterdir()] == ["loose"]


def test_a_folder_that_is_not_there_or_not_free_is_refused(loose, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        run(tmp_path / "nowhere", tmp_path / "msd")
    (tmp_path / "msd").mkdir()  # empty, so it is free
    folder = (tmp_path / "msd").stat().st_ino
    run(loose, tmp_path / "msd")
    assert (tmp_path / "msd").stat().st_ino == folder  # as a mounted one has to stay
    assert not list((tmp_path / "msd").glob(".*"))
    with pytest.raises(InputError, match="is there already"):
        run(loose, tmp_path / "msd")


def test_a_place_that_cannot_be_written_is_told_before_any_file_is_read(loose, read_only):
    next(loose.iterdir()).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"msd: cannot be written, because .* is read-only"):
        run(loose, read_only / "msd")

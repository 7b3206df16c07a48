"""`convert` as a person types it."""

import shutil

import pytest

from nnunet_lib.cli import main
from nnunet_lib.datasets import Dataset, make_phantom, read_label, write_label


@pytest.fixture
def loose(tmp_path):
    """Two patients' files, side by side."""
    phantom = make_phantom(tmp_path / "phantom", cases=2)
    folder = tmp_path / "loose"
    folder.mkdir()
    for case in phantom.training:
        shutil.copy(case.images[0], folder / f"{case.identifier}_t1.nii.gz")
        shutil.copy(case.label, folder / f"{case.identifier}_mask.nii.gz")
    return folder


def words(loose, output, *suffixes):
    return ["convert", "--input", str(loose), "--output", str(output), "--suffixes", *suffixes,
            "--label-suffix", "_mask", "--structures", "front", "back"]  # fmt: skip


def test_convert_makes_a_dataset(loose, tmp_path, capsys):
    assert main(words(loose, tmp_path / "msd", "T1w=_t1")) == 0
    assert capsys.readouterr().out == f"Cases in {tmp_path / 'msd'}: 2\n"
    dataset = Dataset.open(tmp_path / "msd")
    assert dataset.channels == ("T1w",)
    assert dataset.labels == ("background", "front", "back")


def test_convert_names_faults_of_files_and_of_voxels(loose, tmp_path, capsys):
    path = loose / "phantom_001_mask.nii.gz"
    stray = shutil.copy(path, loose / "stray.nii.gz")
    assert main(words(loose, tmp_path / "msd", "T1w=_t1")) == 2
    assert "stray.nii.gz: belongs to no case" in capsys.readouterr().err
    stray.unlink()
    label = read_label(path)
    write_label(path, label.array * 3, label.affine)
    assert main(words(loose, tmp_path / "msd", "T1w=_t1")) == 2
    printed = capsys.readouterr().err
    assert "does not list: 3, 6" in printed
    assert str(path) in printed  # the file that somebody has, not its copy
    assert not (tmp_path / "msd").exists()
    write_label(path, label.array, label.affine)
    assert main(words(loose, tmp_path / "msd", "T1w=_t1")) == 0


def test_images_may_have_no_suffix(loose, tmp_path):
    for path in loose.glob("*_t1.nii.gz"):
        path.rename(loose / path.name.replace("_t1", ""))
    assert main(words(loose, tmp_path / "msd", "CT=")) == 0
    assert Dataset.open(tmp_path / "msd").channels == ("CT",)


def test_two_channels_of_one_name_are_refused(loose, tmp_path, capsys):
    assert main(words(loose, tmp_path / "msd", "T1w=_t1", "T1w=_flair")) == 2
    assert "Give each a name of its own" in capsys.readouterr().err
    assert not (tmp_path / "msd").exists()


def test_a_channel_without_a_suffix_is_refused(loose, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(words(loose, tmp_path / "msd", "T1w"))
    assert "T1w=_t1" in capsys.readouterr().err

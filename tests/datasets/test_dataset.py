import json
import shutil

import pytest

from nnunet_lib.datasets import read_volume
from nnunet_lib.datasets.dataset import Dataset, find_images
from nnunet_lib.errors import InputError


def _edit(root, **changes):
    """Change dataset.json; None removes a key."""
    path = root / "dataset.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not None}))


def test_msd(msd_folder):
    dataset = Dataset.open(msd_folder)
    assert (dataset.name, dataset.root, dataset.file_ending) == ("Small", msd_folder, ".nii.gz")
    assert dataset.channels == ("T1", "T2")
    assert dataset.labels == ("background", "one", "two")
    assert [case.identifier for case in dataset.training] == ["a", "b", "c"]
    assert dataset.training[1].images == (msd_folder / "imagesTr/b.nii.gz",)
    assert dataset.training[1].label == msd_folder / "labelsTr/b.nii.gz"
    assert [(case.identifier, case.label) for case in dataset.test] == [("t", None)]


def test_nnunet(nnunet_folder):
    dataset = Dataset.open(nnunet_folder)
    assert dataset.name == "nnunet"  # it names none: the folder's name
    assert dataset.channels == ("T2", "ADC")
    assert dataset.labels == ("background", "PZ", "TZ")
    assert [case.identifier for case in dataset.training] == ["p_1", "p_2"]
    images = nnunet_folder / "imagesTr"
    assert dataset.training[0].images == (
        images / "p_1_0000.nii.gz",
        images / "p_1_0001.nii.gz",
    )
    assert dataset.training[0].label == nnunet_folder / "labelsTr/p_1.nii.gz"
    assert [(case.identifier, case.label) for case in dataset.test] == [("q_1", None)]


def test_test_cases_may_be_listed_as_objects(msd_folder):
    _edit(msd_folder, test=[{"image": "imagesTs/t.nii.gz"}])
    assert Dataset.open(msd_folder).test[0].images == (msd_folder / "imagesTs/t.nii.gz",)


def test_a_listed_image_may_stand_for_its_channels(nnunet_folder):
    """As in the datasets of nnU-Net's first version."""
    entry = {"image": "./imagesTr/p_1.nii.gz", "label": "./labelsTr/p_1.nii.gz"}
    _edit(nnunet_folder, training=[entry])
    (case,) = Dataset.open(nnunet_folder).training
    assert case.identifier == "p_1"
    assert [path.name for path in case.images] == ["p_1_0000.nii.gz", "p_1_0001.nii.gz"]


@pytest.mark.parametrize("order", [("b", "a"), ("a", "b")])
def test_labels_follow_their_numbers_not_their_order(msd_folder, order):
    numbers = {"a": 1, "b": 2}
    _edit(msd_folder, labels={"rest": 0} | {name: numbers[name] for name in order})
    assert Dataset.open(msd_folder).labels == ("rest", "a", "b")


def test_labels_may_have_numbers_for_names(nnunet_folder):
    _edit(nnunet_folder, labels={"background": 0, "2": 1, "1": 2})
    assert Dataset.open(nnunet_folder).labels == ("background", "2", "1")


def test_a_listed_image_that_is_there_is_the_one_that_is_meant(nnunet_folder):
    listed = nnunet_folder / "imagesTr/p_1.nii.gz"  # beside p_1_0000.nii.gz
    listed.touch()
    _edit(nnunet_folder, training=[{"image": "imagesTr/p_1.nii.gz", "label": "labelsTr/p_1.nii"}])
    (case,) = Dataset.open(nnunet_folder).training
    assert case.images == (listed,)


@pytest.mark.parametrize("folder", ["msd_folder", "nnunet_folder"])
def test_files_that_are_not_compressed_have_their_ending(request, folder):
    root = request.getfixturevalue(folder)
    for path in root.glob("*/*.nii.gz"):
        path.rename(path.with_suffix(""))
    description = (root / "dataset.json").read_text().replace(".nii.gz", ".nii")
    (root / "dataset.json").write_text(description)
    dataset = Dataset.open(root)
    assert dataset.file_ending == ".nii"
    assert all(case.label.is_file() for case in dataset.training)
    assert all(path.is_file() for case in dataset.training for path in case.images)


def test_a_folder_gives_its_name_to_a_dataset_without_one(nnunet_folder, monkeypatch):
    monkeypatch.chdir(nnunet_folder)
    assert Dataset.open(".").name == "nnunet"


def _training(image="imagesTr/a.nii.gz", label="labelsTr/a.nii.gz"):
    return [{"image": image, "label": label}]


FAULTS = {
    "no channels": ({"modality": None}, "names no image channels"),
    "channels with a gap": ({"modality": {"0": "T1", "2": "T2"}}, "without gaps"),
    "no labels": ({"labels": None}, "names no labels"),
    "background only": ({"labels": {"0": "background"}}, "names no labels"),
    "labels with a gap": ({"labels": {"0": "rest", "1": "a", "3": "b"}}, '"labels" 0, 1, 3, not 0'),
    "labels from one": ({"labels": {"1": "a", "2": "b"}}, "without gaps"),
    "one value twice": ({"labels": {"rest": 0, "a": 1, "b": 1}}, "two labels one value"),
    "a label that is true": ({"labels": {"rest": 0, "a": True}}, "without gaps"),
    "a label without number": ({"labels": {"rest": 0, "a": None}}, "without gaps"),
    "background above 0": ({"labels": {"liver": 0, "background": 1}}, '"background" the value 1'),
    "background above 0 as in MSD": (
        {"labels": {"0": "liver", "1": "vessel", "2": "Background "}},
        'label "Background " the value 2, but 0 is the background',
    ),
    "regions": ({"labels": {"rest": 0, "whole": [1, 2]}}, "regions"),
    "an ignore label": ({"labels": {"rest": 0, "organ": 1, "ignore": 2}}, 'label "ignore"'),
    "an ignore label as in MSD": ({"labels": {"0": "rest", "1": "ignore"}}, 'label "ignore"'),
    "no normalisation": ({"modality": {"0": "noNorm"}}, 'channel name "noNorm"'),
    "another normalisation": ({"modality": {"0": "rescale_to_0_1"}}, "that is not there"),
    "one of colours": ({"modality": {"0": "CT", "1": "RGB_to_0_1"}}, "that is not there"),
    "training is no list": ({"training": {"a": 1}}, '"training" is not a list'),
    "an entry is no case": ({"training": [3]}, "names no image"),
    "an entry has no label": ({"training": [{"image": "a.nii.gz"}]}, "a.nii.gz without a label"),
    "a way out": ({"training": _training("../x.nii.gz")}, r"outside of its folder: \.\./x"),
    "a hidden way out": ({"training": _training("a/../../x.nii.gz")}, "outside of its folder"),
    "an absolute path": ({"training": _training("/etc/x.nii.gz")}, "outside of its folder"),
    "a label outside": ({"training": _training(label="../x.nii.gz")}, "outside of its folder"),
    "a test case outside": ({"test": ["../x.nii.gz"]}, "outside of its folder"),
    "another format": ({"training": _training("imagesTr/a.mha")}, r"a\.mha: is not a \.nii"),
    "another ending": ({"file_ending": ".png"}, 'file_ending "\\.png"'),
    "a case twice": ({"training": _training() * 2}, "more than once: a"),
    "two files, one name": (
        {"training": [*_training(), *_training("other/a.nii.gz")]},
        "more than once: a",
    ),
    "a training case to test": ({"test": ["./imagesTr/a.nii.gz"]}, "more than once: .*a.nii.gz"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_description_is_refused(msd_folder, fault):
    changes, message = FAULTS[fault]
    _edit(msd_folder, **changes)
    with pytest.raises(InputError, match=message):
        Dataset.open(msd_folder)


def test_another_format_is_named_where_its_files_are_searched(nnunet_folder):
    for path in nnunet_folder.glob("*/*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".nrrd")))
    _edit(nnunet_folder, file_ending=".nrrd")
    with pytest.raises(InputError, match=r'file_ending "\.nrrd"\. Convert'):
        Dataset.open(nnunet_folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_description_that_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json"):
        Dataset.open(tmp_path)


def test_a_folder_without_description_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json: there is no such file"):
        Dataset.open(tmp_path)


def test_nnunet_without_images_is_refused(nnunet_folder):
    shutil.rmtree(nnunet_folder / "imagesTr")
    with pytest.raises(InputError, match="there is no imagesTr"):
        Dataset.open(nnunet_folder)


def test_nnunet_counts_its_cases(nnunet_folder):
    _edit(nnunet_folder, numTraining=1)
    with pytest.raises(InputError, match="numTraining 1, but imagesTr holds 2"):
        Dataset.open(nnunet_folder)
    _edit(nnunet_folder, numTraining=2)
    for channel in range(2):
        (nnunet_folder / f"imagesTr/p_2_{channel:04d}.nii.gz").unlink()
    with pytest.raises(InputError, match="numTraining 2, but imagesTr holds 1"):
        Dataset.open(nnunet_folder)


def _touch(folder, *names):
    for name in names:
        (folder / name).touch()


def _found(cases):
    return {case.identifier: [path.name for path in case.images] for case in cases}


def test_images_are_grouped_by_case(tmp_path):
    _touch(tmp_path, "b_0001.nii.gz", "b_0000.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz")
    _touch(tmp_path, "._a_0000.nii.gz", "notes.txt")
    assert _found(find_images(tmp_path, 2)) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }


def test_a_year_is_no_channel(tmp_path):
    _touch(tmp_path, "scan_2019.nii.gz", "scan_2020.nii")
    assert _found(find_images(tmp_path, 1)) == {
        "scan_2019": ["scan_2019.nii.gz"],
        "scan_2020": ["scan_2020.nii"],
    }


def test_a_missing_channel_is_listed_and_a_surplus_one_too(tmp_path):
    _touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "b_0002.nii.gz")
    assert _found(find_images(tmp_path, 2)) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz", "b_0002.nii.gz"],
    }


@pytest.mark.parametrize(
    ("numbers", "channels"),
    [((0, 2), 1), ((0, 1, 3, 5), 1), ((0, 2019), 1), ((0, 1, 3, 5), 2), ((0, 2019), 2)],
)
def test_an_image_that_would_be_left_out_is_named(tmp_path, numbers, channels):
    _touch(tmp_path, "a.nii.gz", *(f"scan_{number:04d}.nii.gz" for number in numbers))
    with pytest.raises(
        InputError, match=r"scan_\d{4}\.nii\.gz: is named as a channel of scan, but"
    ):
        find_images(tmp_path, channels)
    assert _found(find_images(tmp_path / "a.nii.gz", channels)) == {"a": ["a.nii.gz"]}


@pytest.mark.parametrize(("numbers", "channels"), [((1, 2), 1), ((0, 1, 2), 1), ((0, 2), 2)])
def test_every_image_belongs_to_a_case(tmp_path, numbers, channels):
    files = [f"scan_{number:04d}.nii.gz" for number in numbers]
    _touch(tmp_path, *files)
    found = find_images(tmp_path, channels)
    assert {path.name for case in found for path in case.images} >= set(files)


def test_a_channel_after_a_missing_one_is_refused_with_what_is_missing(tmp_path):
    _touch(tmp_path, "scan_0000.nii.gz", "scan_0002.nii.gz", "scan_0003.nii.gz")
    for source in (tmp_path, tmp_path / "scan_0002.nii.gz"):
        with pytest.raises(InputError, match=r"scan_0002\.nii\.gz: .*Add scan_0001\.nii\.gz; or"):
            find_images(source, 1)
    assert _found(find_images(tmp_path / "scan_0000.nii.gz", 1)) == {"scan": ["scan_0000.nii.gz"]}


def test_a_hidden_file_is_no_image(tmp_path):
    _touch(tmp_path, "._a.nii.gz")
    with pytest.raises(InputError, match="is a hidden file"):
        find_images(tmp_path / "._a.nii.gz", 1)


def test_one_file_is_one_case(tmp_path):
    _touch(tmp_path, "a.nii.gz", "a.nii", "c_0000.nii.gz", "c_0001.nii.gz", "a.txt")
    assert _found(find_images(tmp_path / "a.nii.gz", 1)) == {"a": ["a.nii.gz"]}
    channels = {"c": ["c_0000.nii.gz", "c_0001.nii.gz"]}
    assert _found(find_images(tmp_path / "c_0001.nii.gz", 2)) == channels
    with pytest.raises(InputError, match=r"a\.txt: is not a \.nii"):
        find_images(tmp_path / "a.txt", 1)


@pytest.mark.parametrize("names", [("a.nii", "a.nii.gz"), ("a.nii.gz", "a_0000.nii.gz")])
def test_one_case_twice_is_refused(tmp_path, names):
    _touch(tmp_path, *names)
    with pytest.raises(InputError, match="more than once: a"):
        find_images(tmp_path, 1)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no \.nii"):
        find_images(tmp_path, 1)
    with pytest.raises(InputError, match="is not a folder"):
        find_images(tmp_path / "nowhere", 1)


def test_real_data_open(real_dataset_path):
    dataset = Dataset.open(real_dataset_path)
    assert dataset.channels == ("MRI",)
    assert dataset.labels == ("background", "Anterior", "Posterior")
    assert len({case.identifier for case in dataset.training}) == 200


def test_an_image_that_is_not_there_is_said_not_to_be(tmp_path):
    with pytest.raises(InputError, match=r"missing\.nii\.gz: does not exist"):
        find_images(tmp_path / "missing.nii.gz", 1)


def test_a_link_that_leads_nowhere_is_a_case_whose_image_cannot_be_read(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to("/unmounted/disk.nii.gz")
    (case,) = find_images(tmp_path, 1)
    with pytest.raises(InputError, match=r"a\.nii\.gz: does not exist"):
        read_volume(case.images)

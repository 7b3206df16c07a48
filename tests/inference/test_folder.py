"""Images in, label maps out: names, formats, and faults found before the work."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from nnunet_lib import distributed
from nnunet_lib.datasets import find_images, read_label, read_volume, write_label, write_volume
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.inference import (
    InferenceSettings,
    Member,
    Postprocessing,
    predict,
    predict_files,
    predict_volume,
)
from nnunet_lib.inference.ensemble import common_postprocessing
from nnunet_lib.inference.folder import _tasks
from nnunet_lib.model import ComputeSettings, compute

SPACING = (2.0, 1.0, 1.5)
SHAPE = (10, 14, 9)


@pytest.fixture
def images(tmp_path, oblique):
    """Cases a and b, one 4D file each, and c, one file a channel; their arrays by case."""
    folder, arrays = tmp_path / "images", {}
    random = np.random.default_rng(0)
    for case in "abc":
        arrays[case] = random.normal(size=(*SHAPE, 3)).astype(np.float32)
    for case in "ab":
        write_volume(folder / f"{case}.nii.gz", arrays[case], oblique(SPACING))
    for channel in range(3):
        path = folder / f"c_{channel:04d}.nii.gz"
        write_volume(path, arrays["c"][..., channel], oblique(SPACING))
    return folder, arrays


@pytest.fixture
def model(tmp_path, monkeypatch, make_plan):
    """A run folder whose network is the identity; loading it needs no TensorFlow."""
    run = tmp_path / "run"
    write_json(run / "fold.json", {"training": ["a"], "validation": ["b", "c"]})
    loaded, asked = [], []

    def load_network(path, checkpoint, compute, batch_size):
        loaded.append((path, checkpoint))
        asked.append((compute, batch_size))
        return lambda patches: patches, make_plan(SPACING, (8, 8, 8), (1, 2, 0))

    fake = SimpleNamespace(load_network=load_network)
    monkeypatch.setitem(sys.modules, "nnunet_lib.model", fake)
    return SimpleNamespace(run=run, loaded=loaded, asked=asked)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_becomes_a_folder_of_label_maps(images, model, tmp_path, oblique):
    folder, arrays = images
    output = tmp_path / "predictions"
    written = predict(model.run, folder, output)
    assert model.loaded == [(model.run, "checkpoint_last.npz")]
    assert names(output) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert sorted(written) == sorted(output.iterdir())
    for case, array in arrays.items():
        label = read_label(output / f"{case}.nii.gz")
        np.testing.assert_array_equal(label.array, array.argmax(axis=-1))
        np.testing.assert_allclose(label.affine, oblique(SPACING), atol=1e-5)
    assert nib.load(output / "a.nii.gz").get_data_dtype() == np.uint8


def test_precision_and_compilation_reach_the_network_and_their_price_is_told(
    images, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(compute, "_capabilities", dict)  # no GPU, wherever this runs
    settings = ComputeSettings("float16", xla=True)
    windows = InferenceSettings(window_batch_size=3)
    predict(model.run, images[0], tmp_path / "out", windows, compute=settings)
    assert model.asked == [(settings, 3)]
    assert compute.SLOW_XLA in capsys.readouterr().out


def test_a_map_says_no_more_of_where_it_lies_than_its_image(images, model, tmp_path):
    folder, arrays = images
    image = nib.Nifti1Image(arrays["a"].transpose(2, 1, 0, 3), None)  # neither sform nor qform
    nib.save(image, folder / "a.nii.gz")
    settings = InferenceSettings(save_probabilities=True)
    predict(model.run, folder / "a.nii.gz", tmp_path / "out", settings)
    for path in (tmp_path / "out").iterdir():
        header = nib.load(path).header
        assert (header["sform_code"], header["qform_code"]) == (0, 0)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_becomes_a_file(images, model, tmp_path, ending):
    folder, arrays = images
    output = tmp_path / "new" / f"answer{ending}"
    assert predict(model.run, folder / "b.nii.gz", output) == [output]
    np.testing.assert_array_equal(read_label(output).array, arrays["b"].argmax(axis=-1))


def test_a_file_may_go_to_a_folder_and_stand_for_all_its_channels(images, model, tmp_path):
    folder, arrays = images
    predict(model.run, folder / "c_0001.nii.gz", tmp_path / "out")
    assert names(tmp_path / "out") == ["c.nii.gz"]
    label = read_label(tmp_path / "out" / "c.nii.gz")
    np.testing.assert_array_equal(label.array, arrays["c"].argmax(axis=-1))


@pytest.mark.parametrize("tta", [False, True])
def test_probabilities_come_back_through_nifti(images, model, tmp_path, tta, oblique):
    folder, arrays = images
    settings = InferenceSettings(tta=tta, save_probabilities=True)
    predict(model.run, folder / "a.nii.gz", tmp_path / "out", settings)
    assert names(tmp_path / "out") == ["a.nii.gz", "a_probabilities.nii.gz"]
    saved = read_volume([tmp_path / "out" / "a_probabilities.nii.gz"])
    exponentials = np.exp(arrays["a"].astype(np.float64))
    expected = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(saved.array, expected, atol=1e-5)
    np.testing.assert_allclose(saved.affine, oblique(SPACING), atol=1e-5)


def test_only_the_validation_cases_and_the_best_checkpoint(images, model, tmp_path):
    folder, _ = images
    predict(model.run, folder, tmp_path / "out", checkpoint="best", subset="validation")
    assert names(tmp_path / "out") == ["b.nii.gz", "c.nii.gz"]
    assert model.loaded == [(model.run, "checkpoint_best.npz")]


def test_a_subset_that_there_is_not_is_refused_rather_than_all_predicted(images, model, tmp_path):
    with pytest.raises(InputError, match="subset val: must be one of all, validation"):
        predict(model.run, images[0], tmp_path / "out", subset="val")
    assert not (tmp_path / "out").exists()


def test_validation_cases_that_are_not_there_are_named(images, model, tmp_path):
    folder, _ = images
    with pytest.raises(InputError, match=r"not among the images: c\."):
        predict(model.run, folder / "b.nii.gz", tmp_path / "out", subset="validation")


def test_what_cross_validation_decided_is_done_and_said(images, model, tmp_path, capsys):
    folder, arrays = images
    chosen = Postprocessing(True, (2,))
    chosen.save(model.run)
    plain = arrays["b"].argmax(axis=-1)
    for postprocess, expected in ((True, chosen.apply(plain)), (False, plain)):
        settings = InferenceSettings(save_probabilities=True)
        predict(model.run, folder / "b.nii.gz", tmp_path, settings, postprocess=postprocess)
        np.testing.assert_array_equal(read_label(tmp_path / "b.nii.gz").array, expected)
        said = "of all foreground, then of class 2 is kept" in capsys.readouterr().out
        assert said == postprocess
        probabilities = read_volume([tmp_path / "b_probabilities.nii.gz"]).array
        np.testing.assert_array_equal(probabilities.argmax(axis=-1), plain)
    assert (chosen.apply(plain) != plain).any()


def test_in_memory_postprocessing_is_a_line_of_its_own(images, model, tmp_path, make_plan):
    """The one that the docstrings of `predict_volume` and `predict_ensemble` name."""
    Postprocessing(True, (2,)).save(model.run)
    path = images[0] / "b.nii.gz"
    predict(model.run, path, tmp_path / "out")
    expected = read_label(tmp_path / "out" / "b.nii.gz").array
    member = Member(lambda patches: patches, make_plan(SPACING, (8, 8, 8), (1, 2, 0)), model.run)
    prediction = predict_volume(member.network, read_volume([path]), member.plan)
    assert (prediction.labels != expected).any()
    for postprocessing in (Postprocessing.load(model.run), common_postprocessing([member])):
        np.testing.assert_array_equal(postprocessing.apply(prediction.labels), expected)


def test_all_faults_in_headers_are_found_before_the_work(images, model, tmp_path, oblique):
    folder, arrays = images
    write_volume(folder / "a.nii.gz", arrays["a"][..., :2], oblique(SPACING))
    (folder / "b.nii.gz").write_bytes(b"not an image")
    (folder / "c_0002.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        predict(model.run, folder, tmp_path / "out")
    text = str(caught.value)
    assert "a.nii.gz: has 2 channels, but the model was trained with 3" in text
    assert "Files of one channel each end in _0000 " in text
    assert "b.nii.gz: cannot be read" in text
    assert "c_0002.nii.gz: does not exist" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("channels", "scans"), [(("MRI",), 2), (("T1", "T2"), 3)])
def test_scans_that_are_named_as_channels_are_told_so_with_how_to_name_them(
    images, tmp_path, make_plan, oblique, channels, scans
):
    number = len(channels)
    for index in range(scans):
        path = tmp_path / "scans" / f"scan_{index:04d}.nii.gz"
        write_volume(path, images[1]["a"][..., 0], oblique(SPACING))
    plan = make_plan(SPACING, (8, 8, 8))
    plan = replace(plan, channels=channels, normalisation=plan.normalisation[:number])
    member = Member(lambda patches: patches, plan)
    with pytest.raises(InputError) as caught:
        predict_files([member], find_images(tmp_path / "scans", number), tmp_path / "out")
    text = str(caught.value)
    told = f"scan_0000.nii.gz: has {scans} channels, but the model was trained with {number}."
    assert told in text
    own = "scan_0000_0000.nii.gz" if number == 1 else "otherwise"
    assert f"count as channels of one case; name a scan of its own {own}" in text
    assert ("_0000 T1, _0001 T2." in text) == ("Files of one channel" in text) == (number == 2)


@pytest.mark.parametrize(
    ("known", "told"), [(("RAS",), 1), (("LPS", "RAS"), 0), ((), 0)], ids=["one", "both", "none"]
)
def test_a_scan_that_is_stored_otherwise_than_the_trainings_is_told(
    images, tmp_path, make_plan, capsys, known, told
):
    """It would be segmented with left and right confused, without a word."""
    folder, arrays = images
    for case, sign in (("a", 1.0), ("b", -1.0)):
        affine = np.diag([sign, sign, 1.0, 1.0])
        write_volume(folder / f"{case}.nii.gz", arrays[case], affine)
    plan = replace(make_plan(SPACING, (8, 8, 8)), orientations=known)
    cases = [case for case in find_images(folder, 3) if case.identifier in "ab"]
    predict_files([Member(lambda patches: patches, plan, tmp_path)], cases, tmp_path / "out")
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert said.count("Mind: in another orientation") == told
    assert ("b.nii.gz (LPS, trained on RAS)" in said) == bool(told)


def test_an_orientation_that_one_of_several_networks_has_not_met_is_told(
    images, tmp_path, make_plan, capsys
):
    folder, arrays = images
    for case, sign in (("a", 1.0), ("b", -1.0)):
        write_volume(folder / f"{case}.nii.gz", arrays[case], np.diag([sign, sign, 1.0, 1.0]))
    plan = make_plan(SPACING, (8, 8, 8))
    cases = [case for case in find_images(folder, 3) if case.identifier in "ab"]
    members = [
        Member(lambda patches: patches, replace(plan, orientations=known))
        for known in (("RAS",), ("LPS",), ())
    ]
    predict_files(members, cases, tmp_path / "out")
    said = capsys.readouterr().out
    assert said.count("Mind: ") == 1
    assert "are stored a.nii.gz (RAS, trained on LPS), b.nii.gz (LPS, trained on RAS). " in said


def test_of_many_turned_scans_three_are_named_and_the_others_counted(
    images, tmp_path, make_plan, capsys
):
    _, arrays = images
    for number in range(5):
        path = tmp_path / "turned" / f"scan{number}.nii.gz"
        write_volume(path, arrays["a"], np.diag([-1.0, -1.0, 1.0, 1.0]))
    plan = replace(make_plan(SPACING, (8, 8, 8)), orientations=("RAS",))
    cases = find_images(tmp_path / "turned", 3)
    predict_files([Member(lambda patches: patches, plan)], cases, tmp_path / "out")
    assert (
        "scan1.nii.gz (LPS, trained on RAS), scan2.nii.gz (LPS, trained on RAS) and 2 more. The"
        in capsys.readouterr().out
    )


def test_a_label_map_without_any_structure_is_told(images, model, tmp_path, oblique, capsys):
    folder, arrays = images
    background = -np.sort(-arrays["b"], axis=-1)  # channel 0 is the largest everywhere
    write_volume(folder / "b.nii.gz", background, oblique(SPACING))
    assert len(predict(model.run, folder, tmp_path / "out")) == 3
    assert not read_label(tmp_path / "out" / "b.nii.gz").array.any()
    assert "nothing but background was found in b.nii.gz." in capsys.readouterr().out
    predict(model.run, folder / "a.nii.gz", tmp_path / "a.nii.gz")
    assert "background" not in capsys.readouterr().out


def test_paths_may_be_words(images, model, tmp_path):
    folder, _ = images
    written = predict(str(model.run), str(folder), str(tmp_path / "out"))
    assert len(written) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_case_with_unusable_voxels_does_not_stop_the_others(
    images, model, tmp_path, oblique, value
):
    folder, arrays = images
    arrays["a"][3, 2, 1, 0] = value
    write_volume(folder / "a.nii.gz", arrays["a"], oblique(SPACING))
    fault = r"a\.nii\.gz: the image has voxels that are NaN[^\n]*\n"
    with pytest.raises(InputError, match=f"{fault}The other images were segmented"):
        predict(model.run, folder, tmp_path / "out")
    assert names(tmp_path / "out") == ["b.nii.gz", "c.nii.gz"]
    with pytest.raises(InputError, match=f"{fault}No image was segmented"):
        predict(model.run, folder / "a.nii.gz", tmp_path / "alone")


def test_no_earlier_prediction_stands_for_a_case_that_fails(images, model, tmp_path, oblique):
    folder, arrays = images
    predict(model.run, folder, tmp_path / "out", InferenceSettings(save_probabilities=True))
    arrays["a"][3, 2, 1, 0] = np.nan
    write_volume(folder / "a.nii.gz", arrays["a"], oblique(SPACING))
    with pytest.raises(InputError, match=r"a\.nii\.gz: the image has voxels that are NaN"):
        predict(model.run, folder, tmp_path / "out")
    assert names(tmp_path / "out") == ["b.nii.gz", "c.nii.gz"]


def test_an_interrupted_prediction_leaves_earlier_maps_of_cases_not_yet_begun(
    images, tmp_path, make_plan
):
    plan, cases = make_plan(SPACING, (16, 16, 16)), find_images(images[0], 3)
    predict_files([Member(lambda patches: patches, plan)], cases, tmp_path / "out")
    begun = iter("abc")  # in one window each

    def interrupted(patches):
        if next(begun) == "b":
            raise KeyboardInterrupt
        return patches

    with pytest.raises(KeyboardInterrupt):
        predict_files([Member(interrupted, plan)], cases, tmp_path / "out")
    assert names(tmp_path / "out") == ["a.nii.gz", "c.nii.gz"]


@pytest.mark.parametrize(
    ("mirrored", "tta", "told"),
    [
        ((True, False), True, "Test-time augmentation for 1 of 2 networks"),
        ((False, False), True, "No test-time augmentation"),
        ((True, True), True, None),
        ((False, False), False, None),
    ],
    ids=["some", "none", "all", "not asked for"],
)
def test_how_many_networks_have_flips_to_average_over_is_told(
    images, tmp_path, make_plan, capsys, mirrored, tta, told
):
    plan = make_plan(SPACING, (8, 8, 8))
    members = [Member(lambda patches: patches, replace(plan, mirrored=one)) for one in mirrored]
    cases = find_images(images[0] / "b.nii.gz", 3)
    predict_files(members, cases, tmp_path / "out", InferenceSettings(tta=tta))
    said = capsys.readouterr().out
    assert told in said if told else "augmentation" not in said


@pytest.mark.parametrize(
    "place", ["labelsTr", "labelsTs", "labelsTr/b.nii.gz", "imagesTr", "imagesTs", "imagesTs/b.nii"]
)
def test_nothing_is_written_among_a_datasets_own_files(images, model, tmp_path, place):
    write_json(tmp_path / "dataset.json", {})
    with pytest.raises(InputError, match="dataset's own images or labels"):
        predict(model.run, images[0] / "b.nii.gz", tmp_path / place)
    assert not (tmp_path / place).exists()


def test_a_folder_that_is_no_datasets_may_be_named_as_its_labels_are(images, model, tmp_path):
    predict(model.run, images[0] / "b.nii.gz", tmp_path / "labelsTr")
    assert names(tmp_path / "labelsTr") == ["b.nii.gz"]


def test_images_are_never_overwritten(images, model):
    folder, _ = images
    before = (folder / "a.nii.gz").read_bytes()
    for source, output in ((folder, folder), (folder / "a.nii.gz", folder / "a.nii.gz")):
        with pytest.raises(InputError, match="would be lost"):
            predict(model.run, source, output)
    assert (folder / "a.nii.gz").read_bytes() == before


@pytest.mark.parametrize("source", [".", "c_0000.nii.gz"])
def test_label_maps_do_not_lie_among_the_images(images, model, source):
    """`c.nii.gz` would be there beside `c_0000.nii.gz`, and be taken for a scan."""
    folder, _ = images
    for case in "ab":
        (folder / f"{case}.nii.gz").unlink()
    before = names(folder)
    with pytest.raises(InputError, match="would be taken for some"):
        predict(model.run, folder / source, folder)
    assert names(folder) == before


@pytest.mark.parametrize("asked", [True, False])
def test_one_output_is_never_anothers_probabilities(images, model, tmp_path, asked):
    """Probabilities of an earlier run are removed even where none are asked for."""
    folder, _ = images
    (folder / "b.nii.gz").rename(folder / "a_probabilities.nii.gz")
    settings = InferenceSettings(save_probabilities=asked)
    with pytest.raises(
        InputError, match=r"a_probabilities\.nii\.gz: would be the label map of one"
    ):
        predict(model.run, folder, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_file_beside_its_image_may_be_named(images, model):
    output = images[0] / "answer.nii.gz"
    assert predict(model.run, images[0] / "b.nii.gz", output) == [output]


def test_an_output_that_does_not_fit_the_input_is_refused(images, model, tmp_path):
    folder, _ = images
    with pytest.raises(InputError, match="the input is a folder"):
        predict(model.run, folder, tmp_path / "out.nii.gz")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        predict(model.run, folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["out", "new/out", "a.nii.gz"])
def test_an_output_that_cannot_be_written_is_told_before_any_image_is_read(
    images, model, read_only, name
):
    (images[0] / "a.nii.gz").write_bytes(b"no image")
    source = images[0] / "a.nii.gz" if name == "a.nii.gz" else images[0]
    with pytest.raises(InputError, match=f"{name}: cannot be written, because .* is read-only"):
        predict(model.run, source, read_only / name)


def test_nothing_half_written_is_left_behind(images, model, tmp_path, make_plan):
    folder, _ = images

    def network(patches):
        raise RuntimeError("out of memory")

    member = Member(network, make_plan(SPACING, (8, 8, 8)))
    with pytest.raises(RuntimeError):
        predict_files([member], find_images(folder, 3), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_image_is_segmented_by_exactly_one_rank_into_a_folder_of_all(
    images, model, tmp_path, monkeypatch, size
):
    written = []

    def spy(path, *arguments, **options):
        written.append(path.name)
        write_label(path, *arguments, **options)

    monkeypatch.setattr("nnunet_lib.inference.folder.write_label", spy)
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [value])
    for rank in range(size):
        monkeypatch.setattr(distributed, "join", lambda rank=rank: Ranks(rank, size))
        predict(model.run, images[0], tmp_path / "out")
    assert sorted(written) == names(tmp_path / "out") == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]


def test_a_fault_that_another_rank_met_is_raised_here_too(images, model, tmp_path, monkeypatch):
    monkeypatch.setattr(Ranks, "gather", lambda self, own: [own, ["z.nii.gz: is damaged."]])
    with pytest.raises(InputError, match=r"z\.nii\.gz: is damaged"):
        predict(model.run, images[0], tmp_path / "out")


def test_images_named_from_the_current_folder_are_not_written_over(images, monkeypatch):
    folder, _ = images
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.chdir(folder.parent)
    relative = find_images(Path(folder.name), 3)
    for output in (Path(folder.name), folder):
        with pytest.raises(InputError, match="holds the images"):
            _tasks(relative, output, False)
        with pytest.raises(InputError, match="would be lost"):
            _tasks(relative[:1], output / "a.nii.gz", True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

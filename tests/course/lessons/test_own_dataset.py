"""Lesson 11's claims hold on the library, and fail when it is broken as they speak of."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from nnunet_lib.course.lessons import own_dataset as lesson
from nnunet_lib.course.lessons import own_dataset_figures as figures
from nnunet_lib.datasets import conversion, make_phantom, read_volume, validation
from nnunet_lib.deployment import export
from nnunet_lib.errors import InputError
from nnunet_lib.inference import (
    InferenceSettings,
    Member,
    Postprocessing,
    components,
    predict,
    predict_files,
    prediction,
    restoration,
)
from nnunet_lib.loading import split_folds
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="test",
    dimensions=3,
    channels=("T1w",),
    labels=("background", "anterior", "posterior"),
    axis_order=(0, 1, 2),
    target_spacing=(3.0, 3.0, 3.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8, 8),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    filters=(2, 4),
    mirrored=False,
)
FLAT = replace(
    PLAN,
    dimensions=2,
    target_spacing=(2.5, 2.5),
    patch_size=(8, 8),
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
)
SAVE = InferenceSettings(overlap=0.0, save_probabilities=True)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "msd", cases=4, seed=0)


@pytest.fixture
def loose(phantom, tmp_path):
    return lesson.hand_over(phantom, tmp_path / "loose")


# 11.1 conversion


def test_a_hospital_s_names_say_patient_and_kind(loose):
    assert loose.patients() == [f"patient_0{number}" for number in (1, 2, 3, 4)]
    assert [path.name for path in loose.files("patient_03")] == [
        "patient_03_t1w.nii.gz",
        "patient_03_mask.nii.gz",
    ]


@pytest.mark.parametrize("channels", [1, 2])
def test_conversion_changes_nothing(tmp_path, channels):
    phantom = make_phantom(tmp_path / "phantom", cases=2, channels=channels, seed=1)
    loose = lesson.hand_over(phantom, tmp_path / "loose")
    converted = loose.convert(tmp_path / "msd")
    assert lesson.changed_by_conversion(loose, converted) == 0
    for before, after in zip(phantom.training, converted.training, strict=True):
        one, two = read_volume(before.images), read_volume(after.images)
        np.testing.assert_array_equal(one.array, two.array)


@pytest.mark.parametrize("channels", [("T1", "T1+"), ("МРТ", "КТ")])
def test_channels_whose_names_look_alike_keep_files_of_their_own(tmp_path, channels):
    phantom = make_phantom(tmp_path / "phantom", cases=2, channels=2, seed=1)
    named = replace(phantom, channels=channels)
    loose = lesson.hand_over(named, tmp_path / "loose")
    assert list(loose.channels) == list(channels)
    assert lesson.changed_by_conversion(loose, loose.convert(tmp_path / "msd")) == 0


def test_a_single_patient_is_too_few_to_plant_faults(tmp_path):
    phantom = make_phantom(tmp_path / "phantom", cases=1, seed=1)
    loose = lesson.hand_over(phantom, tmp_path / "loose")
    with pytest.raises(InputError, match="two patients"):
        lesson.complaints(loose, tmp_path / "faults")


def test_a_conversion_that_rounds_voxels_is_noticed(loose, tmp_path, monkeypatch):
    def rounded(path, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.rint(image.get_fdata()), image.affine), target)

    monkeypatch.setattr(conversion, "_copy", rounded)
    converted = loose.convert(tmp_path / "msd")
    assert lesson.changed_by_conversion(loose, converted) == 4  # the images; masks are whole


def test_patients_that_are_mixed_up_or_lost_are_noticed(loose, tmp_path):
    converted = loose.convert(tmp_path / "msd")
    one, two, *others = converted.training
    mixed = (replace(one, label=two.label), replace(two, label=one.label), *others)
    assert lesson.changed_by_conversion(loose, replace(converted, training=mixed)) == 2
    assert lesson.changed_by_conversion(loose, replace(converted, training=(two, *others))) == 1


def test_each_fault_is_named(loose, tmp_path):
    said = lesson.complaints(loose, tmp_path / "faults")
    assert said.keys() == lesson.FAULTS.keys()
    assert lesson.unnamed_faults(said, loose.patients()) == 0


def test_faults_that_the_library_overlooks_are_counted(loose, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "grid_difference", lambda one, other: "")
    said = lesson.complaints(loose, tmp_path / "grids")
    assert lesson.unnamed_faults(said, loose.patients()) == 2  # moved, and of another shape
    monkeypatch.setattr(conversion, "validate", lambda dataset, progress: [])
    said = lesson.complaints(loose, tmp_path / "voxels")
    assert lesson.unnamed_faults(said, loose.patients()) == 5


def test_the_wrong_patient_may_not_be_blamed():
    patients = ["patient_01", "patient_02"]
    assert lesson.unnamed_faults({"a fault": "patient_01_mask: is bad"}, patients) == 0
    assert lesson.unnamed_faults({"a fault": "patient_02_mask: is bad"}, patients) == 1
    assert lesson.unnamed_faults({"a fault": "something is bad"}, patients) == 1


# 11.2 cases set aside


def write_folds(folder, identifiers):
    for number, fold in enumerate(split_folds(identifiers, 2, seed=0)):
        path = folder / f"fold_{number}" / "fold.json"
        path.parent.mkdir(parents=True)
        cases = {"training": fold.training, "validation": fold.validation}
        path.write_text(json.dumps(cases))
    return folder


def test_cases_set_aside_are_seen_by_no_run(phantom, tmp_path):
    left, unseen = lesson.set_aside(phantom, 2, seed=0)
    assert {*left.training, *unseen} == {*phantom.training}
    good = write_folds(tmp_path / "good", [case.identifier for case in left.training])
    bad = write_folds(tmp_path / "bad", [case.identifier for case in phantom.training])
    assert lesson.seen_by_a_run(unseen, [good]) == 0
    assert lesson.seen_by_a_run(unseen, [good, bad]) == 2
    with pytest.raises(InputError, match="no cross-validations"):
        lesson.seen_by_a_run(unseen, [tmp_path / "nowhere"])


def test_scans_come_without_labels(phantom, tmp_path):
    folder = lesson.scans_of(phantom.training[:2], tmp_path / "scans")
    names = [f"{case.identifier}.nii.gz" for case in phantom.training[:2]]
    assert sorted(path.name for path in folder.iterdir()) == names


# 11.3 ensembles


def member(plan, seed):
    """A network of one layer: each class is a random straight line in the intensity."""
    slope, offset = np.random.default_rng(seed).normal(0, 1.5, (2, 3)).astype(np.float32)
    return Member(lambda patches: patches * slope + offset, plan)


GROUPS = {"3D": [member(PLAN, 1), member(PLAN, 2)], "2D": [member(FLAT, 3), member(FLAT, 4)]}


@pytest.fixture
def ensemble(phantom, tmp_path):
    """Predicts one case in all ways, and gives what the notebook claims of them."""
    cases = phantom.training[:1]

    def claims():
        folders = {}
        for name, members in GROUPS.items():
            for number, one in enumerate(members):
                folders[f"{name} {number}"] = [one]
        folders["all"] = [one for members in GROUPS.values() for one in members]
        for name, members in folders.items():
            predict_files(members, cases, tmp_path / name, SAVE)
        alone = [[tmp_path / f"{name} {number}" for number in (0, 1)] for name in GROUPS]
        mean = lesson.average_probabilities(GROUPS["3D"], cases, tmp_path / "mean")
        return (
            lesson.excess(mean, alone[0], cases),
            lesson.excess(tmp_path / "all", alone[0] + alone[1], cases),
            lesson.distance_from_formula(tmp_path / "all", alone, cases),
        )

    return claims


def test_an_average_keeps_what_jensen_promises(ensemble):
    probabilities, everything, formula = ensemble()
    assert probabilities < -0.01  # these networks differ, so that the inequality is strict
    assert everything < -0.01
    assert formula < 1e-5


def test_averages_that_sum_are_noticed(ensemble, monkeypatch):
    monkeypatch.setattr(restoration, "mean_of", sum)
    probabilities, everything, formula = ensemble()
    assert probabilities == np.inf  # sums of probabilities are none
    assert everything == np.inf
    assert formula > 0.5


def test_logits_that_are_summed_are_noticed(ensemble, monkeypatch):
    monkeypatch.setattr(prediction, "mean_of", sum)
    assert ensemble()[2] > 0.05


def test_probabilities_that_are_not_normalised_are_noticed(ensemble, monkeypatch):
    monkeypatch.setattr(restoration, "_softmax", lambda logits: np.exp(logits))
    probabilities, everything, formula = ensemble()
    assert not probabilities <= 1e-6  # NaN: the folds' are infinite, too
    assert not everything <= 1e-6
    assert formula > 1e-2


def test_folds_that_count_as_configurations_are_noticed(ensemble, monkeypatch):
    monkeypatch.setattr(
        prediction, "by_preprocessing", lambda members: tuple((one,) for one in members)
    )
    assert ensemble()[2] > 1e-2


def test_an_average_that_is_not_over_all_members_is_noticed(ensemble, monkeypatch):
    """The last one alone: where it is the worst, it is worse than the mean."""

    def last(arrays):
        return list(arrays)[-1]

    monkeypatch.setattr(restoration, "mean_of", last)
    monkeypatch.setattr(prediction, "mean_of", last)
    one = ensemble()
    monkeypatch.setattr(restoration, "mean_of", next)
    monkeypatch.setattr(prediction, "mean_of", next)
    other = ensemble()
    assert max(one[0], other[0]) > 0.01
    assert min(one[2], other[2]) > 0.05


def test_cross_entropy_is_that_of_the_true_class():
    truth = np.array([0, 1, 1])
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0]])
    expected = (np.log(2) + np.log(4)) / 3
    assert lesson.cross_entropy(probabilities, truth) == pytest.approx(expected)
    assert lesson.cross_entropy(probabilities * 1.1, truth) == np.inf
    assert lesson.cross_entropy(np.full((3, 2), np.nan), truth) == np.inf


def test_the_picture_says_which_bars_are_ensembles():
    ways = [figures.Way("alone", 0.5, 0.6, False), figures.Way("all", 0.4, 0.7, True)]
    figure = figures.ways_figure(ways)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["one network", "an ensemble"]
    for bar, patch in zip(figure.axes[0].patches, legend.get_patches(), strict=True):
        assert (bar.get_facecolor(), bar.get_hatch()) == (patch.get_facecolor(), patch.get_hatch())


def test_the_picture_tells_a_dice_that_there_is_not_from_a_dice_of_nothing():
    ways = [figures.Way("never", 0.5, None, False), figures.Way("nothing", 0.4, 0.0, True)]
    texts = [text.get_text() for text in figures.ways_figure(ways).axes[1].texts]
    assert texts == ["none", "0.000"]


# 11.4 components


def wrong_decisions():
    situations = lesson.situations().values()
    return sum(lesson.decide(one) != one.decision for one in situations)


def test_the_library_decides_as_is_plain():
    assert wrong_decisions() == 0


@pytest.mark.parametrize("answer", [True, False])
def test_a_decision_that_does_not_look_at_the_scores_is_noticed(answer, monkeypatch):
    monkeypatch.setattr(components, "_helps", lambda before, after: answer)
    assert wrong_decisions() >= 2


def save_map(folder, case, labels):
    """A label map as the library writes it: (z, y, x) here, (i, j, k) in the file."""
    folder.mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(labels.T, np.eye(4))
    nibabel.save(image, folder / f"{case.identifier}.nii.gz")


@pytest.fixture
def disobedient(phantom, tmp_path):
    """Whether lesson 11 finds that a label map was not changed as decided: 1 or 0."""
    case = phantom.training[0]

    def count(decision, before, after):
        save_map(tmp_path / "before", case, before)
        save_map(tmp_path / "after", case, after)
        return lesson.disobedient_maps(tmp_path / "before", tmp_path / "after", decision, [case])

    return count


@pytest.fixture
def pieces():
    """Class 1 with a speck, and class 2 in two pieces."""
    return lesson.situations()["a speck of class 1, and class 2 in two pieces"].prediction


DECISIONS = [
    Postprocessing(foreground=True),
    Postprocessing(classes=(1,)),
    Postprocessing(True, (1, 2)),
    Postprocessing(),
]


@pytest.mark.parametrize("decision", DECISIONS)
def test_maps_are_changed_as_decided_and_in_nothing_else(disobedient, pieces, decision):
    assert disobedient(decision, pieces, decision.apply(pieces)) == 0
    assert disobedient(decision, pieces, np.zeros_like(pieces)) == 1
    assert disobedient(decision, pieces, 1 + pieces) == 1
    other = Postprocessing() if decision != Postprocessing() else Postprocessing(foreground=True)
    assert disobedient(decision, pieces, other.apply(pieces)) == 1


@pytest.mark.parametrize("decision", DECISIONS[:3])
def test_a_library_that_keeps_another_piece_than_the_largest_is_noticed(
    disobedient, pieces, decision, monkeypatch
):
    largest = components.largest_component
    monkeypatch.setattr(components, "largest_component", lambda mask: mask & ~largest(mask))
    after = decision.apply(pieces)
    assert after.any()
    assert disobedient(decision, pieces, after) == 1


def test_a_class_that_was_not_decided_on_may_not_go(disobedient, pieces):
    decision = Postprocessing(classes=(1,))
    after = decision.apply(pieces)
    after[after == 2] = 0
    assert disobedient(decision, pieces, after) == 1


def test_of_equal_pieces_the_library_s_first_stays(disobedient):
    """The one that comes first in the order (z, y, x), and last in the file's (i, j, k)."""
    decision = Postprocessing(foreground=True)
    before = np.zeros((5, 5, 5), np.uint8)
    before[0, 0, 4] = before[4, 4, 0] = 1
    assert decision.apply(before)[0, 0, 4] == 1
    assert disobedient(decision, before, decision.apply(before)) == 0


def test_a_map_without_the_class_stays_as_it_is(disobedient):
    before = np.zeros((5, 5, 5), np.uint8)
    before[1:3] = 2
    for decision in (Postprocessing(True, (1,)), Postprocessing(classes=(1, 2))):
        assert disobedient(decision, before, before) == 0
        assert disobedient(decision, 0 * before, 0 * before) == 0


def test_a_class_s_largest_piece_may_leave_the_foreground_in_two(disobedient):
    """Of class 1 a bridge inside class 2 falls, and class 2 is in two pieces then."""
    decision = Postprocessing(foreground=True, classes=(1,))
    before = np.zeros((3, 3, 12), np.uint8)
    before[1, 1] = [1, 1, 1, 2, 2, 2, 1, 2, 2, 0, 0, 0]
    assert disobedient(decision, before, decision.apply(before)) == 0


def test_runs_agree_on_what_all_of_them_say(tmp_path):
    for number, stored in enumerate([Postprocessing(True, (1, 2)), Postprocessing(True, (2,))]):
        stored.save(tmp_path / f"run_{number}" / "fold_0")
    assert lesson.agreed_by(sorted(tmp_path.iterdir())) == Postprocessing(True, (2,))


# 11.5 export


def write_run(run, plan=PLAN, seed=0):
    from nnunet_lib.model import LAST, Checkpoint, build_unet, save_checkpoint, variable_arrays

    generator = np.random.default_rng(seed)
    arrays = {
        name: generator.normal(0.2, 0.5, array.shape).astype(np.float32)
        for name, array in variable_arrays(build_unet(plan, False).variables).items()
    }
    save_checkpoint(run / LAST, Checkpoint(plan, False, arrays))
    return run


@pytest.mark.slow  # starts a process that imports TensorFlow
def test_an_export_answers_as_the_network_and_another_network_does_not(phantom, tmp_path):
    patches = lesson.patches_of(read_volume(phantom.training[0].images), PLAN)
    assert patches.shape == (4, *PLAN.patch_size, 1)
    exported = export(write_run(tmp_path / "run"), tmp_path / "exported")
    answers = lesson.answers_without_library(exported, patches)
    assert np.abs(answers - lesson.answers_of_run(tmp_path / "run", patches)).max() <= 1e-5
    other = write_run(tmp_path / "other", seed=1)
    assert np.abs(answers - lesson.answers_of_run(other, patches)).max() > 1e-2
    metadata = lesson.read_metadata(exported)
    assert Plan.from_json(metadata["plan"]) == PLAN


@pytest.mark.slow  # starts a process that imports TensorFlow
def test_an_export_that_cannot_be_loaded_says_why(tmp_path):
    with pytest.raises(InputError, match="SavedModel file does not exist"):
        lesson.answers_without_library(tmp_path / "nothing", np.zeros((1, 8, 8, 8, 1)))


def test_an_export_answers_on_the_processor(tmp_path, monkeypatch):
    """Whatever GPUs this process sees."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    look = "import os; raise SystemExit('sees ' + os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setattr(lesson, "_ELSEWHERE", look)
    with pytest.raises(InputError, match="sees -1"):
        lesson.answers_without_library(tmp_path, np.zeros((1, 8, 8, 8, 1)))


SCHEMES = {
    "z_score": Normalisation("z_score"),
    "inside": Normalisation("z_score", inside_mask=True),
    "ct": Normalisation("ct", lower=10, upper=2000, mean=300, standard_deviation=200),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_metadata_normalises_as_the_library_does(phantom, name):
    from nnunet_lib.deployment.export import describe

    plan = replace(PLAN, normalisation=(SCHEMES[name],), axis_order=(1, 0, 2))
    volume = read_volume(phantom.training[0].images)
    metadata = describe(plan)
    assert lesson.normalisation_error(volume, plan, metadata) < 1e-4
    left_out = {**metadata["plan"], "normalisation": []}
    assert lesson.normalisation_error(volume, plan, {"plan": left_out}) == np.inf
    for other in SCHEMES.keys() - {name}:
        wrong = describe(replace(plan, normalisation=(SCHEMES[other],)))
        assert lesson.normalisation_error(volume, plan, wrong) > 1e-2


# 11.6 the script

COPY = """
import shutil, sys
run, scans, output = sys.argv[1:]
shutil.copytree(scans, output)
"""


@pytest.fixture
def elsewhere(phantom, tmp_path):
    """Runs a script beside a hidden folder of training data, and says what it did."""
    training, scans = (
        tmp_path / "training",
        lesson.scans_of(phantom.training[:1], tmp_path / "scans"),
    )
    training.mkdir()
    (training / "dataset.json").write_text("{}")
    (tmp_path / "run").mkdir()

    def run(text, run=tmp_path / "run", hidden=()):
        script = tmp_path / "script.py"
        script.write_text(text)
        places = (scans, tmp_path / "output")
        return lesson.run_elsewhere(script, [run], *places, forbidden=[training], hidden=hidden)

    return run


def test_a_script_that_needs_only_the_run_is_let_through(elsewhere, tmp_path, phantom):
    done = elsewhere(COPY + "print('done')")
    assert (done.said, done.touched) == ("done\n", ())
    same = lesson.share_that_differs(tmp_path / "scans", tmp_path / "output", phantom.training[:1])
    assert same == 0


@pytest.mark.parametrize(
    "reading",
    ["open('{}/dataset.json')", "import os; os.listdir('{}')", "open('{}/../training/new', 'w')"],
)
def test_a_script_that_reads_the_training_data_is_noticed(elsewhere, tmp_path, phantom, reading):
    done = elsewhere(reading.format(tmp_path / "training") + COPY)
    assert len(done.touched) == 1
    different = lesson.share_that_differs(
        tmp_path / "scans", tmp_path / "output", phantom.training[:1]
    )
    assert different == np.inf


def test_a_script_that_hides_its_failure_is_noticed(elsewhere, tmp_path):
    quiet = f"try:\n    open('{tmp_path}/training/dataset.json')\nexcept OSError:\n    pass\n"
    assert len(elsewhere(quiet + COPY).touched) == 1


def test_hidden_folders_are_gone_for_the_time_and_then_back(elsewhere, tmp_path):
    look = f"import os; print(os.path.exists('{tmp_path}/training'))"
    assert elsewhere(look).said == "True\n"
    assert elsewhere(look, hidden=[tmp_path / "training"]).said == "False\n"
    assert (tmp_path / "training" / "dataset.json").is_file()


def test_a_script_finds_room_on_a_gpu_that_the_notebook_uses(elsewhere):
    """Neither process takes all of its memory: one has set this before TensorFlow, for both."""
    assert elsewhere("import os; print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])").said == "true\n"


def test_a_script_that_fails_says_why(elsewhere):
    with pytest.raises(InputError, match="no such luck"):
        elsewhere("raise SystemExit('no such luck')")


def test_different_label_maps_are_counted(tmp_path, phantom):
    case = phantom.training[0]
    for folder, value in (("one", 0), ("other", 1)):
        labels = np.zeros((4, 4, 4), np.uint8)
        labels[0] = value
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / f"{case.identifier}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
    assert lesson.share_that_differs(tmp_path / "one", tmp_path / "other", [case]) == 0.25


def test_the_script_has_ten_lines():
    assert len(lesson.SCRIPT.read_text().splitlines()) <= 10


@pytest.mark.slow  # starts a process that imports TensorFlow
def test_the_script_predicts_from_a_run_alone(elsewhere, tmp_path, phantom):
    run = write_run(tmp_path / "trained")
    predict(run, tmp_path / "scans", tmp_path / "expected")
    done = elsewhere(lesson.SCRIPT.read_text(), run=run)
    assert done.touched == ()
    assert "written: " in done.said
    same = lesson.share_that_differs(
        tmp_path / "expected", tmp_path / "output", phantom.training[:1]
    )
    assert same <= 1e-4

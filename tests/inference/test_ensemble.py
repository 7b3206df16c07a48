"""Several networks that answer together, with networks whose mean can be said in advance."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnunet_lib.datasets import Volume, read_label, read_volume, write_volume
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.inference import (
    InferenceSettings,
    Member,
    Postprocessing,
    load_members,
    predict,
    predict_ensemble,
    predict_files,
    predict_volume,
)
from nnunet_lib.inference.ensemble import common_postprocessing
from nnunet_lib.model.compute import ComputeSettings

SPACING = (2.0, 1.0, 1.5)
SHAPE = (10, 14, 9)
PROBABILITIES = InferenceSettings(save_probabilities=True)
MATRICES = np.random.default_rng(5).normal(size=(4, 3, 3)).astype(np.float32)


def linear(number):
    """Logits that are a linear function of each voxel's channels."""
    return lambda patches: patches @ MATRICES[number]


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.fixture
def volume(oblique):
    """Smooth noise, so that a class has a few components and not one that is everywhere."""
    noise = np.random.default_rng(0).normal(size=(*SHAPE, 3))
    array = gaussian_filter(noise, (1, 1, 1, 0)).astype(np.float32)
    return Volume(array / array.std(), oblique(SPACING), SPACING)


@pytest.fixture
def plans(make_plan):
    """A 3D plan and a 2D one, of other axis orders."""
    return make_plan(SPACING, (8, 8, 8), (1, 2, 0)), make_plan(SPACING, (8, 8), (0, 1, 2))


@pytest.mark.parametrize("count", [2, 3])
def test_runs_of_one_configuration_are_averaged_as_logits(volume, plans, count):
    members = [Member(linear(number), plans[0]) for number in range(count)]
    prediction = predict_ensemble(members, volume, PROBABILITIES)
    logits = volume.array @ MATRICES[:count].mean(axis=0)  # linear: the mean of the matrices
    np.testing.assert_allclose(prediction.probabilities, softmax(logits), atol=1e-5)
    np.testing.assert_array_equal(prediction.labels, logits.argmax(axis=-1))


def test_an_ensemble_of_nobody_is_refused(volume, tmp_path):
    for ask in (
        lambda: predict_ensemble([], volume),
        lambda: predict([], tmp_path, tmp_path / "out"),
        lambda: predict_files([], [], tmp_path / "out"),
    ):
        with pytest.raises(InputError, match="no model to predict with; give at least one"):
            ask()


def test_another_network_on_the_same_grid_is_the_same_configuration(volume, plans):
    """Patch, filters, batch and mirroring do not change what a case looks like."""
    other = replace(plans[0], patch_size=(4, 6, 8), filters=(4,), batch_size=1, mirrored=False)
    members = [Member(linear(0), plans[0]), Member(linear(1), other)]
    prediction = predict_ensemble(members, volume, PROBABILITIES)
    expected = softmax(volume.array @ MATRICES[:2].mean(axis=0))
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)


def test_configurations_are_averaged_as_probabilities_each_counting_once(volume, plans):
    members = [Member(linear(n), plans[0]) for n in (0, 1, 2)] + [Member(linear(3), plans[1])]
    prediction = predict_ensemble(members, volume, PROBABILITIES)
    in_3d = softmax(volume.array @ MATRICES[:3].mean(axis=0))
    in_2d = softmax(volume.array @ MATRICES[3])
    expected = (in_3d + in_2d) / 2
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    clear = np.ptp(np.sort(expected, axis=-1)[..., -2:], axis=-1) > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(prediction.labels[clear], expected.argmax(axis=-1)[clear])
    # Logits of both, averaged, would be another answer.
    wrong = softmax(volume.array @ (MATRICES[:3].mean(axis=0) + MATRICES[3]) / 2)
    assert np.abs(prediction.probabilities - wrong).max() > 0.05


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("target", [SPACING, (1.4, 1.3, 1.2)])
def test_equal_runs_give_exactly_what_one_gives(volume, make_plan, count, target):
    plan = make_plan(target, (8, 8, 8))
    alone = predict_volume(linear(0), volume, plan, PROBABILITIES)
    together = predict_ensemble([Member(linear(0), plan)] * count, volume, PROBABILITIES)
    np.testing.assert_array_equal(together.labels, alone.labels)
    np.testing.assert_array_equal(together.probabilities, alone.probabilities)


def test_the_mean_is_no_worse_than_its_members_are_on_average(volume, make_plan):
    """Jensen: -log is convex, so cross-entropy of a mean is at most the mean cross-entropy."""
    truth = np.random.default_rng(1).integers(0, 3, SHAPE)
    plans = [make_plan(target, (8, 8, 8)) for target in (SPACING, (1.4, 1.3, 1.2), (3, 2, 1))]

    def cross_entropy(members):
        probabilities = predict_ensemble(members, volume, PROBABILITIES).probabilities
        return -np.log(np.take_along_axis(probabilities, truth[..., None], axis=-1)).mean()

    members = [Member(linear(number), plan) for number, plan in enumerate(plans)]
    alone = [cross_entropy([member]) for member in members]
    assert cross_entropy(members) < np.mean(alone)


def test_probabilities_are_handed_out_only_if_asked_for(volume, plans):
    for used in (plans[:1], plans):
        members = [Member(linear(0), plan) for plan in used]
        assert predict_ensemble(members, volume).probabilities is None


def test_a_case_is_preprocessed_once_a_configuration_and_all_windows_are_counted(
    volume, plans, monkeypatch, capsys
):
    from nnunet_lib.inference import prediction

    monkeypatch.setattr(prediction, "BAR_AFTER_SECONDS", 0)
    seen, real = [], prediction.preprocess_case

    def spy(volume, plan):
        seen.append(plan)
        return real(volume, plan)

    monkeypatch.setattr(prediction, "preprocess_case", spy)
    windows = []

    def network(patches):
        windows.extend(patches)
        return patches

    members = [Member(network, plan) for plan in (plans[0], plans[1], plans[0])]
    predict_ensemble(members, volume, description="case_01")
    assert seen == list(plans)
    assert f"/{len(windows)} [" in capsys.readouterr().err


def test_windows_are_counted_by_the_patch_of_each_member(volume, plans, monkeypatch, capsys):
    monkeypatch.setattr("nnunet_lib.inference.prediction.BAR_AFTER_SECONDS", 0)
    windows = []

    def network(patches):
        windows.extend(patches)
        return patches

    other = replace(plans[0], patch_size=(4, 6, 8))  # on the same grid
    members = [Member(network, plan) for plan in (plans[0], other)]
    predict_ensemble(members, volume, description="case_01")
    assert f"/{len(windows)} [" in capsys.readouterr().err


@pytest.fixture
def runs(tmp_path, monkeypatch, plans, volume):
    """A cross-validation of two folds in 3D, and a run in 2D; each run's number is its network."""
    folder = tmp_path / "results"
    numbers = {folder / "fold_0": 0, folder / "fold_1": 1, tmp_path / "run_2d": 2}
    for case in "abc":
        write_volume(tmp_path / "images" / f"{case}.nii.gz", volume.array, volume.affine)
    write_json(folder / "fold_0/fold.json", {"training": ["b"], "validation": ["a"]})
    write_json(folder / "fold_1/fold.json", {"training": ["a"], "validation": ["b"]})
    write_json(tmp_path / "run_2d/fold.json", {"training": ["b"], "validation": ["a"]})
    write_json(folder / "cross_validation.json", {"folds": [{"run": "fold_0"}, {"run": "fold_1"}]})
    plan_of = {run: plans[number == 2] for run, number in numbers.items()}
    asked = []

    def load_network(run, *how):
        asked.append(how)
        return linear(numbers[run]), plan_of[run]

    monkeypatch.setitem(sys.modules, "nnunet_lib.model", SimpleNamespace(load_network=load_network))
    run_2d = tmp_path / "run_2d"
    return SimpleNamespace(folder=folder, run_2d=run_2d, plan_of=plan_of, asked=asked)


def predicted(model, tmp_path, **options):
    """Probabilities by case, through files."""
    output = tmp_path / "out"
    written = predict(model, tmp_path / "images", output, PROBABILITIES, **options)
    files = {path.name[0]: output / f"{path.name[0]}_probabilities.nii.gz" for path in written}
    return {case: read_volume([path]).array for case, path in files.items()}


def test_the_folder_of_a_cross_validation_is_all_its_folds(runs, tmp_path, volume):
    probabilities = predicted(runs.folder, tmp_path)
    assert probabilities.keys() == set("abc")
    expected = softmax(volume.array @ MATRICES[:2].mean(axis=0))
    np.testing.assert_allclose(probabilities["c"], expected, atol=1e-5)


def test_every_network_computes_as_was_asked_for(runs):
    load_members([runs.folder, runs.run_2d], "best", ComputeSettings("bfloat16"), 3)
    assert runs.asked == [("checkpoint_best.npz", ComputeSettings("bfloat16"), 3)] * 3


def test_2d_and_3d_together_through_files(runs, tmp_path, volume):
    probabilities = predicted([runs.folder, runs.run_2d], tmp_path)
    in_3d = softmax(volume.array @ MATRICES[:2].mean(axis=0))
    expected = (in_3d + softmax(volume.array @ MATRICES[2])) / 2
    np.testing.assert_allclose(probabilities["c"], expected, atol=1e-5)


def test_a_validation_case_is_predicted_only_by_runs_that_did_not_train_on_it(
    runs, tmp_path, volume
):
    probabilities = predicted([runs.folder, runs.run_2d], tmp_path, subset="validation")
    assert probabilities.keys() == set("ab")
    each = [softmax(volume.array @ matrix) for matrix in MATRICES]
    np.testing.assert_allclose(probabilities["a"], (each[0] + each[2]) / 2, atol=1e-5)
    np.testing.assert_allclose(probabilities["b"], each[1], atol=1e-5)


def test_an_unfinished_cross_validation_is_named(runs, tmp_path):
    (runs.folder / "cross_validation.json").unlink()
    with pytest.raises(InputError, match=r"fold_0, fold_1, but no finished cross-validation"):
        predict(runs.folder, tmp_path / "images", tmp_path / "out")


def test_a_run_with_another_run_in_its_folder_is_itself(runs):
    run = runs.folder / "fold_0"
    write_json(run / "later/fold.json", {"training": [], "validation": []})
    assert [member.source for member in load_members([run])] == [run]


@pytest.mark.parametrize("what", ["channels", "labels"])
def test_runs_that_mean_other_things_are_refused_and_named(runs, tmp_path, what):
    plan = runs.plan_of[runs.run_2d]
    runs.plan_of[runs.run_2d] = replace(plan, **{what: ("x", "y", "z")})
    with pytest.raises(InputError, match=f"differ in {what}") as caught:
        predict([runs.folder, runs.run_2d], tmp_path / "images", tmp_path / "out")
    assert str(runs.folder / "fold_0") in str(caught.value)
    assert str(runs.run_2d) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("results/cross_validation.json", {}),
        ("results/fold_1/fold.json", {"training": []}),
        ("results/fold_1/fold.json", []),
        ("results/fold_1/postprocessing.json", {"foreground": False, "classes": [3]}),
        ("results/fold_1/postprocessing.json", {"foreground": False, "classes": [0]}),
    ],
)
def test_a_damaged_file_of_a_run_is_named(runs, tmp_path, file, value):
    write_json(tmp_path / file, value)
    with pytest.raises(InputError, match=file):
        predict(runs.folder, tmp_path / "images", tmp_path / "out", subset="validation")
    assert not (tmp_path / "out").exists()


def test_of_several_runs_only_the_postprocessing_that_all_agree_upon_is_done(
    runs, tmp_path, volume
):
    for run, chosen in zip(
        runs.plan_of,
        [Postprocessing(True, (1,)), Postprocessing(True, (1, 2)), Postprocessing(False, (1, 2))],
        strict=True,
    ):
        chosen.save(run)
    plain = predict_ensemble(
        [Member(linear(n), plan) for n, plan in enumerate(runs.plan_of.values())], volume
    ).labels
    output, together = tmp_path / "out", [runs.folder, runs.run_2d]
    members = load_members(together)
    assert common_postprocessing(members) == Postprocessing(False, (1,))
    predict(together, tmp_path / "images", output)
    expected = Postprocessing(classes=(1,)).apply(plain)
    assert (expected != plain).any()
    np.testing.assert_array_equal(read_label(output / "a.nii.gz").array, expected)
    predict(together, tmp_path / "images", output, postprocess=False)
    np.testing.assert_array_equal(read_label(output / "a.nii.gz").array, plain)


def test_a_state_that_no_run_has_is_refused(tmp_path):
    with pytest.raises(InputError, match="checkpoint newest: must be one of last, best"):
        load_members([tmp_path], "newest")

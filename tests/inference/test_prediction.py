"""Whole cases, end to end, with networks that cost nothing."""

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from nnunet_lib.datasets import Volume
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import dice
from nnunet_lib.inference import (
    InferenceSettings,
    Member,
    number_of_windows,
    predict_ensemble,
    predict_logits,
    predict_volume,
)
from nnunet_lib.inference.restoration import restore
from nnunet_lib.planning import Normalisation
from nnunet_lib.preprocessing import preprocess_case

SHAPES = [(20, 31, 26), (8, 12, 10), (5, 7, 4), (30, 5, 10)]


def identity(patches):
    return patches


def recording(seen):
    """The identity, which adds each batch of patches to a list."""

    def network(patches):
        seen.append(patches)
        return patches

    return network


def a_volume(shape, affine, spacing, classes=3, seed=0):
    array = np.random.default_rng(seed).normal(size=(*shape, classes)).astype(np.float32)
    return Volume(array, affine, spacing)


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize(
    ("patch_size", "order"),
    [
        ((8, 12, 10), (0, 1, 2)),
        ((10, 8, 12), (2, 0, 1)),
        ((12, 10), (0, 1, 2)),
        ((8, 6), (1, 2, 0)),
    ],
)
def test_an_identity_network_gives_back_the_image(
    make_plan, oblique, shape, tta, patch_size, order
):
    spacing = (2.0, 1.0, 1.5)
    volume = a_volume(shape, oblique(spacing), spacing)
    plan = make_plan(spacing, patch_size, order)
    settings = InferenceSettings(tta=tta, save_probabilities=True)
    prediction = predict_volume(identity, volume, plan, settings)
    assert prediction.labels.dtype == np.uint8
    np.testing.assert_array_equal(prediction.labels, volume.array.argmax(axis=-1))
    np.testing.assert_allclose(prediction.probabilities, softmax(volume.array), atol=1e-5)


def test_a_preprocessed_image_goes_when_its_logits_are_there(monkeypatch, make_plan):
    """Beside the logits of a large scan there is no room for it."""
    kept, left = [], []

    def preprocessed(*arguments):
        case = preprocess_case(*arguments)
        kept.append(weakref.ref(case.image))
        return case

    def restored(*arguments):
        left.append(kept[0]())
        return restore(*arguments)

    monkeypatch.setattr("nnunet_lib.inference.prediction.preprocess_case", preprocessed)
    monkeypatch.setattr("nnunet_lib.inference.prediction.restore", restored)
    volume = a_volume((8, 8, 8), np.eye(4), (1.0, 1.0, 1.0))
    predict_volume(identity, volume, make_plan((1.0, 1.0, 1.0), (4, 4, 4)))
    assert left == [None]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("configurations", [1, 2])
def test_logits_that_are_no_numbers_are_refused(make_plan, value, probabilities, configurations):
    """One such window is enough: argmax would make background of it, or a class at random."""

    def diverged(patches):
        logits = patches.copy()
        logits[-1, 2, 2, 2, 1] = value
        return logits

    volume = a_volume((8, 8, 8), np.eye(4), (1.0, 1.0, 1.0))
    members = [
        Member(network, make_plan((spacing,) * 3, (4, 4, 4)), Path(f"run_{spacing}"))
        for network, spacing in [(diverged, 1.0), (identity, 2.0)][:configurations]
    ]
    settings = InferenceSettings(save_probabilities=probabilities)
    with pytest.raises(InputError, match=r"^the network of run_1\.0 gives .* NaN"):
        predict_ensemble(members, volume, settings, "case_01")


def test_probabilities_are_made_only_if_asked_for(make_plan):
    volume = a_volume((8, 8, 8), np.eye(4), (1.0, 1.0, 1.0))
    plan = make_plan((1.0, 1.0, 1.0), (8, 8, 8))
    assert predict_volume(identity, volume, plan).probabilities is None


@pytest.mark.parametrize("ratio", [0.75, 1.25, 1.5])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_a_network_that_sees_the_truth_gives_it_back(make_plan, oblique, ratio, order):
    """The image's channels are the classes; they are resampled there and back."""
    spacing = (1.2, 1.0, 0.9)
    labels = np.zeros((36, 40, 44), np.uint8)
    labels[4:20, 5:25, 6:40] = 1
    labels[20:36, 12:30, 10:30] = 2
    one_hot = np.eye(3, dtype=np.float32)[labels]
    target = tuple(size * ratio for size in spacing)
    volume = Volume(one_hot, oblique(spacing), spacing)
    prediction = predict_volume(identity, volume, make_plan(target, (16, 16, 16), order))
    diagonal = np.linalg.norm(target)
    for label in range(3):
        safe = distance_transform_edt(labels == label, sampling=spacing) > diagonal
        assert safe.any()
        assert (prediction.labels[safe] == label).all()
    assert min(dice(prediction.labels, labels, label) for label in (1, 2)) > 0.9


@pytest.mark.parametrize(
    ("patch_size", "flips", "windows"), [((8, 8, 8), 8, 27), ((8, 8), 4, 16 * 9)]
)
def test_flips_send_every_window_once_more_for_each(make_plan, patch_size, flips, windows):
    plan = make_plan((1.0, 1.0, 1.0), patch_size)
    image = np.zeros((16, 16, 16, 3), np.float32)
    seen, done = [], []
    for tta in (False, True):
        settings = InferenceSettings(tta=tta, window_batch_size=5)
        seen.clear()
        done.clear()
        predict_logits(recording(seen), image, plan, settings, progress=done.append)
        expected = windows * (flips if tta else 1)
        assert sum(map(len, seen)) == sum(done) == expected
        assert number_of_windows(image.shape[:-1], plan, settings) == expected


def test_the_network_gets_as_many_windows_at_once_as_was_asked_for(make_plan):
    plan, seen = make_plan((1.0, 1.0, 1.0), (8, 8, 8)), []
    image = np.zeros((16, 16, 16, 3), np.float32)
    predict_logits(recording(seen), image, plan, InferenceSettings(window_batch_size=10))
    assert [len(patches) for patches in seen] == [10, 10, 7]


def test_a_2d_network_is_not_flipped_along_the_slices(make_plan):
    """Flipping whole slices would change nothing but the time."""
    plan = make_plan((1.0, 1.0, 1.0), (8, 8))
    image = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    first_voxels = []

    def network(patches):
        first_voxels.extend(patches[:, 0, 0, 0])
        return patches

    predict_logits(network, image, plan, InferenceSettings(tta=True))
    corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]  # (slice, corner)
    assert sorted(first_voxels) == sorted(corners.ravel())


def test_a_small_ct_case_is_padded_with_air_in_each_channel(make_plan):
    scheme = Normalisation("ct", upper=1000.0, mean=100.0, standard_deviation=100.0)
    schemes = tuple(replace(scheme, lower=lower) for lower in (-1000.0, -500.0, 0.0))
    plan = replace(make_plan((1.0, 1.0, 1.0), (8, 8, 8)), normalisation=schemes)
    volume = Volume(np.full((8, 4, 8, 3), 100, np.float32), np.eye(4), (1.0, 1.0, 1.0))
    seen = []
    predict_volume(recording(seen), volume, plan)
    np.testing.assert_allclose(seen[0][0, 0, 0, 0], [-11, -6, -1])
    np.testing.assert_array_equal(seen[0][0, 0, 2, 0], [0, 0, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": np.full((8, 8, 8, 3), np.nan, np.float32)}, "voxels that are NaN"),
        ({"array": np.zeros((0, 8, 8, 3), np.float32)}, r"has shape \(0, 8, 8, 3\)"),
        ({"spacing": (0.0, 1.0, 1.0)}, "spacing"),
    ],
)
def test_what_is_no_scan_is_refused(make_plan, change, message):
    volume = a_volume((8, 8, 8), np.eye(4), (1.0, 1.0, 1.0))
    plan = make_plan((1.0, 1.0, 1.0), (8, 8, 8))
    with pytest.raises(InputError, match=message):
        predict_volume(identity, replace(volume, **change), plan)


@pytest.mark.parametrize(
    "wrong", [{"overlap": 1.0}, {"overlap": -0.1}, {"blend_mode": "x"}, {"window_batch_size": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        InferenceSettings(**wrong)


def test_a_long_case_shows_how_many_windows_are_done(make_plan, monkeypatch, capsys):
    monkeypatch.setattr("nnunet_lib.inference.prediction.BAR_AFTER_SECONDS", 0)
    volume = a_volume((16, 16, 16), np.eye(4), (1.0, 1.0, 1.0))
    plan = make_plan((1.0, 1.0, 1.0), (8, 8, 8))
    settings = InferenceSettings(window_batch_size=27)
    predict_volume(identity, volume, plan, settings)
    assert capsys.readouterr().err == ""
    predict_volume(identity, volume, plan, settings, description="case_01")
    shown = capsys.readouterr().err
    assert "case_01" in shown
    assert "/27" in shown
    monkeypatch.setattr("nnunet_lib.inference.prediction.BAR_AFTER_SECONDS", 600)
    predict_volume(identity, volume, plan, settings, description="a short case")
    assert capsys.readouterr().err == ""


def test_a_network_that_never_met_a_mirrored_case_is_not_asked_about_one(make_plan):
    plan = replace(make_plan((1.0, 1.0, 1.0), (8, 8, 8)), mirrored=False)
    image = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
    seen = []
    predict_logits(recording(seen), image, plan, InferenceSettings(tta=True))
    np.testing.assert_array_equal(seen, [[image]])


@pytest.mark.parametrize(
    ("blend_mode", "share"), [("constant", 0.5), ("gaussian", 1 / (1 + np.exp(4)))]
)
def test_the_blend_mode_decides_how_windows_are_averaged(make_plan, blend_mode, share):
    """Two windows of 4 slices that overlap in 2; the first one answers 0, the second one 1.

    Where they overlap, half a voxel from one centre is 1 standard deviation, and one and a half
    from the other are 3.
    """
    plan, answers = make_plan((1.0, 1.0, 1.0), (4, 4, 4)), iter([0, 1])
    image = np.zeros((6, 4, 4, 1), np.float32)
    settings = InferenceSettings(blend_mode=blend_mode, window_batch_size=1)
    logits = predict_logits(
        lambda patches: np.full_like(patches, next(answers)), image, plan, settings
    )
    expected = (0, 0, share, 1 - share, 1, 1)
    np.testing.assert_allclose(logits[:, 0, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_the_overlap_decides_how_many_windows_there_are(make_plan, overlap):
    plan, seen = make_plan((1.0, 1.0, 1.0), patch_size=(4, 4, 4)), []
    image, settings = np.zeros((16, 4, 4, 1), np.float32), InferenceSettings(overlap=overlap)
    predict_logits(recording(seen), image, plan, settings)
    windows = sum(len(batch) for batch in seen)
    assert windows == number_of_windows(image.shape[:3], plan, settings)
    assert windows == {0.0: 4, 0.5: 7, 0.75: 13}[overlap]

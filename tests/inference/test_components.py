"""The largest component: what it is, and when cross-validation keeps it."""

import json

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import class_means, dice
from nnunet_lib.inference import (
    Postprocessing,
    decide_postprocessing,
    largest_component,
    try_postprocessing,
)

SHAPE = (8, 8, 24)


def blocks(*parts):
    """A label map with boxes (label, x from, x to), all of y and z 1 to 7."""
    labels = np.zeros(SHAPE, np.uint8)
    for label, start, stop in parts:
        labels[1:7, 1:7, start:stop] = label
    return labels


def decision(*pairs):
    return decide_postprocessing(try_postprocessing(*pair, classes=(1, 2)) for pair in pairs)


def test_voxels_that_share_a_corner_belong_together():
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    kept = largest_component(mask)
    assert kept[0, 0, 0]
    assert kept[1, 1, 1]
    assert kept.sum() == 2


def test_the_largest_component_is_found_by_flooding_too():
    """An independent way: flood from each voxel through its 26 neighbours."""
    mask = np.random.default_rng(1).random((9, 10, 11)) < 0.08
    left, components = set(map(tuple, np.argwhere(mask))), []
    steps = [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    while left:
        front, component = [left.pop()], set()
        while front:
            voxel = front.pop()
            component.add(voxel)
            near = {tuple(a + b for a, b in zip(voxel, step, strict=True)) for step in steps} & left
            left -= near
            front += near
        components.append(component)
    sizes = sorted(map(len, components))
    assert sizes[-1] > sizes[-2]  # else the test says nothing of which is kept
    expected = max(components, key=len)
    assert set(map(tuple, np.argwhere(largest_component(mask)))) == expected


@pytest.mark.parametrize("mask", [np.zeros(SHAPE, bool), np.ones(SHAPE, bool)])
def test_nothing_and_one_piece_stay_as_they_are(mask):
    np.testing.assert_array_equal(largest_component(mask), mask)


def test_foreground_first_and_then_each_class():
    # Touching 1 and 2 in a large piece; a smaller piece of both; a crumb of 1 within the large.
    labels = blocks((1, 0, 5), (2, 5, 8), (1, 8, 9), (1, 12, 14), (2, 14, 15))
    np.testing.assert_array_equal(Postprocessing().apply(labels), labels)
    np.testing.assert_array_equal(
        Postprocessing(foreground=True).apply(labels), blocks((1, 0, 5), (2, 5, 8), (1, 8, 9))
    )
    np.testing.assert_array_equal(
        Postprocessing(classes=(1,)).apply(labels), blocks((1, 0, 5), (2, 5, 8), (2, 14, 15))
    )
    np.testing.assert_array_equal(
        Postprocessing(True, (1,)).apply(labels), blocks((1, 0, 5), (2, 5, 8))
    )


def test_the_label_map_that_was_given_is_not_changed():
    labels = blocks((1, 0, 5), (1, 12, 14))
    kept = labels.copy()
    assert (Postprocessing(True, (1,)).apply(labels) != labels).any()
    np.testing.assert_array_equal(labels, kept)


def test_a_crumb_far_off_is_removed_for_all_foreground():
    truth = blocks((1, 0, 5), (2, 5, 10))
    assert decision((blocks((1, 0, 5), (2, 5, 10), (1, 15, 17), (2, 17, 19)), truth)).foreground


def test_it_is_kept_for_the_class_that_it_helps_and_not_for_the_one_it_hurts():
    # 1 is one organ, 2 a pair with a gap: the second of the pair must stay, the crumb of 1 not.
    truth = blocks((1, 0, 6), (2, 10, 14), (2, 18, 22))
    prediction = blocks((1, 0, 6), (1, 8, 9), (2, 10, 14), (2, 18, 22))
    assert decision((prediction, truth)) == Postprocessing(False, (1,))


def test_classes_are_decided_with_the_foreground_settled():
    # The largest piece of 1 lies far off and goes with the foreground's rule; a crumb stays.
    truth = blocks((1, 0, 4), (2, 4, 12))
    prediction = blocks((1, 0, 4), (2, 4, 12), (1, 12, 13), (1, 16, 22))
    assert decision((prediction, truth)) == Postprocessing(True, (1,))


def test_a_rising_mean_does_not_pay_for_a_class_that_falls():
    # Without the lower pieces, 1 gains much and 2 loses little.
    truth = blocks((1, 0, 6), (2, 6, 12), (2, 14, 15))
    prediction = blocks((1, 0, 6), (2, 6, 12), (2, 14, 15), (1, 15, 20))
    whole = Postprocessing(foreground=True).apply(prediction)
    before, after = (
        np.array([dice(labels, truth, label) for label in (1, 2)]) for labels in (prediction, whole)
    )
    assert after.mean() > before.mean()
    assert after[1] < before[1]
    assert decision((prediction, truth)) == Postprocessing(False, (1,))


def test_what_changes_nothing_is_not_kept():
    truth = blocks((1, 0, 6), (2, 6, 12))
    assert decision((truth, truth)) == Postprocessing()
    assert decide_postprocessing([]) == Postprocessing()


def test_the_mean_over_cases_decides():
    helped = (blocks((1, 0, 6), (1, 8, 9)), blocks((1, 0, 6)))
    hurt = (blocks((1, 0, 6), (1, 8, 12)), blocks((1, 0, 6), (1, 8, 12)))
    assert decision(helped).foreground
    assert decision(hurt) == Postprocessing()
    assert decision(helped, hurt) == Postprocessing()
    assert decision(*[helped] * 9, hurt).foreground


def test_false_finds_in_cases_without_the_class_count():
    # What foreground's rule removes wholly leaves its class undefined there: left out of means.
    truth = blocks((1, 0, 6))
    assert decision((blocks((1, 0, 6), (2, 9, 11)), truth)).foreground


def test_a_trial_scores_what_applying_the_decision_gives():
    random = np.random.default_rng(0)
    prediction, truth = (random.integers(0, 3, SHAPE).astype(np.uint8) for _ in range(2))
    prediction[random.random(SHAPE) < 0.8] = 0
    trial = try_postprocessing(prediction, truth, (1, 2))
    for foreground in (False, True):
        for classes in ((), (1,), (2,), (1, 2)):
            chosen = Postprocessing(foreground, classes)
            applied = chosen.apply(prediction)
            assert trial.after(chosen) == {c: dice(applied, truth, c) for c in (1, 2)}


def test_no_decision_lowers_any_class_of_its_cross_validation():
    random = np.random.default_rng(3)
    trials = []
    for _ in range(6):
        truth = blocks((1, 0, 6), (2, 8, 14))
        prediction = np.where(random.random(SHAPE) < 0.02, random.integers(0, 3, SHAPE), truth)
        trials.append(try_postprocessing(prediction, truth, (1, 2)))
    chosen = decide_postprocessing(trials)
    assert chosen != Postprocessing()
    before = class_means([trial.plain for trial in trials])
    after = class_means([trial.after(chosen) for trial in trials])
    assert all(after[label] >= before[label] for label in (1, 2))


def test_it_is_stored_with_the_run(tmp_path):
    assert Postprocessing.load(tmp_path) == Postprocessing()
    chosen = Postprocessing(True, (2,))
    chosen.save(tmp_path)
    assert Postprocessing.load(tmp_path) == chosen
    stored = json.loads((tmp_path / "postprocessing.json").read_text())
    assert stored == {"foreground": True, "classes": [2]}


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"largest": true}',
        "{",
        '{"foreground": "no", "classes": []}',
        '{"foreground": true, "classes": "12"}',
        '{"foreground": true, "classes": [0]}',
        '{"foreground": true, "classes": [1.5]}',
    ],
)
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "postprocessing.json").write_text(text)
    with pytest.raises(InputError, match=r"postprocessing\.json"):
        Postprocessing.load(tmp_path)


def test_it_says_what_it_does():
    words = Postprocessing(True, (2,)).describe(("background", "anterior", "posterior"))
    assert words == "only the largest component of all foreground, then of posterior is kept"


def test_a_class_s_largest_piece_may_go_with_the_foreground():
    prediction = np.zeros((1, 1, 30), np.uint8)
    prediction[..., :8] = 1
    prediction[..., 8:10] = 2  # a little of 2 touches 1; most of it lies apart
    prediction[..., 14:20] = 2
    both = Postprocessing(True, (1, 2))
    kept = both.apply(prediction)
    assert np.flatnonzero(kept == 2).tolist() == [8, 9]  # the largest of what was left
    found = try_postprocessing(prediction, prediction, (1, 2)).after(both)
    assert found == {value: dice(kept, prediction, value) for value in (1, 2)}

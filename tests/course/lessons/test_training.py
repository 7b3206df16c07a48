"""Lesson 06's claims fail when the library is broken in the way that they speak of."""

import itertools
import json
import shutil
from dataclasses import replace
from typing import get_args
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.course.lessons import training as lesson
from nnunet_lib.course.lessons import training_figures as figures
from nnunet_lib.course.lessons.quickstart import misplaced_cases
from nnunet_lib.course.lessons.unet import tiny_plan
from nnunet_lib.datasets import Dataset
from nnunet_lib.loading import Fold, split_folds
from nnunet_lib.model import LAST
from nnunet_lib.planning import PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import preprocess
from nnunet_lib.training import (
    TrainingSettings,
    cross_validate,
    cross_validation,
    job,
    loop,
    read_metrics,
    schedules,
    state,
)

PLAN = tiny_plan(2, edge=16, stages=3, filters=(8, 16, 32), batch_size=4)
SETTINGS = replace(lesson.SHORT, number_of_folds=3)


# One batch ---------------------------------------------------------------------------------------


def batch(seed=0, side=6):
    """Four slices of noise with a bright square each, and the squares' labels."""
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(4, 16, 16, 1)).astype(np.float32)
    label = np.zeros((4, 16, 16, 1), np.uint8)
    for one, (row, column) in zip(label, generator.integers(0, 10, (4, 2)), strict=True):
        one[row : row + side, column : column + side] = 1
    return image + 2 * label, label


def watched(steps=80, held_out=None):
    learner = lesson.new_learner(PLAN)
    seen = batch()
    return lesson.watch(learner, itertools.repeat(seen), seen, held_out or batch(1), steps)


@pytest.mark.slow
def test_one_batch_is_overfitted():
    curve = watched()
    assert curve.steps == (0, 20, 40, 60, 80)
    assert curve.seen_dice[0] < 0.6
    assert curve.seen_dice[-1] > 0.95


def test_a_loop_that_never_updates_is_noticed(monkeypatch):
    monkeypatch.setattr(tf.keras.optimizers.Adam, "apply_gradients", lambda self, pairs: None)
    curve = watched()
    assert curve.seen_dice[-1] == curve.seen_dice[0] < 0.95


@pytest.mark.slow
def test_gradients_that_are_clipped_away_are_noticed(monkeypatch):
    real = tf.clip_by_global_norm
    monkeypatch.setattr(tf, "clip_by_global_norm", lambda gradients, _: real(gradients, 0.0))
    assert watched(20).seen_dice[-1] < 0.95


@pytest.mark.slow
def test_a_learner_starts_again_from_the_same_weights():
    learner, seen = lesson.new_learner(PLAN), batch()
    first, second = (
        lesson.watch(learner, itertools.repeat(seen), seen, batch(1), 3) for _ in range(2)
    )
    assert first.seen_loss == pytest.approx(second.seen_loss, rel=1e-4)


@pytest.mark.slow
def test_nonsense_is_learned_and_held_out_cases_show_it():
    image, label = batch(side=3)  # squares so small that chance seldom meets them
    nonsense = (image, lesson.shifted_at_random(label, 0))
    other, truth = batch(1, side=3)
    held_out = (other, lesson.shifted_at_random(truth, 1))
    learner = lesson.new_learner(PLAN)
    curve = lesson.watch(learner, itertools.repeat(nonsense), nonsense, held_out, 200)
    assert curve.seen_dice[-1] > 0.75
    assert curve.seen_dice[-1] - curve.held_out_dice[-1] > 0.5
    leaked = lesson.watch(learner, itertools.repeat(nonsense), nonsense, nonsense, 200)
    gap = leaked.seen_dice[-1] - leaked.held_out_dice[-1]  # held-out cases that were trained on
    assert gap < 0.5


def test_shifted_structures_keep_their_size_and_move():
    label = batch()[1]
    moved = lesson.shifted_at_random(label, 0)
    assert (moved.sum(axis=(1, 2)) == label.sum(axis=(1, 2))).all()
    assert lesson.hard_dice(moved, label, 2) < 0.9


def test_dice_is_counted_by_hand():
    truth, prediction = np.array([1, 1, 1, 0, 2]), np.array([1, 0, 0, 0, 0])
    assert lesson.hard_dice(prediction, truth, 3) == pytest.approx((2 * 1 / 4 + 0) / 2)
    assert np.isnan(lesson.hard_dice(truth * 0, truth * 0, 3))


# Optimisers --------------------------------------------------------------------------------------


def path_errors():
    adam, sgd = TrainingSettings(optimiser="adam"), TrainingSettings(optimiser="sgd")
    gradients = lesson.random_gradients()
    adam_path = lesson.adam_on_paper(gradients, adam.base_learning_rate)
    sgd_path = lesson.nesterov_on_paper(gradients, sgd.base_learning_rate, sgd.momentum)
    return (
        lesson.relative_difference(lesson.path(adam, gradients), adam_path),
        lesson.relative_difference(lesson.path(sgd, gradients), sgd_path),
    )


def test_optimisers_follow_their_formulas():
    assert max(path_errors()) < 1e-4


@pytest.mark.parametrize(
    "broken",
    [
        lambda s: tf.keras.optimizers.SGD(s.base_learning_rate, s.momentum),
        lambda s: tf.keras.optimizers.Adam(2 * s.base_learning_rate),
        lambda s: tf.keras.optimizers.Adam(s.base_learning_rate, beta_2=0.99),
        lambda s: tf.keras.optimizers.SGD(s.base_learning_rate),
    ],
    ids=["not Nesterov's", "twice the rate", "a shorter memory", "no momentum"],
)
def test_another_optimiser_is_noticed(monkeypatch, broken):
    monkeypatch.setattr(lesson, "make_optimiser", broken)
    assert max(path_errors()) > 1e-2


def test_adam_does_not_feel_the_loss_s_units_and_sgd_does():
    gradients = lesson.random_gradients()
    adam, sgd = TrainingSettings(optimiser="adam"), TrainingSettings(optimiser="sgd")
    slow, fast = (lesson.path(adam, factor * gradients) for factor in (1, 1000))
    assert lesson.relative_difference(fast, slow) < 1e-2
    slow, fast = (lesson.path(sgd, factor * gradients) for factor in (1, 1000))
    assert lesson.relative_difference(fast, 1000 * slow) < 1e-4
    assert lesson.relative_difference(fast, slow) > 1e-2


# Schedules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["poly", "cosine", "cosine_restarts", "constant"])
def test_schedules_follow_their_formulas(name):
    assert lesson.schedule_error(TrainingSettings(scheduler=name)) < 1e-9


def test_a_schedule_of_another_shape_is_noticed(monkeypatch):
    monkeypatch.setattr(schedules, "POLY_POWER", 1.0)
    assert lesson.schedule_error(TrainingSettings(scheduler="poly")) > 1e-9


def test_restarts_at_the_wrong_time_are_noticed(monkeypatch):
    monkeypatch.setattr(schedules, "_part_of_cycle", lambda t, cycles: t * (cycles + 1) % 1.0)
    assert lesson.schedule_error(TrainingSettings(scheduler="cosine_restarts")) > 1e-9


# Runs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(phantom_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    dataset = Dataset.open(phantom_path)
    limits = PlannerSettings(
        dimensions=2, patch_size=(16, 16), target_spacing=(3, 3), base_filters=4, batch_size=4
    )
    _, plan = plan_dataset(dataset, limits)
    return folder, preprocess(dataset, plan, folder, mode="training", workers=1)


@pytest.mark.parametrize(("planned", "expected"), [(2, 4), (11, 8), (12, 12), (366, 12)])
def test_a_batch_has_a_dozen_slices_at_most(prepared, planned, expected):
    data = replace(prepared[1], plan=replace(prepared[1].plan, batch_size=planned))
    image, _ = next(lesson.batches_of(data, data.identifiers))
    assert image.shape[0] == expected


class Unplugged(BaseException):
    """Stands for the end of the process."""


def unplug():
    raise Unplugged


@pytest.fixture
def here(monkeypatch):
    """Let runs be trained in this process, and leave it as it was."""
    from tensorflow.python.framework import config

    monkeypatch.setattr(lesson, "_pull_the_plug", unplug)
    yield
    config.disable_op_determinism()  # TensorFlow has no public way to switch it off again


def train_here(prepared, runs, *tasks):
    for task in tasks:
        try:
            lesson.train_one(task, prepared[1], runs, SETTINGS)
        except Unplugged:
            assert task == "cut_off"


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """The folder of one run that was never interrupted."""
    from tensorflow.python.framework import config

    runs = lesson.runs_in(tmp_path_factory.mktemp("whole"))
    train_here(prepared, runs, "whole")
    config.disable_op_determinism()
    return runs.whole


def difference(run, whole):
    return lesson.epochs_that_differ(run, whole) + lesson.arrays_that_differ(run, whole)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_resumed_run_is_the_same_and_a_forgetful_one_is_not(prepared, whole, tmp_path):
    runs = lesson.runs_in(tmp_path)
    train_here(prepared, runs, "cut_off", "resumed", "forgetful")
    assert len(lesson.metrics(runs.resumed)) == 2
    assert difference(runs.resumed, whole) == 0
    assert lesson.arrays_that_differ(runs.forgetful, whole, "weights/") > 0
    assert lesson.log_disagreement(runs.resumed) < 1e-6


@pytest.mark.slow
def test_a_forgotten_memory_that_changes_no_weight_is_not_taken_for_one_that_does(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    lesson._forget_optimiser(run / LAST)
    assert lesson.arrays_that_differ(run, whole) > 0
    assert lesson.arrays_that_differ(run, whole, "optimiser/") > 0
    assert lesson.arrays_that_differ(run, whole, "weights/") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_resume_that_forgets_the_optimiser_s_state_is_noticed(
    monkeypatch, prepared, whole, tmp_path
):
    real = state.assign_arrays

    def forgetting(variables, arrays, source):
        if not any("iteration" in name for name in arrays):
            real(variables, arrays, source)

    monkeypatch.setattr(state, "assign_arrays", forgetting)
    runs = lesson.runs_in(tmp_path)
    train_here(prepared, runs, "cut_off", "resumed")
    assert difference(runs.resumed, whole) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_resume_that_draws_the_epoch_s_batches_anew_is_noticed(
    monkeypatch, prepared, whole, tmp_path
):
    runs = lesson.runs_in(tmp_path)
    train_here(prepared, runs, "cut_off")
    monkeypatch.setattr(
        loop, "islice", lambda batches, first, last: itertools.islice(batches, 0, last - first)
    )
    train_here(prepared, runs, "resumed")
    assert difference(runs.resumed, whole) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_seed_decides(monkeypatch, prepared, whole, tmp_path):
    runs = lesson.runs_in(tmp_path)
    train_here(prepared, runs, "again", "other_seed")
    assert lesson.epochs_that_differ(runs.again, whole) == 0
    assert lesson.epochs_that_differ(runs.other_seed, whole) == SETTINGS.epochs
    real = loop.tf.keras.utils.set_random_seed  # first weights from somewhere else
    monkeypatch.setattr(tf.keras.utils, "set_random_seed", lambda seed: real(seed + 5))
    shutil.rmtree(runs.again)
    train_here(prepared, runs, "again")
    assert lesson.epochs_that_differ(runs.again, whole) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_seed_that_is_not_used_is_noticed(monkeypatch, prepared, whole, tmp_path):
    real, folds, drawn = tf.keras.utils.set_random_seed, job.split_folds, job._loader_settings
    monkeypatch.setattr(tf.keras.utils, "set_random_seed", lambda seed: real(0))
    monkeypatch.setattr(job, "split_folds", lambda names, number, seed: folds(names, number, 0))
    monkeypatch.setattr(
        job, "_loader_settings", lambda plan, settings: drawn(plan, replace(settings, seed=0))
    )
    runs = lesson.runs_in(tmp_path)
    train_here(prepared, runs, "other_seed")
    assert lesson.epochs_that_differ(runs.other_seed, whole) < SETTINGS.epochs


@pytest.mark.slow
def test_a_run_keeps_its_schedule_and_writes_it_down_twice(whole):
    assert lesson.recorded_rate_error(whole, SETTINGS) < 1e-6
    assert lesson.recorded_rate_error(whole, replace(SETTINGS, scheduler="cosine")) > 1e-6
    assert lesson.log_disagreement(whole) < 1e-6
    assert lesson.number_of_arrays(whole) > 10


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_loop_that_forgets_the_schedule_is_noticed(monkeypatch, prepared, tmp_path):
    runs = lesson.runs_in(tmp_path)
    monkeypatch.setattr(loop, "learning_rate_at", lambda settings, *_: settings.base_learning_rate)
    train_here(prepared, runs, "whole")
    assert lesson.recorded_rate_error(runs.whole, SETTINGS) > 1e-6


@pytest.mark.slow
def test_a_log_that_says_something_else_is_noticed(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    first, *others = (run / "metrics.jsonl").read_text().splitlines()
    wrong = {**json.loads(first), "loss": 0.5}
    (run / "metrics.jsonl").write_text("\n".join([json.dumps(wrong), *others]) + "\n")
    assert lesson.log_disagreement(run) > 1e-6
    assert lesson.epochs_that_differ(run, whole) == 1
    wrong = {**json.loads(first), "learning_rate": json.loads(first)["learning_rate"] * 1.001}
    (run / "metrics.jsonl").write_text("\n".join([json.dumps(wrong), *others]) + "\n")
    assert lesson.log_disagreement(run) > 1e-4  # small numbers count as large ones do
    (run / "metrics.jsonl").write_text(first + "\n")
    assert lesson.log_disagreement(run) == np.inf
    assert lesson.epochs_that_differ(run, whole) == 1


@pytest.mark.slow
def test_runs_in_processes_of_their_own_agree(prepared, tmp_path):
    runs = lesson.run_apart(prepared[0], tmp_path)
    assert difference(runs.resumed, runs.whole) == difference(runs.again, runs.whole) == 0
    assert lesson.epochs_that_differ(runs.other_seed, runs.whole) == SETTINGS.epochs
    assert lesson.arrays_that_differ(runs.forgetful, runs.whole, "weights/") > 0


def test_a_process_that_fails_says_why(prepared, tmp_path):
    with pytest.raises(RuntimeError, match="no such thing"):
        lesson.run_apart(prepared[0], tmp_path, preamble="raise SystemExit('no such thing')")


# Folds -------------------------------------------------------------------------------------------


def test_folds_are_a_partition_and_overlapping_ones_are_noticed():
    names = [f"case_{number}" for number in range(11)]
    folds = split_folds(names, 5)
    assert misplaced_cases(folds, names) == 0
    first, second, *others = folds
    overlapping = Fold(second.training, second.validation + first.validation[:1])
    assert misplaced_cases([first, overlapping, *others], names) > 0
    leaking = Fold(first.training + first.validation[:1], first.validation)
    assert misplaced_cases([leaking, second, *others], names) > 0


@pytest.fixture(scope="module")
def crossed(prepared, tmp_path_factory):
    settings = replace(SETTINGS, number_of_folds=2, epochs=1, steps_per_epoch=1)
    return cross_validate(prepared[1], tmp_path_factory.mktemp("crossed"), settings, False)


@pytest.mark.slow
def test_every_case_is_scored_once_by_a_network_that_has_not_seen_it(crossed, prepared):
    names = prepared[1].identifiers
    assert lesson.unfairly_scored(crossed.results, names) == 0
    table = lesson.fold_table(crossed.results, crossed.labels)
    assert [row[:2] for row in table] == [("0", 3), ("1", 3), ("all", 6)]
    scores = list(itertools.chain(*lesson.case_scores(crossed.results)))
    assert table[-1][-1] == pytest.approx(np.mean(scores))
    histories = [read_metrics(crossed.results / f"fold_{number}") for number in (0, 1)]
    left, right = figures.spread_figure(lesson.case_scores(crossed.results), histories).axes
    assert len(left.get_lines()) == 2
    assert len(right.collections) == 4


@pytest.mark.slow
def test_a_score_of_cases_that_were_trained_on_is_noticed(monkeypatch, crossed, prepared, tmp_path):
    results = shutil.copytree(crossed.results, tmp_path / "results")
    real = cross_validation._folds_of
    swapped = mock.Mock(
        side_effect=lambda *given: [Fold(f.validation, f.training) for f in real(*given)]
    )
    monkeypatch.setattr(cross_validation, "_folds_of", swapped)
    settings = replace(SETTINGS, number_of_folds=2, epochs=1, steps_per_epoch=1, resume=True)
    cross_validate(prepared[1], results, settings, False)
    assert swapped.called
    assert lesson.unfairly_scored(results, prepared[1].identifiers) == 6


# Figures -----------------------------------------------------------------------------------------


def test_figures_show_what_they_are_given():
    curve = lesson.Curve((0, 20), (1.0, 0.5), (1.0, 0.8), (0.0, 0.9), (0.0, 0.4))
    axes = figures.curves_figure({"one": curve, "two": curve}).axes
    assert [panel.get_ylabel() for panel in axes] == ["loss", "loss", "Dice", "Dice"]
    np.testing.assert_array_equal(axes[0].get_lines()[1].get_ydata(), curve.held_out_loss)
    (race,) = figures.race_figure({"Adam": curve, "SGD": curve}).axes
    assert [text.get_text() for text in race.get_legend().get_texts()] == ["Adam", "SGD"]
    names = [f"case_{number}" for number in range(5)]
    (grid,) = figures.folds_figure(split_folds(names, 5), names).axes
    assert grid.collections[0].get_array().sum() == 5
    (drawn,) = figures.schedules_figure(
        [TrainingSettings(scheduler=name) for name in get_args(schedules.Scheduler)]
    ).axes
    assert drawn.get_lines()[0].get_ydata()[-1] == 0

"""Lesson 09's claims hold on the library, and fail when it is broken in the way they speak of.

All that real processes are needed for runs in one launch of two, right and wrong, since a launch
takes long.
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import cloudpickle
import numpy as np
import psutil
import pytest
from IPython.core.interactiveshell import InteractiveShell

from nnunet_lib import distributed
from nnunet_lib.course.lessons import multi_gpu as lesson
from nnunet_lib.course.lessons import multi_gpu_figures as figures
from nnunet_lib.datasets import Dataset
from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import loop, schedules

# Horovod's processes cannot import this file: they get its functions as they are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SIZES = range(2, 9)
UNEVEN, EVEN = 103, 840  # lengths of tensors


# The ring in NumPy -----------------------------------------------------------------------------


def test_a_ring_gives_every_rank_the_sum():
    assert lesson.wrong_ring_sums(range(1, 9), UNEVEN) == 0


def test_a_ring_that_stops_early_is_seen(monkeypatch):
    right = lesson.ring_all_reduce

    def too_short(tensors):
        ring = right(tensors)
        results = [np.concatenate(chunks) for chunks in ring.history[-2]]
        return replace(ring, results=tuple(results))

    monkeypatch.setattr(lesson, "ring_all_reduce", too_short)
    assert lesson.wrong_ring_sums(SIZES, UNEVEN) > 0


def test_no_rank_of_a_ring_sends_more_than_its_share():
    assert lesson.busiest_beyond(SIZES, EVEN) <= 1e-9
    ring = lesson.ring_all_reduce(lesson.rank_tensors(5, EVEN))
    assert sum(ring.sent) == 2 * 4 * EVEN * 8  # 2 (N - 1) tensors of 8-byte numbers


def test_a_ring_that_sends_whole_tensors_sends_too_much(monkeypatch):
    right = lesson.ring_all_reduce

    def wasteful(tensors):
        return replace(right(tensors), sent=((len(tensors) - 1) * tensors[0].nbytes,) * 2)

    monkeypatch.setattr(lesson, "ring_all_reduce", wasteful)
    assert lesson.busiest_beyond(SIZES, EVEN) > 1


# Shares and learning rates ---------------------------------------------------------------------


def shares(size):
    return [Ranks(rank, size).share(list("abcdefg")) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 3])
def test_every_case_is_in_one_share(size):
    assert lesson.misplaced("abcdefg", shares(size)) == 0


@pytest.mark.parametrize(
    "fault",
    [lambda ranks, items: items, lambda ranks, items: items[ranks.rank : -1 : ranks.size]],
    ids=["all to everybody", "the last left out"],
)
def test_wrong_shares_are_seen(monkeypatch, fault):
    monkeypatch.setattr(Ranks, "share", fault)
    assert lesson.misplaced("abcdefg", shares(2)) > 0


def test_one_step_of_eight_ranks_is_eight_small_steps():
    small, large = lesson.rule_errors([0.01, 1.0], 8)
    assert small < 0.1
    assert large > 0.3  # where the gradient changes on the way


def test_without_scaling_the_rate_it_falls_short():
    assert lesson.rule_errors([0.01], 8, scaled=False)[0] > 0.8


def test_another_rule_is_seen(monkeypatch):
    monkeypatch.setattr(loop, "rank_factor", lambda size, progress, warmup: size**0.5)
    assert lesson.rule_errors([0.01], 8)[0] > 0.5


# Weights, files, rates of made reports ---------------------------------------------------------


def made_weights(drawn, trained):
    return lesson.Weights(np.full(3, float(drawn)), np.full(3, float(trained)))


def test_equal_weights_prove_nothing_without_other_draws_or_training():
    assert lesson.different_weights([made_weights(1, 3), made_weights(2, 3)]) == 0
    assert lesson.different_weights([made_weights(1, 3), made_weights(1, 3)]) == np.inf
    assert lesson.different_weights([made_weights(1, 3), made_weights(3, 3)]) == np.inf
    assert lesson.different_weights([made_weights(1, 3), made_weights(2, 4)]) == 3


def test_ranks_that_stay_alike_without_a_broadcast_are_seen():
    apart = [made_weights(0, trained) for trained in (2, 3, 1)]
    assert lesson.distance_from_first(apart) == pytest.approx(0.5)
    assert lesson.distance_from_first([*apart, made_weights(0, 2)]) == 0  # one is enough


def test_the_worst_rank_s_gradient_counts():
    whole = np.array([3.0, 4.0])
    assert lesson.worst_error([whole, 2 * whole, whole], whole) == pytest.approx(1)


def test_bytes_beyond_two_tensors_for_each_other_rank_are_seen():
    def error(*moved, size=2, wrong=0):
        traffic = lesson.Traffic(100, moved, blanks=(30, 20))
        return lesson.traffic_error([SimpleNamespace(wrong_sums=wrong, traffic=traffic)] * size)

    assert error(999, 220) == error(420, size=3) == 0  # other programs only add to it
    assert error(320) == pytest.approx(0.5)
    assert error(220, size=3) == pytest.approx(0.5)
    assert error(220, wrong=1) == np.inf


def made_training(*files, rate=None):
    weights = made_weights(0, 1)
    return lesson.Training(weights, weights, files, rate)


def test_no_files_of_others_prove_nothing_without_a_checkpoint_of_rank_0():
    run = made_training("checkpoint_last.npz", "metrics.jsonl")
    assert lesson.files_of_others([run, made_training()]) == 0
    assert lesson.files_of_others([made_training(), made_training()]) == np.inf
    assert lesson.files_of_others([run, made_training("plan.json")]) == 1
    assert not lesson.rate_factor(run) <= 0  # NaN keeps no bound


def test_a_rate_that_is_not_scaled_with_the_ranks_is_seen():
    last = 1 - 1 / lesson.RUN.steps_per_epoch
    alone = lesson.RUN.base_learning_rate * schedules.learning_rate_factor("poly", last)
    for ranks in (1, 2, 3):
        assert lesson.rate_factor(made_training(rate=ranks * alone)) == pytest.approx(ranks)


# The cost model --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_fit_finds_the_latency_and_bandwidth_behind_noisy_times(size):
    true = lesson.Cost(latency=1e-3, bandwidth=5e8)
    random = np.random.default_rng(size)
    seconds = {n: true.seconds(size, n) * random.uniform(0.9, 1.1) for n in lesson.TIMED_BYTES}
    found = lesson.fit_cost(size, seconds)
    assert found.latency == pytest.approx(true.latency, rel=0.1)
    assert found.bandwidth == pytest.approx(true.bandwidth, rel=0.15)


def test_a_fit_without_a_slope_has_no_limit():
    assert lesson.fit_cost(2, dict.fromkeys((1000, 2000), 1e-3)).bandwidth > 1e9


def test_a_free_exchange_costs_nothing_and_an_endless_one_everything():
    assert lesson.speed_up(8, 1.0, 0.0) == 8
    assert lesson.speed_up(8, 1.0, 7.0) == 1


def test_published_exchanges_do_not_depend_on_the_batch():
    first, *others = lesson.PUBLISHED
    assert lesson.prediction_error(others, first.exchange) < 0.02
    assert lesson.prediction_error(others, 0.0) > 0.04


def test_a_cost_that_grows_with_the_batch_does_not_predict_them():
    first, _, last = lesson.PUBLISHED
    assert lesson.prediction_error([last], last.batch * first.exchange) > 0.1


def test_published_figures_are_those_that_the_text_tells():
    two = lesson.PUBLISHED[1]
    assert (two.weak_scaling, round(two.scaling, 2)) == (7.77, 7.49)
    assert all(abs(entry.scaling - entry.weak_scaling) > 0.1 for entry in lesson.PUBLISHED)
    assert all(abs(entry.scaling - entry.weak_scaling) < 0.01 for entry in lesson.PUBLISHED_TF32)


def test_longer_steps_of_the_same_network_are_lengthened_less():
    pairs = list(zip(lesson.PUBLISHED_TF32, lesson.PUBLISHED, strict=True))
    assert all(slow.step > 2 * quick.step for slow, quick in pairs)
    ratios = [slow.exchange / quick.exchange for slow, quick in pairs]
    assert [round(ratio, 1) for ratio in ratios] == [0.3, 0.6, 0.5]
    assert lesson.exchange_ratio(lesson.PUBLISHED_TF32, lesson.PUBLISHED) == max(ratios)


# What needs no ranks ---------------------------------------------------------------------------


def test_loopback_counts_what_is_sent_over_it():
    counters = {"eth0": SimpleNamespace(bytes_sent=1), "lo0": SimpleNamespace(bytes_sent=7)}
    with mock.patch.object(psutil, "net_io_counters", return_value=counters):
        assert lesson.loopback_bytes() == 7


def test_a_machine_without_horovod_gets_words(monkeypatch):
    assert lesson.missing_horovod() is None
    monkeypatch.setattr(lesson.importlib.util, "find_spec", lambda name: None)
    assert "Horovod is not installed" in lesson.missing_horovod()


def test_a_launch_without_horovod_shows_a_notebook_words_and_no_traceback(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "horovod", None)
    shell = InteractiveShell()
    shell.user_ns.update(lesson=lesson, folder=Path("nowhere"))
    assert shell.run_cell("lesson.launch(2, folder)").error_in_exec is not None
    shown = capsys.readouterr()
    assert "Several processes need Horovod" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


def test_halves_of_the_batch_differ_in_foreground():
    parts = [lesson.foreground_of(Ranks(rank, 2)) for rank in range(2)]
    assert parts[0] > 10 * parts[1]


def test_figures_can_be_drawn():
    cost = lesson.Cost(1e-3, 1e9)
    seconds = {n: cost.seconds(2, n) for n in lesson.TIMED_BYTES}
    assert len(figures.ring_figure(3).axes) == 6
    assert figures.times_figure({2: seconds, 3: seconds}, {2: cost, 3: cost}).axes
    assert figures.scaling_figure({"here": 0.1, "there": 1.0}).axes
    assert figures.rates_figure([0, 1], {1: [1, 0], 2: [1, 0]}, [1, 2], {"rule": [1, 2]}).axes


def test_what_a_ring_figure_frames_is_what_has_changed():
    ring = lesson.ring_all_reduce([np.ones(4)] * 4)
    for step in range(1, 7):
        before, after = (figures._counts(ring, index) for index in (step - 1, step))
        changed = {(int(rank), int(chunk)) for rank, chunk in np.argwhere(before != after)}
        assert set(figures._arrived(step, 4)) == changed


# Two real processes ----------------------------------------------------------------------------


def summing_tape(ranks, tape):
    import horovod.tensorflow as horovod

    return horovod.DistributedGradientTape(tape, op=horovod.Sum)


def twice(ranks, tensor, once=Ranks.total):
    """The sum over ranks, on a detour that moves twice as much."""
    return once(ranks, once(ranks, tensor)) / ranks.size


def broken(name, value):
    return mock.patch.object(Ranks, name, value)


def right_and_wrong(prepared, runs):
    """What one of the two processes finds with the library as it is, and broken."""
    ranks = distributed.join()
    data = PreprocessedDataset.open(prepared, dimensions=3)
    found = {"right": lesson.experiments(prepared, runs / "right", seed=0)}
    with broken("gradient_tape", summing_tape):
        found["sum for mean"] = lesson.gradients(ranks)
    with broken("gradient_tape", lambda self, tape: tape):
        found["no averaging"] = lesson.gradients(ranks)
    with broken("total", lambda self, tensor: tensor):
        found["local Dice"] = lesson.gradients(ranks)
    with broken("total", twice):
        found["moves too much"] = lesson.count_traffic(ranks)
    with broken("broadcast", lambda self, variables: None):
        found["no broadcast"] = lesson.train_weights(ranks, seed=0, broadcast=True)
    with broken("is_first", True):
        found["all write"] = lesson.train_together(ranks, data, runs / "wrong")
    return found


@pytest.fixture(scope="module")
def found(phantom_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesson_09")
    lesson.prepare_cases(Dataset.open(phantom_path), folder / "prepared", workers=1)
    return distributed.launch(right_and_wrong, folder / "prepared", folder, processes=2)


@pytest.fixture(scope="module")
def whole():
    return lesson.gradients(ALONE)


@pytest.mark.slow
def test_averaged_gradients_are_the_whole_batch_s_only_with_summed_dice(found, whole):
    reports = [each["right"] for each in found]
    assert lesson.worst_error([report.summed for report in reports], whole) <= 1e-5
    assert min(lesson.relative_difference(report.local, whole) for report in reports) >= 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["sum for mean", "no averaging", "local Dice"])
def test_wrong_gradients_are_seen(found, whole, fault):
    assert lesson.worst_error([each[fault] for each in found], whole) > 1e-2


@pytest.mark.slow
def test_two_ranks_move_two_tensors_and_get_the_sum(found):
    reports = [each["right"] for each in found]
    assert lesson.traffic_error(reports) <= 0.03
    assert [report.wrong_sums for report in reports] == [0, 0]
    assert lesson.traffic_error([reports[0], replace(reports[1], wrong_sums=1)]) == np.inf


@pytest.mark.slow
def test_a_ring_that_moves_too_much_is_seen(found):
    wrong, traffic = found[0]["moves too much"]
    reports = [replace(each["right"], traffic=traffic) for each in found]
    assert wrong == 0
    assert lesson.traffic_error(reports) > 0.9


@pytest.mark.slow
def test_weights_stay_equal_only_with_a_broadcast(found):
    trainings = lesson.trainings([each["right"] for each in found])
    assert lesson.different_weights([training.broadcast for training in trainings]) == 0
    assert lesson.distance_from_first([training.alone for training in trainings]) >= 0.1
    assert lesson.different_weights([each["no broadcast"] for each in found]) > 100


@pytest.mark.slow
def test_only_rank_0_writes_and_the_rate_is_doubled(found):
    trainings = lesson.trainings([each["right"] for each in found])
    assert lesson.files_of_others(trainings) == 0
    assert lesson.rate_factor(trainings[0]) == pytest.approx(2, abs=1e-4)


@pytest.mark.slow
def test_a_rank_that_writes_too_is_seen(found):
    trainings = lesson.trainings([each["right"] for each in found])
    files, _ = found[1]["all write"]
    assert lesson.files_of_others([trainings[0], replace(trainings[1], files=files)]) > 0

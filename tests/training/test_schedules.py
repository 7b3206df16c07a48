"""Schedules start at the base rate, rise only at a restart, and end where they should."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.training import (
    Budget,
    TrainingSettings,
    learning_rate_at,
    learning_rate_factor,
    rank_factor,
)


@pytest.mark.parametrize(
    ("scheduler", "end"), [("poly", 0), ("cosine", 0), ("cosine_restarts", 0), ("constant", 1)]
)
def test_ends(scheduler: str, end: float) -> None:
    assert learning_rate_factor(scheduler, 0) == 1
    assert learning_rate_factor(scheduler, 1) == pytest.approx(end, abs=1e-12)
    assert learning_rate_factor(scheduler, 1.7) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("scheduler", ["poly", "cosine", "constant"])
def test_a_rate_never_rises(scheduler: str) -> None:
    factors = [learning_rate_factor(scheduler, i / 50) for i in range(51)]
    assert all(a >= b for a, b in itertools.pairwise(factors))


def test_known_points() -> None:
    assert learning_rate_factor("poly", 0.5) == pytest.approx(0.5**0.9)
    assert learning_rate_factor("cosine", 0.25) == pytest.approx(0.8535533905932737)
    settings = TrainingSettings(learning_rate=0.02, scheduler="cosine")
    assert learning_rate_at(settings, 0.5) == pytest.approx(0.01)


def test_restarts_go_back_to_the_full_rate_that_often() -> None:
    factors = [learning_rate_factor("cosine_restarts", i / 400, restarts=3) for i in range(401)]
    rises = [i for i, (a, b) in enumerate(itertools.pairwise(factors), start=1) if b > a]
    assert rises == [100, 200, 300]
    assert [factors[i] for i in rises] == [1, 1, 1]
    assert factors[99] < 1e-3
    assert factors[150] == pytest.approx(0.5)


def test_without_restarts_the_cosine_is_left() -> None:
    for progress in (0, 0.1, 0.5, 0.99, 1):
        plain = learning_rate_factor("cosine", progress)
        assert learning_rate_factor("cosine_restarts", progress, restarts=0) == plain


def test_the_rank_factor_grows_from_1_to_the_number_of_ranks_and_stays() -> None:
    factors = [rank_factor(4, i / 100, warmup=0.2) for i in range(101)]
    assert factors[0] == 1
    assert factors[10] == pytest.approx(2.5)
    assert factors[20:] == [4.0] * 81
    steps = {round(b - a, 9) for a, b in itertools.pairwise(factors[:21])}
    assert steps == {0.15}


def test_one_rank_changes_nothing_and_no_warm_up_starts_at_the_full_factor() -> None:
    assert all(rank_factor(1, i / 10, warmup=0.5) == 1 for i in range(11))
    assert rank_factor(8, 0, warmup=0) == 8
    assert rank_factor(8, 0.999, warmup=1) == pytest.approx(8, abs=0.01)


def test_the_learning_rate_follows_optimiser_schedule_restarts_and_ranks() -> None:
    sgd = TrainingSettings(optimiser="sgd", scheduler="cosine_restarts", restarts=1, warmup=0.5)
    assert learning_rate_at(sgd, 0) == 0.01
    assert learning_rate_at(sgd, 0.5) == 0.01
    assert learning_rate_at(sgd, 0.25) == pytest.approx(0.005)
    assert learning_rate_at(sgd, 0.25, size=3) == pytest.approx(0.005 * 2)
    assert learning_rate_at(sgd, 0.75, size=3) == pytest.approx(0.005 * 3)
    unscaled = replace(sgd, scale_learning_rate=False)
    assert learning_rate_at(unscaled, 0.75, size=3) == pytest.approx(0.005)


def test_the_budget_that_ends_first_counts() -> None:
    both = Budget(steps=100, seconds=60)
    assert both.progress(step=50, elapsed=10) == 0.5
    assert both.progress(step=10, elapsed=45) == 0.75
    assert both.progress(step=10, elapsed=90) == 1
    assert Budget(steps=None, seconds=60).progress(10_000, 30) == 0.5
    assert Budget(steps=100, seconds=None).progress(25, 1e9) == 0.25


@pytest.mark.parametrize("scheduler", ["foo", "Poly", None])
def test_a_scheduler_that_there_is_not_is_refused(scheduler: Any) -> None:
    with pytest.raises(InputError, match=r"scheduler .*: must be one of poly, cosine"):
        learning_rate_factor(scheduler, 0.5)

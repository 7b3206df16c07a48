"""Schedules start at the base rate, never rise, and end where they should."""

import itertools

import pytest

from nnunet_lib.training import Budget, TrainingSettings, learning_rate_at, learning_rate_factor


@pytest.mark.parametrize(("scheduler", "end"), [("poly", 0), ("cosine", 0), ("constant", 1)])
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


def test_the_budget_that_ends_first_counts() -> None:
    both = Budget(steps=100, seconds=60)
    assert both.progress(step=50, elapsed=10) == 0.5
    assert both.progress(step=10, elapsed=45) == 0.75
    assert both.progress(step=10, elapsed=90) == 1
    assert Budget(steps=None, seconds=60).progress(10_000, 30) == 0.5
    assert Budget(steps=100, seconds=None).progress(25, 1e9) == 0.25

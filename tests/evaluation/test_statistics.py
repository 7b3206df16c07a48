"""Means and intervals against values by hand and against scipy.stats."""

import numpy as np
import pytest
from scipy import stats

from nnunet_lib.evaluation import class_means, confidence_interval, mean_dice
from nnunet_lib.evaluation.statistics import Summary, summarise, summarise_class


def test_the_interval_by_hand():
    # Mean 0.8, standard deviation 0.1, n = 3; t(0.975; 2) = 4.302653 from a printed table.
    half = 4.302653 * 0.1 / np.sqrt(3)
    lower, upper = confidence_interval([0.7, 0.8, 0.9])
    assert (lower, upper) == pytest.approx((0.8 - half, 0.8 + half), abs=1e-7)


@pytest.mark.parametrize("cases", [2, 5, 52])
def test_the_interval_is_scipys(cases):
    values = np.random.default_rng(cases).random(cases)
    expected = stats.t.interval(0.95, cases - 1, loc=values.mean(), scale=stats.sem(values))
    assert confidence_interval(list(values)) == pytest.approx(expected, abs=1e-12)


def test_the_interval_covers_the_mean_in_95_of_100_samples():
    random = np.random.default_rng(0)
    intervals = [confidence_interval(list(random.normal(0.8, 0.1, 6))) for _ in range(2000)]
    covered = np.mean([lower <= 0.8 <= upper for lower, upper in intervals])
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))


def test_one_case_or_none_has_no_interval():
    assert confidence_interval([]) is None
    assert confidence_interval([0.5]) is None
    assert summarise_class([{1: 0.5}], 1) == Summary(0.5, None, 1)
    assert summarise([]) == Summary(None, None, 0)


def test_the_mean_is_over_classes_of_the_mean_over_cases():
    cases = [{1: 1.0, 2: None}, {1: 0.5, 2: 0.2}, {1: 0.0, 2: 0.4}]
    assert class_means(cases) == pytest.approx({1: 0.5, 2: 0.3})
    assert mean_dice(cases) == pytest.approx(0.4)  # the mean over all five values is 0.42
    summary = summarise(cases)
    half = 4.302653 * np.std([1.0, 0.35, 0.2], ddof=1) / np.sqrt(3)
    assert summary.confidence_interval == pytest.approx((0.4 - half, 0.4 + half), abs=1e-6)
    assert summary.cases == 3


def test_means_are_no_medians_and_classes_are_in_order():
    cases = [{8: 1.0, 1: 0.0, 3: 0.1}, {1: 0.1}, {1: 0.8}]
    assert list(class_means(cases).items()) == [(1, pytest.approx(0.3)), (3, 0.1), (8, 1.0)]
    summary = summarise(cases)
    assert summary.dice == pytest.approx(1.4 / 3)
    a_case = [1.1 / 3, 0.1, 0.8]
    expected = stats.t.interval(0.95, 2, loc=1.4 / 3, scale=stats.sem(a_case))
    assert summary.confidence_interval == pytest.approx(expected)


def test_a_class_that_is_nowhere_defined_is_left_out():
    cases = [{1: 0.5, 2: None}, {1: 0.7, 2: None}]
    assert class_means(cases) == {1: pytest.approx(0.6), 2: None}
    assert mean_dice(cases) == pytest.approx(0.6)
    assert mean_dice([{1: None}]) is None

"""From scores of cases to a mean and how far to trust it. Taught in lesson 06."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95

Interval = tuple[float, float]
CaseDice = Mapping[int, float | None]
"""Dice by class value, None where it is undefined: such a value is left out of every mean."""


@dataclass(frozen=True)
class Summary:
    """A mean over cases.

    Attributes:
        dice: the mean, None without a case.
        confidence_interval: of that mean (see `confidence_interval`), None for one case.
        cases: how many cases have a value.
    """

    dice: float | None
    confidence_interval: Interval | None
    cases: int


def confidence_interval(values: Sequence[float], centre: float | None = None) -> Interval | None:
    """The 95% confidence interval of a mean, by Student's t with n - 1 degrees of freedom.

    centre ± t(0.975; n - 1) s / sqrt(n), with s the standard deviation (n - 1 in the
    denominator). It takes cases to be independent, and is not cut off at 0 or 1.

    Args:
        values: one a case.
        centre: the middle, where it is not the values' own mean.

    Returns:
        (lower, upper), or None for fewer than two values: one case says nothing of spread.
    """
    if len(values) < 2:
        return None
    middle = float(np.mean(values)) if centre is None else centre
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return middle - half, middle + half


def summarise_class(cases: Sequence[CaseDice], label: int) -> Summary:
    """Mean Dice of one class over the cases in which it is defined."""
    values = [value for case in cases if (value := case.get(label)) is not None]
    mean = float(np.mean(values)) if values else None
    return Summary(mean, confidence_interval(values), len(values))


def summarise(cases: Sequence[CaseDice]) -> Summary:
    """Mean over classes of the mean over cases.

    The interval's width comes from one value a case, its mean over the classes it has, and
    the interval lies around the mean given here: classes of one case are not independent.
    """
    means = [value for value in class_means(cases).values() if value is not None]
    mean = float(np.mean(means)) if means else None
    defined = [[value for value in case.values() if value is not None] for case in cases]
    a_case = [float(np.mean(values)) for values in defined if values]
    return Summary(mean, confidence_interval(a_case, mean), len(a_case))


def class_means(cases: Sequence[CaseDice]) -> dict[int, float | None]:
    """Mean over cases of each class that any case names, in the order of their values."""
    labels = sorted({label for case in cases for label in case})
    return {label: summarise_class(cases, label).dice for label in labels}


def mean_dice(cases: Sequence[CaseDice]) -> float | None:
    """Mean over classes of the mean over cases; None if no case has any class."""
    return summarise(cases).dice

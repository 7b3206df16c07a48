"""The verdict says what holds, and its hint is the one that fits."""

from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course.exercises.exercise import Mistake
from nnunet_lib.course.exercises.judging import Verdict, judge
from nnunet_lib.course.exercises.sandbox import Fault, Outcome

CALLS = ({"values": np.array([1.0, 3.0])}, {"values": np.array([2.0, 8.0])})
SOURCE = "def mean(values):\n    return values.mean()"


@pytest.fixture
def verdict(exercise):
    def of(*results, changed=(), fault=None, source=SOURCE):
        return judge("77.mean", exercise, source, CALLS, Outcome(results, changed, fault))

    return of


def test_what_is_right_is_solved_and_says_what_was_checked(verdict):
    right = verdict(2.0, 5.0)
    assert right.solved
    assert [finding.held for finding in right.findings] == [True, True]
    assert (right.problem, right.mistake, right.hint) == ("", "", "")


def test_a_known_mistake_is_named_though_a_property_fails_as_well(verdict):
    wrong = verdict(1.0, 2.5)
    assert (wrong.mistake, wrong.hint) == ("half", "Half of it.")
    assert "In call 1 of 2 (values: an array of shape (2,)): the result is 1" in wrong.problem


def test_a_mistake_that_fits_only_one_call_is_not_named(verdict):
    assert verdict(1.0, 5.0).mistake != "half"


def test_a_property_gives_the_hint_where_no_mistake_fits(verdict):
    wrong = verdict(2.0, 9.0)
    assert wrong.mistake == "it lies between the extremes"
    assert [finding.held for finding in wrong.findings] == [False, False]
    assert "right for inputs drawn anew (1 of 2)" in wrong.findings[0].name
    assert "In call 2 of 2" in wrong.problem


def test_a_property_of_a_result_of_another_type_does_not_hold(verdict):
    assert not verdict("two", 5.0).findings[1].held


def test_right_numbers_from_changed_inputs_are_not_enough(verdict):
    changed = verdict(2.0, 5.0, changed=("values",))
    assert not changed.solved
    assert changed.mistake == "changes its input"


def test_too_few_results_are_none(verdict):
    assert not verdict(2.0).solved


def test_an_exception_that_is_a_known_mistake_gets_its_hint(verdict):
    fault = Fault("error", "list index out of range", "IndexError", 2, "values[9]", 1)
    wrong = verdict(fault=fault)
    assert wrong.mistake == "index"
    assert wrong.problem.endswith("It happened in line 2 of the cell: `values[9]`")


def test_a_mistake_may_be_known_by_what_its_exception_says(exercise):
    known = (
        Mistake("any", "Any of them.", raises="ValueError"),
        Mistake("shape", "Which shapes?", raises="ValueError", saying="broadcast"),
    )
    exercise = replace(exercise, mistakes=known)

    def mistake_of(message):
        fault = Fault("error", message, "ValueError", 2, "", 0)
        return judge("77.mean", exercise, SOURCE, CALLS, Outcome(fault=fault)).mistake

    assert mistake_of("could not broadcast input array") == "shape"
    assert mistake_of("math domain error") == "any"
    ambiguous = "The truth value of an array with more than one element is ambiguous"
    assert mistake_of(ambiguous) == "truth value of an array"


@pytest.mark.parametrize(
    "source",
    [
        "def mean(values):\n    total = ...\n    return total",
        "def mean(values):\n    return ...",
        "def mean(values):\n    ...",
        "def mean(values):\n    raise NotImplementedError  # your code here",
    ],
)
def test_a_placeholder_that_is_left_is_what_the_hint_speaks_of(verdict, source):
    unfinished = verdict(1.0, 2.5, source=source)
    assert unfinished.mistake == "placeholder"
    assert unfinished.problem.startswith("Line 2 of the cell is still the placeholder: `")
    assert verdict(2.0, 5.0, source=source).solved  # if all is right, it is right


def test_dots_in_an_index_are_no_placeholder(verdict):
    source = "def mean(values):\n    first = values[..., 0]\n    return first"
    assert verdict(1.0, 2.5, source=source).mistake == "half"


def test_an_input_that_is_no_data_is_named_by_its_type(exercise):
    calls = ({"values": max},)
    wrong = judge("77.mean", exercise, SOURCE, calls, Outcome(fault=Fault("error", call=0)))
    assert "(values: a value of type builtin_function_or_method)" in wrong.problem


def test_a_verdict_survives_json(verdict):
    wrong = verdict(1.0, 2.5)
    assert Verdict.from_json(wrong.to_json()) == wrong

"""Timetables add up, leave room for breaks, and teach each lesson of their list once."""

import itertools
import re

import pytest

from nnunet_lib.course.timetables import BEGIN, END, WORKSHOPS, minutes, timetables, with_timetables
from nnunet_lib.course.timings import Timing
from nnunet_lib.errors import InputError


def lesson(number, read=20, try_out=10, seconds=61.0, profile="ci"):
    notebook = f"{number:02d}_name"
    title = f"{number:02d} Name"
    return Timing(
        notebook, title, read, try_out, seconds, 900.0, profile, "phantom", "2 cores", "2024-05-01"
    )


COURSE = [lesson(number) for number in range(12)]


def days(text):
    """The rows of each table, as (minutes after midnight, what, minutes)."""
    tables = re.findall(r"\| --- \| --- \| --- \|\n((?:\|.*\n?)+)", text)
    parsed = []
    for table in tables:
        rows = [line.split("|")[1:-1] for line in table.strip().splitlines()]
        parsed.append([(clock(a), b.strip(), int(c.strip() or 0)) for a, b, c in rows])
    return parsed


def clock(text):
    hours, minutes = text.strip().split(":")
    return 60 * int(hours) + int(minutes)


def test_a_lesson_takes_what_it_says_and_what_was_measured_in_steps_of_five_minutes():
    assert minutes(lesson(0, read=20, try_out=10, seconds=61)) == 35
    assert minutes(lesson(0, read=20, try_out=9, seconds=60)) == 30


def test_each_day_begins_at_nine_and_has_no_gap_and_no_overlap():
    tables = days(timetables(COURSE))
    assert len(tables) == 4  # half a day, one day, two days
    for table in tables:
        assert table[0][0] == 9 * 60
        for (start, _, length), (following, _, _) in itertools.pairwise(table):
            assert start + length == following
        assert table[-1][1:] == ("end", 0)


def test_the_workshops_teach_their_lessons_once_and_in_order():
    tables = days(timetables(COURSE))
    listed = [day for workshop in WORKSHOPS for day in workshop.days]
    for table, wanted in zip(tables, listed, strict=True):
        taught = re.findall(r"\[(\d\d) Name\]", " ".join(what for _, what, _ in table))
        assert tuple(taught) == wanted
    both = [number for day in WORKSHOPS[-1].days for number in day]
    assert both == [f"{number:02d}" for number in range(12)]  # two days hold the whole course


def test_nobody_sits_too_long_and_a_long_day_has_one_lunch():
    for table in days(timetables(COURSE)):
        sat = 0
        for start, what, length in table:
            sat = 0 if what in ("break", "lunch") else sat + length
            assert sat <= 75 + 35  # a lesson begun before the limit is finished
            if what == "lunch":
                assert 12 * 60 <= start < 14 * 60
        lunches = [what for _, what, _ in table].count("lunch")
        assert lunches <= 1
        assert lunches == 1 or table[-1][0] <= 14 * 60


def test_only_the_usual_runs_count_and_missing_lessons_are_left_out():
    text = timetables([lesson(0), lesson(1), lesson(0, seconds=3000, profile="laptop")])
    assert days(text)[0][:2] == [
        (540, "[00 Name](../notebooks/00_name.ipynb)", 35),
        (575, "[01 Name](../notebooks/01_name.ipynb)", 35),
    ]
    assert "not been recorded" in timetables([])


def test_only_what_stands_between_the_marks_is_replaced():
    page = f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n"
    once = with_timetables(page, COURSE)
    assert once == f"Before.\n{BEGIN}\n\n{timetables(COURSE)}\n\n{END}\nAfter.\n"
    assert with_timetables(once, COURSE) == once
    with pytest.raises(InputError, match="no lines"):
        with_timetables("A page without marks.", COURSE)

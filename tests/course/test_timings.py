"""Timings come from runs; the page and the timetables show what the JSON holds."""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from nnunet_lib.course import recording, timings
from nnunet_lib.course.runner import NotebookResult, Summary
from nnunet_lib.course.timetables import BEGIN, END, with_timetables
from nnunet_lib.datasets import make_phantom
from nnunet_lib.errors import InputError

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPENING = (
    "# 03 A lesson: of things\n\n**Time:** about 25 minutes to read and 15 to try things out. More."
)


@pytest.fixture
def summary(tmp_path):
    """A run of two lessons that passed."""
    names = ("03_of_things", "04_of_more")
    results = []
    for name in names:
        cells = [nbformat.v4.new_markdown_cell(OPENING.replace("03", name[:2]))]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
        executed = tmp_path / f"{name}.ipynb"
        results.append(NotebookResult(name, "passed", 61.2, 1234.5, (), (), executed))
    return Summary("ci", "phantom", 0, tuple(results))


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "teaching.md").write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    return tmp_path / "docs"


def cells(page):
    """The cells of the table's rows, the heading's left out."""
    lines = [line for line in page.splitlines() if line.startswith("| [")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_committed_page_shows_what_the_committed_json_holds():
    assert (DOCS / "timings.md").read_text() == timings.page(timings.load(DOCS))


def test_the_committed_timetables_are_those_of_the_committed_json():
    page = (DOCS / "teaching.md").read_text()
    assert page == with_timetables(page, timings.load(DOCS))


def test_the_recorded_course_keeps_to_its_budget():
    """15 minutes and 6 GiB in profile ci on the phantom, 2 hours in profile laptop."""
    for profile, limit in (("ci", 15 * 60), ("laptop", 2 * 3600)):
        rows = [row for row in timings.load(DOCS) if row.profile == profile]
        for data in {row.data for row in rows}:
            assert sum(row.seconds for row in rows if row.data == data) <= limit
        if profile == "ci":
            assert all(row.peak_memory < 6 * 1024 for row in rows)


def test_a_run_is_recorded_lesson_by_lesson(summary, docs):
    written = recording.record(summary, docs)
    first, second = timings.load(docs)
    assert (first.notebook, first.title) == ("03_of_things", "03 A lesson: of things")
    assert (first.read, first.try_out, first.seconds, first.peak_memory) == (25, 15, 61.2, 1234.5)
    assert second.notebook == "04_of_more"
    text = written.read_text()
    row = cells(text)[0]
    link = "[03 A lesson: of things](../notebooks/03_of_things.ipynb)"
    assert row[:7] == [link, "25", "15", "61", "1234", "ci", "phantom"]
    assert re.fullmatch(r"\d+ processor cores, \d+ GiB of memory", row[7])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row[8])
    assert text == timings.page(timings.load(docs))
    teaching = (docs / "teaching.md").read_text()
    assert teaching == with_timetables(teaching, timings.load(docs))
    assert "old" not in teaching
    assert (teaching[:8], teaching[-7:]) == ("Before.\n", "After.\n")


def test_a_new_run_takes_the_place_of_its_own_profile_and_data_only(summary, docs):
    recording.record(summary, docs)
    recording.record(replace(summary, profile="laptop"), docs)
    faster = replace(summary.results[0], seconds=30.0)
    recording.record(replace(summary, results=(faster,)), docs)
    assert [(row.profile, row.notebook, row.seconds) for row in timings.load(docs)] == [
        ("ci", "03_of_things", 30.0),
        ("laptop", "03_of_things", 61.2),
        ("laptop", "04_of_more", 61.2),
    ]


def test_nothing_is_recorded_unless_every_notebook_passed(summary, docs):
    failed = replace(summary.results[1], status="failed", problems=("why",))
    with pytest.raises(InputError, match="Nothing was recorded"):
        recording.record(replace(summary, results=(summary.results[0], failed)), docs)
    assert [path.name for path in docs.iterdir()] == ["teaching.md"]
    assert "old" in (docs / "teaching.md").read_text()


def test_data_are_named_by_their_name_and_never_by_their_path(summary, docs, tmp_path):
    made = make_phantom(tmp_path / "somewhere" / "scans", cases=2, seed=0)
    written = recording.record(replace(summary, dataset=str(made.root)), docs)
    assert {row.data for row in timings.load(docs)} == {made.name}
    assert "somewhere" not in written.read_text()


def test_without_a_checkout_there_is_nowhere_to_record(summary, monkeypatch):
    monkeypatch.setattr(recording, "checkout", lambda: None)
    with pytest.raises(InputError, match="no checkout"):
        recording.record(summary)


@pytest.mark.parametrize(
    "opening",
    ["03 without a heading, 5 minutes to read and 5 to try things out", "# 03 without minutes"],
)
def test_a_first_cell_that_does_not_say_its_minutes_is_refused(opening):
    cell = nbformat.v4.new_markdown_cell(opening)
    with pytest.raises(InputError, match="first cell"):
        timings.opening_of({"cells": [cell]})

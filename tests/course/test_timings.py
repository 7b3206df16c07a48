"""Timings come from runs: the page shows what the JSON holds, and nothing else does."""

import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from nnunet_lib.course import timings
from nnunet_lib.course.runner import NotebookResult, Summary
from nnunet_lib.datasets import make_phantom
from nnunet_lib.errors import InputError

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPENING = (
    "# 03 A lesson: of things\n\n**Time:** about 25 minutes to read and 15 to practise. The rest."
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
    return tmp_path / "docs"


def cells(page):
    """The cells of the table's rows, the heading's left out."""
    lines = [line for line in page.splitlines() if line.startswith("| [")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_committed_page_shows_what_the_committed_json_holds():
    assert (DOCS / "timings.md").read_text() == timings.page(timings.load(DOCS))


def test_a_run_is_recorded_lesson_by_lesson(summary, docs):
    written = timings.record(summary, docs)
    first, second = timings.load(docs)
    assert (first.notebook, first.title) == ("03_of_things", "03 A lesson: of things")
    assert (first.read, first.practise, first.seconds, first.peak_memory) == (25, 15, 61.2, 1234.5)
    assert second.notebook == "04_of_more"
    text = written.read_text()
    row = cells(text)[0]
    link = "[03 A lesson: of things](../notebooks/03_of_things.ipynb)"
    assert row[:7] == [link, "25", "15", "61", "1234", "ci", "phantom"]
    assert re.fullmatch(r"\d+ processor cores, \d+ GiB of memory", row[7])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row[8])
    assert text == timings.page(timings.load(docs))


def test_a_new_run_takes_the_place_of_its_own_profile_and_data_only(summary, docs):
    timings.record(summary, docs)
    timings.record(replace(summary, profile="laptop"), docs)
    faster = replace(summary.results[0], seconds=30.0)
    timings.record(replace(summary, results=(faster,)), docs)
    assert [(row.profile, row.notebook, row.seconds) for row in timings.load(docs)] == [
        ("ci", "03_of_things", 30.0),
        ("laptop", "03_of_things", 61.2),
        ("laptop", "04_of_more", 61.2),
    ]


def test_nothing_is_recorded_unless_every_notebook_passed(summary, docs):
    failed = replace(summary.results[1], status="failed", problems=("why",))
    with pytest.raises(InputError, match="Nothing was recorded"):
        timings.record(replace(summary, results=(summary.results[0], failed)), docs)
    assert list(docs.iterdir()) == []


def test_data_are_named_by_their_name_and_never_by_their_path(summary, docs, tmp_path):
    made = make_phantom(tmp_path / "somewhere" / "scans", cases=2, seed=0)
    written = timings.record(replace(summary, dataset=str(made.root)), docs)
    assert {row.data for row in timings.load(docs)} == {made.name}
    assert "somewhere" not in written.read_text()


def test_without_a_checkout_there_is_nowhere_to_record(summary, monkeypatch):
    monkeypatch.setattr(timings, "checkout", lambda: None)
    with pytest.raises(InputError, match="no checkout"):
        timings.record(summary)


@pytest.mark.parametrize(
    "opening", ["03 without a heading, 5 minutes to read and 5 to practise", "# 03 without minutes"]
)
def test_a_first_cell_that_does_not_say_its_minutes_is_refused(opening):
    cell = nbformat.v4.new_markdown_cell(opening)
    with pytest.raises(InputError, match="first cell"):
        timings.opening_of({"cells": [cell]})

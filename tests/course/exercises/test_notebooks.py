"""One source: marks, facts, and the exercise that a solution makes."""

import shutil

import nbformat
import pytest

from nnunet_lib.course.exercises.notebooks import (
    EXERCISE,
    Facts,
    as_text,
    exercise_from,
    facts_of,
    generate,
    marked,
    marked_cells,
    read_notebook,
    solution_of,
    stub_of,
)
from nnunet_lib.errors import InputError


def notebook(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])


def test_facts_are_read_from_the_task(lesson):
    (fact,) = facts_of(lesson)
    assert fact == Facts("77.mean", "1. A mean", "fill in", 5, ("77.1", "77.2"), "addition")


def test_the_two_versions_of_a_cell(lesson):
    assert solution_of(lesson, "77.mean").splitlines() == [
        "# exercise 77.mean",
        "def mean(values):",
        "    return sum(values) / len(values)",
    ]
    assert stub_of(lesson, "77.mean").splitlines()[2:] == [
        "    total = ...  # your code here",
        "    return total / len(values)",
    ]
    with pytest.raises(InputError, match=r"This lesson has 77\.mean"):
        solution_of(lesson, "77.median")


def test_a_lesson_may_be_handed_out_without_its_solutions(lesson, tmp_path):
    folder = tmp_path / lesson.name
    shutil.copytree(lesson, folder)
    (folder / "solution.ipynb").unlink()
    assert facts_of(folder) == facts_of(lesson)
    with pytest.raises(InputError, match="your teacher has kept them"):
        solution_of(folder, "77.mean")


def test_the_exercise_leaves_out_marks_solutions_and_tagged_cells(lesson):
    made = (lesson / "exercise.ipynb").read_text(encoding="utf-8")
    assert made == as_text(exercise_from(read_notebook(lesson / "solution.ipynb")))
    cells = nbformat.reads(made, as_version=4).cells
    assert [cell.id for cell in cells] == ["task", "mean"]
    assert cells[1].source == stub_of(lesson, "77.mean")


def test_a_notebook_that_was_run_is_not_written_over(lesson, tmp_path):
    folder = shutil.copytree(lesson, tmp_path / "77_small")
    answered = read_notebook(folder / EXERCISE)
    answered.cells[1].source, answered.cells[1].execution_count = "mean = max  # mine", 3
    nbformat.write(answered, folder / EXERCISE)
    before = (folder / EXERCISE).read_bytes()
    with pytest.raises(InputError, match=r"exercise.ipynb: has been run"):
        generate([folder])
    assert (folder / EXERCISE).read_bytes() == before
    answered.cells[1].execution_count = None
    nbformat.write(answered, folder / EXERCISE)
    generate([folder])
    assert (folder / EXERCISE).read_bytes() == (lesson / EXERCISE).read_bytes()


@pytest.mark.parametrize(
    "source",
    [
        "# BEGIN SOLUTION\nx = 1",
        "# BEGIN SOLUTION\nx = 1\n# END",
        "# BEGIN STUB\n# x = 1\n# END",
        "# BEGIN SOLUTION\n# BEGIN STUB\n# BEGIN SOLUTION\n# END",
        "# END",
    ],
)
def test_marks_out_of_order_are_refused(source):
    with pytest.raises(InputError, match=r"77\.x: .*(END|BEGIN)"):
        exercise_from(notebook(f"# exercise 77.x\n{source}"))


@pytest.mark.parametrize(
    ("source", "exercise"),
    [
        ("# exercise 01.spacing\nx = 1", "01.spacing"),
        ("\n  # Exercise 01.two-words  \n", "01.two-words"),
        ("x = 1\n# exercise 01.spacing", ""),
        ("# exercise one", ""),
        ("", ""),
    ],
)
def test_the_first_line_marks_a_cell(source, exercise):
    assert marked(source) == exercise


def test_of_two_cells_for_one_exercise_the_last_counts():
    found = marked_cells(notebook("# exercise 77.x\n1", "2", "# exercise 77.x\n3"))
    assert found == {"77.x": "# exercise 77.x\n3"}


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"cells": 3}', "\x00"])
def test_a_file_that_is_no_notebook_is_refused(content, tmp_path):
    path = tmp_path / "strange.ipynb"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="is no notebook"):
        read_notebook(path)
    with pytest.raises(InputError, match="no such file"):
        read_notebook(tmp_path / "none.ipynb")

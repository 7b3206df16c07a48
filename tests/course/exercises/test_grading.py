"""A class's notebooks become a table, whatever is in them."""

import csv

import nbformat
import pytest

from nnunet_lib.cli import main
from nnunet_lib.course.exercises import exercise as exercises
from nnunet_lib.course.exercises import grading
from nnunet_lib.course.exercises.grading import HEADS, Grade, describe_grades, grade, save_grades
from nnunet_lib.course.exercises.worker import Checker
from nnunet_lib.errors import InputError

RIGHT = "# exercise 77.mean\ndef mean(values):\n    return values.mean()"


@pytest.fixture(autouse=True)
def _one_lesson(lesson, monkeypatch):
    monkeypatch.setattr(exercises, "exercises_folder", lambda: lesson.parent)


@pytest.fixture
def classroom(tmp_path):
    """A folder of submissions, and a function that adds a notebook of these cells to it."""
    folder = tmp_path / "class"
    folder.mkdir()

    def add(name, *sources):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    return folder, add


def rows(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_that_cannot_be_written_is_told_before_anything_is_checked(
    classroom, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(grading, "grade", lambda *_: pytest.fail("graded in vain"))
    words = ["grade", "--submissions", str(classroom[0]), "--output", str(tmp_path)]
    assert main(words) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_each_notebook_has_a_line_an_exercise_and_a_broken_one_a_line_too(
    classroom, tmp_path, capsys
):
    folder, add = classroom
    add("ann/exercise.ipynb", "raise SystemExit", RIGHT, "while True: pass")
    add("bob.ipynb", RIGHT.replace("mean()", "sum()"))
    add("cleo.ipynb", "# exercise 77.mean\nwhile True: pass")
    add("dan.ipynb", "print('my notes')")
    add("eve.ipynb", "# exercise 77.median\nx = 1")
    add("finn.ipynb", "# exercise 99.other\nx = 1")
    (folder / "gus.ipynb").write_text("no notebook")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "old.ipynb").write_text("")
    output = tmp_path / "class.csv"
    assert main(["grade", "--submissions", str(folder), "--output", str(output)]) == 0
    table = {row["notebook"]: row for row in rows(output)}
    assert list(rows(output)[0]) == list(HEADS)
    assert len(table) == 7
    assert {name for name, row in table.items() if row["solved"] == "yes"} == {"ann/exercise.ipynb"}
    assert table["bob.ipynb"]["mistake"] == "sum"
    assert "Divide, too." in table["bob.ipynb"]["message"]
    assert "more than 5 seconds" in table["cleo.ipynb"]["message"]
    assert "no cell that begins" in table["dan.ipynb"]["message"]
    assert "No cell begins with the line # exercise 77.mean" in table["eve.ipynb"]["message"]
    told = [row["message"] for row in rows(output) if not row["exercise"]]
    assert "Lesson 77 has no exercise 77.median." in told
    assert "eve.ipynb: 0 of 1 solved" in capsys.readouterr().out
    assert "There is no exercise" in table["finn.ipynb"]["message"]
    assert "is no notebook" in table["gus.ipynb"]["message"]
    assert table["gus.ipynb"]["exercise"] == ""


def test_odd_names_and_odd_messages_lose_no_grade(classroom, tmp_path, capsys):
    """As a file's name in another encoding, or a character that is none."""
    folder, add = classroom
    add("ann.ipynb", RIGHT)
    (folder / "ann.ipynb").rename(folder / "M\udcfcller.ipynb")
    add("bob.ipynb", "# exercise 77.mean\ndef mean(values):\n    raise ValueError('\\ud800 oh')")
    output = tmp_path / "class.csv"
    assert main(["grade", "--submissions", str(folder), "--output", str(output)]) == 0
    assert [row["solved"] for row in rows(output)] == ["yes", "no"]
    assert "M\\udcfcller.ipynb: 1 of 1 solved" in capsys.readouterr().out


def test_a_linked_folder_is_graded_too(classroom, tmp_path):
    folder, add = classroom
    add("ann.ipynb", RIGHT)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "group").symlink_to(folder)
    (one,) = grade(tmp_path / "links")
    assert (one.notebook, one.solved) == ("group/ann.ipynb", True)


@pytest.mark.parametrize("seed", ["-1", "1.5", str(2**32), "x"])
def test_a_seed_that_is_none_is_refused_before_anything_is_checked(classroom, seed, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["grade", "--submissions", str(classroom[0]), "--seed", seed])
    assert ended.value.code == 2
    assert "no whole number from 0" in capsys.readouterr().err


def test_what_cannot_be_judged_takes_no_other_grade_away(classroom, monkeypatch):
    folder, add = classroom
    add("hal.ipynb", "# exercise 99.other\nx = 1", RIGHT)
    solved, unknown = grade(folder)
    assert solved.solved
    assert "There is no exercise" in unknown.message

    def check(*_):
        raise InputError("The checks of 77.mean do not work.")

    monkeypatch.setattr(Checker, "check", check)
    (line,) = (one for one in grade(folder) if one.exercise)
    assert not line.solved
    assert "do not work" in line.message


def test_a_notebook_too_large_to_read_is_told(classroom, monkeypatch):
    folder, add = classroom
    add("ann.ipynb", RIGHT + "  # " + "x" * 2**21)
    monkeypatch.setattr(grading, "_LARGEST_NOTEBOOK", 2**21)
    (one,) = grade(folder)
    assert (one.exercise, one.solved, one.message) == ("", False, "is larger than 2 MiB")


def test_the_summary_has_a_line_a_notebook():
    grades = [
        Grade("a.ipynb", "77.x", solved=True),
        Grade("a.ipynb", "77.y"),
        Grade("b.ipynb", message="is no notebook."),
    ]
    assert describe_grades(grades) == "a.ipynb: 1 of 2 solved\nb.ipynb: is no notebook."


def test_a_class_has_the_same_inputs_each_time(classroom):
    folder, add = classroom
    add("a.ipynb", RIGHT.replace("mean()", "max()"))
    once, again, other = grade(folder), grade(folder), grade(folder, seed=5)
    assert once == again != other


def test_no_cell_is_a_formula(tmp_path):
    save_grades([Grade("=cmd|'/c calc'!A0.ipynb", "77.x", message="@SUM(1)")], tmp_path / "c.csv")
    (row,) = rows(tmp_path / "c.csv")
    assert row["notebook"].startswith("'=")
    assert row["message"] == "'@SUM(1)"


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no notebook"):
        grade(tmp_path)

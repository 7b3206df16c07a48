"""A class's notebooks, checked one after the other, as a table."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from nnunet_lib.course.exercises.exercise import folder_of, load_exercises
from nnunet_lib.course.exercises.notebooks import marked_cells, read_notebook
from nnunet_lib.course.exercises.worker import Checker
from nnunet_lib.errors import InputError
from nnunet_lib.files import replacing

HEADS = ("notebook", "exercise", "solved", "mistake", "message")
_LARGEST_NOTEBOOK = 2**26  # bytes


@dataclass(frozen=True)
class Grade:
    """What came of one exercise in one notebook; without an exercise, of the notebook.

    Attributes:
        notebook: its path within the folder.
        exercise: its id, or nothing where the notebook could not be read.
        solved: whether the check held.
        mistake: the name of what the hint speaks of.
        message: what the learner reads, or why there is nothing to check.
    """

    notebook: str
    exercise: str = ""
    solved: bool = False
    mistake: str = ""
    message: str = ""

    def row(self) -> tuple[str, ...]:
        """Under `HEADS`. No cell is one that a spreadsheet takes for a formula."""
        solved = "yes" if self.solved else "no"
        row = (self.notebook, self.exercise, solved, self.mistake, self.message)
        cells = tuple(map(_printable, row))
        return tuple(f"'{cell}" if cell[:1] in tuple("=+-@\t\r") else cell for cell in cells)


def grade(submissions: Path, seed: int = 0) -> list[Grade]:
    """Check every notebook in a folder and its sub-folders.

    Only marked cells are run, each in a process of its own, within the exercise's limits. An
    exercise of the lesson that is not in the notebook is not solved.

    Raises:
        InputError: if there is no notebook.
    """
    paths = sorted(
        path
        for folder, _, names in os.walk(submissions, followlinks=True)
        for path in map(Path(folder).joinpath, names)
        if path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts and path.is_file()
    )
    if not paths:
        raise InputError(f"{submissions}: there is no notebook (.ipynb) in this folder.")
    grades: list[Grade] = []
    for path in tqdm(paths, desc="grade", unit="notebook"):
        grades += _grades_of(path, str(path.relative_to(submissions)), seed)
    return grades


def save_grades(grades: Sequence[Grade], path: Path) -> None:
    """Write a CSV file, a line a grade."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8-sig", newline="") as stream,  # Excel asks for the mark
    ):
        csv.writer(stream).writerows([HEADS, *(grade.row() for grade in grades)])


def describe_grades(grades: Sequence[Grade]) -> str:
    """How many each notebook has solved, a line a notebook."""
    lines = []
    for notebook in dict.fromkeys(grade.notebook for grade in grades):
        own = [grade for grade in grades if grade.notebook == notebook]
        exercises = [grade for grade in own if grade.exercise]
        solved = f"{sum(g.solved for g in exercises)} of {len(exercises)} solved"
        lines.append(_printable(f"{notebook}: {solved if exercises else own[0].message}"))
    return "\n".join(lines)


def _printable(text: str) -> str:
    """The text with escapes for what no file can hold, as in names from another system."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _grades_of(path: Path, name: str, seed: int) -> list[Grade]:
    """The grades of one notebook, whatever it holds."""
    try:
        if path.stat().st_size > _LARGEST_NOTEBOOK:
            raise InputError(f"is larger than {_LARGEST_NOTEBOOK >> 20} MiB")
        cells = marked_cells(read_notebook(path))
        if not cells:
            raise InputError("has no cell that begins with a line such as # exercise 01.spacing")
        return [
            grade for number in _lessons(cells) for grade in _of_lesson(name, number, cells, seed)
        ]
    except (InputError, OSError) as error:
        return [Grade(name, message=str(error).removeprefix(f"{path}: "))]


def _lessons(cells: dict[str, str]) -> list[str]:
    """The numbers of the lessons that a notebook has exercises of."""
    return sorted({exercise[:2] for exercise in cells})


def _of_lesson(name: str, lesson: str, cells: dict[str, str], seed: int) -> list[Grade]:
    """The grades of one lesson; one line says so if there is no such lesson."""
    try:
        return list(_checked(name, lesson, cells, seed))
    except InputError as error:
        return [Grade(name, message=str(error))]


def _checked(name: str, lesson: str, cells: dict[str, str], seed: int) -> Iterator[Grade]:
    """The grade of each exercise of one lesson."""
    folder = folder_of(lesson)
    with Checker(folder) as checker:
        exercises = load_exercises(folder)
        for other in sorted(set(cells) - set(exercises)):
            if other.startswith(lesson):
                yield Grade(name, message=f"Lesson {lesson} has no exercise {other}.")
        for exercise in exercises:
            if exercise not in cells:
                line = f"# exercise {exercise}"
                yield Grade(name, exercise, message=f"No cell begins with the line {line}.")
                continue
            try:
                verdict = checker.check(exercise, cells[exercise], seed)
            except InputError as error:  # the others count all the same
                yield Grade(name, exercise, message=str(error))
                continue
            message = " ".join(filter(None, (verdict.problem, verdict.hint)))
            yield Grade(name, exercise, verdict.solved, verdict.mistake, message)

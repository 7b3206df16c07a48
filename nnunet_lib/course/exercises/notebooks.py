"""Exercises in notebooks: the cells that are marked, the facts, and exercise from solution.

A learner's code stands in the code cell whose first line is `# exercise 01.millilitres`. The task
above it states the facts in one line:

    **01.millilitres** · fill in · 5 minutes · practises objective 01.2 · needs NumPy

In solution.ipynb a solution is marked, and beside it, commented out, stands what a learner gets:

    # BEGIN SOLUTION
    return voxels.sum() * volume
    # BEGIN STUB
    # return ...  # your code here
    # END

Cells tagged `solution` are left out of the exercise.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from nnunet_lib.errors import InputError
from nnunet_lib.files import write_text

KINDS = ("fill in", "build", "find the bug")
"""In the order in which a lesson gives them."""
SOLUTION, EXERCISE = "solution.ipynb", "exercise.ipynb"
_ONLY_SOLUTION = "solution"  # the tag of cells that an exercise leaves out
_IDENTIFIER = r"\d\d\.[a-z0-9-]+"
_MARK = re.compile(rf"\s*#\s*exercise\s+({_IDENTIFIER})\b", re.IGNORECASE)
_FACTS = re.compile(
    rf"^\*\*({_IDENTIFIER})\*\* · ({'|'.join(KINDS)}) · (\d+) minutes"
    r" · practises objectives? (\d\d\.\d+(?:, \d\d\.\d+)*) · needs (.+)$",
    re.MULTILINE,
)
_TITLE = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Facts:
    """What a task says of itself: `minutes` to take, `objectives` of the lesson, what it needs."""

    exercise: str
    title: str
    kind: str
    minutes: int
    objectives: tuple[str, ...]
    needs: str


def read_notebook(path: Path) -> Any:
    """A notebook of format 4.

    Raises:
        InputError: if the file is none.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except Exception as error:  # nbformat raises whatever a strange file makes of its code
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: is no notebook ({words[:200]}).") from None
    return notebook


def facts_of(folder: Path) -> tuple[Facts, ...]:
    """The facts of a lesson's exercises, in the notebook's order.

    From what learners have: a teacher may hand the exercises out without the solutions.
    """
    cells = read_notebook(folder / EXERCISE).cells
    return tuple(fact for cell in cells for fact in _facts(cell.source))


def _facts(text: str) -> Iterator[Facts]:
    title = _TITLE.search(text)
    for match in _FACTS.finditer(text):
        name, kind, minutes, objectives, needs = match.groups()
        heading = title[1] if title else ""
        yield Facts(name, heading, kind, int(minutes), tuple(objectives.split(", ")), needs)


def marked(source: str) -> str:
    """The exercise that a cell's first line with anything in it names, or nothing."""
    match = _MARK.match(source)
    return match[1] if match else ""


def marked_cells(notebook: Any) -> dict[str, str]:
    """The source of each marked cell, by exercise; of two for one exercise the last counts."""
    sources = (str(cell.source) for cell in notebook.cells if cell.cell_type == "code")
    return {marked(source): source for source in sources if marked(source)}


def solution_of(folder: Path, exercise: str) -> str:
    """The solution's source, without the marks and the stub.

    Raises:
        InputError: if there is no such exercise, or no solutions were handed out.
    """
    if not (folder / SOLUTION).exists():
        raise InputError("The solutions are not here: your teacher has kept them.")
    cells = marked_cells(read_notebook(folder / SOLUTION))
    if exercise not in cells:
        raise InputError(f"There is no exercise {exercise!r}. This lesson has {', '.join(cells)}.")
    return _keep(cells[exercise], solution=True)


def stub_of(folder: Path, exercise: str) -> str:
    """The source that a learner starts from."""
    return _keep(marked_cells(read_notebook(folder / SOLUTION))[exercise], solution=False)


def _keep(source: str, solution: bool) -> str:
    """A cell with only one of its two versions.

    Raises:
        InputError: if its marks are not in order.
    """
    kept, part = [], ""
    for line in source.splitlines():
        mark = line.strip()
        if mark in ("# BEGIN SOLUTION", "# BEGIN STUB", "# END"):
            if (part, mark) not in _NEXT:
                raise InputError(f"{marked(source)}: {mark!r} comes out of order.")
            part = _NEXT[part, mark]
        elif part == "" or (part == "solution" and solution):
            kept.append(line)
        elif part == "stub" and not solution:
            kept.append(re.sub(r"^(\s*)# ?", r"\1", line))
    if part:
        raise InputError(f"{marked(source)}: there is no '# END'.")
    return "\n".join(kept)


_NEXT = {
    ("", "# BEGIN SOLUTION"): "solution",
    ("solution", "# BEGIN STUB"): "stub",
    ("stub", "# END"): "",
}


def exercise_from(solution: Any) -> Any:
    """The exercise's notebook, from the solution's."""
    notebook = deepcopy(solution)
    notebook.cells = [
        cell for cell in notebook.cells if _ONLY_SOLUTION not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = _keep(cell.source, solution=False)
    return notebook


def as_text(notebook: Any) -> str:
    """A notebook as it is stored, byte for byte."""
    return str(nbformat.writes(notebook, indent=1)) + "\n"


def _require_not_run(path: Path) -> None:
    if path.exists() and any(cell.get("execution_count") for cell in read_notebook(path).cells):
        raise InputError(
            f"{path}: has been run, so that it may hold answers. Move or remove it first."
        )


def generate(folders: Sequence[Path]) -> None:
    """Write each folder's exercise.ipynb anew.

    Raises:
        InputError: if one of them was run since, so that it may hold a learner's answers.
    """
    for folder in folders:
        _require_not_run(folder / EXERCISE)
    for folder in folders:
        notebook = exercise_from(read_notebook(folder / SOLUTION))
        write_text(folder / EXERCISE, as_text(notebook))


if __name__ == "__main__":
    try:
        generate([Path(argument) for argument in sys.argv[1:]])
    except InputError as refused:
        raise SystemExit(str(refused)) from None

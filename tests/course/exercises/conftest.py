"""A lesson's folder of one small exercise, and its checker."""

import numpy as np
import pytest

from nnunet_lib.course.exercises import Exercise, Mistake, Property
from nnunet_lib.course.exercises.notebooks import generate
from nnunet_lib.course.exercises.worker import Checker

CHECKS = """
import numpy as np
from nnunet_lib.course.exercises import Exercise, Mistake, Property

def draw(rng):
    print("drawn")  # which is no verdict
    return [{"values": rng.uniform(1, 9, int(rng.integers(3, 9)))} for _ in range(4)]

EXERCISES = {
    "77.mean": Exercise(
        "mean",
        draw,
        lambda values: sum(values.tolist()) / len(values),
        "Add them up, and divide.",
        mistakes=(Mistake("sum", "Divide, too.", gives=lambda values: values.sum()),),
        seconds=5.0,  # enough on a machine that is busy with other things
        memory=2**28,
    )
}
"""
FACTS = "**77.mean** · fill in · 5 minutes · practises objectives 77.1, 77.2 · needs addition"
TASK = f"## 1. A mean\n\n{FACTS}"
SOLUTION = """# exercise 77.mean
def mean(values):
    # BEGIN SOLUTION
    return sum(values) / len(values)
    # BEGIN STUB
    # total = ...  # your code here
    # return total / len(values)
    # END"""


@pytest.fixture(scope="session")
def lesson(tmp_path_factory):
    """The folder of a lesson 77 with one exercise, `77.mean`."""
    import nbformat

    folder = tmp_path_factory.mktemp("exercises") / "77_small"
    folder.mkdir()
    (folder / "checks.py").write_text(CHECKS, encoding="utf-8")
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell(TASK, id="task"),
        v4.new_code_cell(SOLUTION, id="mean"),
        v4.new_markdown_cell("Because.", id="why", metadata={"tags": ["solution"]}),
    ]
    nbformat.write(v4.new_notebook(cells=cells), folder / "solution.ipynb")
    generate([folder])
    return folder


@pytest.fixture(scope="session")
def check(lesson):
    """Check a source as an answer to 77.mean, all of them in one process."""
    with Checker(lesson) as checker:
        yield lambda source, seed=0: checker.check("77.mean", source, seed)


@pytest.fixture
def exercise():
    """The same exercise, with a property, in this process."""
    return Exercise(
        function="mean",
        draw=lambda rng: [{"values": rng.uniform(1, 9, 5)} for _ in range(3)],
        reference=lambda values: np.mean(values),
        hint="",
        properties=(
            Property(
                "it lies between the extremes",
                lambda result, values: values.min() <= result <= values.max(),
                "A mean lies between the smallest and the largest.",
            ),
        ),
        mistakes=(
            Mistake("half", "Half of it.", gives=lambda values: values.mean() / 2),
            Mistake("broken", "It cannot be made here.", gives=lambda values: values.nothing),
            Mistake("index", "Indices begin at 0.", raises="IndexError"),
        ),
    )

"""The exercises of every lesson: what they cover, and that their checks know right from wrong.

Everything is found by itself in `exercises/`; answers.py in a lesson's folder has the answers that
its checks are tried with. One process a lesson runs them all.
"""

import re
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from nnunet_lib.course.exercises.cells import VERDICT_MIME
from nnunet_lib.course.exercises.exercise import folder_of, load_exercises
from nnunet_lib.course.exercises.notebooks import (
    EXERCISE,
    KINDS,
    SOLUTION,
    as_text,
    exercise_from,
    facts_of,
    marked_cells,
    read_notebook,
    solution_of,
    stub_of,
)
from nnunet_lib.course.exercises.values import Tolerance, difference, plain
from nnunet_lib.course.exercises.worker import Checker
from nnunet_lib.course.keeping import WORK_VARIABLE
from nnunet_lib.course.runner import find_kernel

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
FOLDERS = sorted(path.parent for path in (ROOT / "exercises").glob("[0-9][0-9]_*/checks.py"))
WITHOUT = {"00"}  # the quickstart shows what the others teach
SEEDS = (1, 2)
DRAWS = 25
TIMES = 10  # a right answer is right each time, and not by the numbers drawn
_MEAN_DIFFERENCE = 'np.abs(label["affine"] - image["affine"]).mean()'
_DIFFERENCE_OF_SUMS = 'abs(label["affine"].sum() - image["affine"].sum())'
_SECTION = re.compile(r"^# %% (\S+) \| (mistake|right): (.+)$", re.MULTILINE)

each_lesson = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@cache
def answers(folder):
    """(exercise, "mistake" or "right", its name, source) of each section of answers.py."""
    parts = _SECTION.split((folder / "answers.py").read_text(encoding="utf-8"))[1:]
    return [tuple(parts[start : start + 4]) for start in range(0, len(parts), 4)]


@pytest.fixture(scope="module")
def checkers():
    """One process a lesson, started when its first answer comes."""
    open_ones = {}

    def of(folder):
        if folder not in open_ones:
            open_ones[folder] = Checker(folder).__enter__()
        return open_ones[folder]

    yield of
    for checker in open_ones.values():
        checker.__exit__(None, None, None)


# What there is -------------------------------------------------------------------------------


def test_every_lesson_but_the_quickstart_has_exercises():
    there = {folder.name[:2] for folder in FOLDERS}
    lessons = {path.stem[:2] for path in LESSONS} - WITHOUT
    assert there == lessons


@each_lesson
def test_a_folder_has_its_lesson_s_name(folder):
    assert (ROOT / "notebooks" / f"{folder.name}.ipynb").is_file()


@each_lesson
def test_the_exercise_is_what_the_solution_makes(folder):
    made = as_text(exercise_from(read_notebook(folder / SOLUTION)))
    assert (folder / EXERCISE).read_bytes() == made.encode(), "run `make exercises`"


@each_lesson
@pytest.mark.parametrize("name", [EXERCISE, SOLUTION])
def test_the_notebooks_are_stored_clean(folder, name):
    notebook = nbformat.read(folder / name, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (folder / name).read_text(encoding="utf-8") == as_text(notebook)
    assert notebook.metadata.kernelspec.name == "nnunet-course"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", cell.id), f"{cell.id} looks generated"
        assert not set(cell.metadata) - {"tags"}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id


@each_lesson
def test_every_relative_link_leads_somewhere(folder):
    for cell in read_notebook(folder / SOLUTION).cells:
        for link in re.findall(r"\]\(([^)#\s]+)", cell.source):
            assert "://" in link or (folder / link).exists(), link


@each_lesson
def test_no_exercise_shows_a_solution_or_a_mark(folder):
    notebook = read_notebook(folder / EXERCISE)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"# (BEGIN|END)", text)
    for name, source in marked_cells(notebook).items():
        assert source == stub_of(folder, name) != solution_of(folder, name)


@each_lesson
def test_tasks_checks_and_marked_cells_are_of_the_same_exercises_in_one_order(folder):
    names = list(load_exercises(folder))
    notebook = read_notebook(folder / SOLUTION)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert [fact.exercise for fact in facts_of(folder)] == names
    assert list(marked_cells(notebook)) == names
    assert re.findall(r'^check\("(.+)"\)$', code, re.MULTILINE) == names
    assert all(name.startswith(folder.name[:2]) for name in names)


@each_lesson
def test_each_lesson_fills_in_builds_and_finds_a_bug_in_this_order(folder):
    facts = facts_of(folder)
    kinds = [KINDS.index(fact.kind) for fact in facts]
    assert len(facts) >= 3
    assert set(kinds) == {0, 1, 2}
    assert kinds == sorted(kinds)
    assert all(2 <= fact.minutes <= 45 and fact.title and fact.needs for fact in facts)


@each_lesson
def test_every_objective_is_practised(folder):
    opening = read_notebook(ROOT / "notebooks" / f"{folder.name}.ipynb").cells[0].source
    objectives = set(re.findall(r"\*\*(\d\d\.\d+)\*\*", opening))
    practised = {name for fact in facts_of(folder) for name in fact.objectives}
    assert objectives == practised


# What the checks say -------------------------------------------------------------------------


def test_the_checks_of_a_lesson_need_no_more_than_numpy_unless_they_say_so():
    for folder in FOLDERS:
        text = (folder / "checks.py").read_text(encoding="utf-8")
        assert not re.search(r"^import tensorflow|^from tensorflow", text, re.MULTILINE), folder


def cases(choose):
    """A parameter for each exercise's or answer's case, with an id that says which it is."""
    return [
        pytest.param(folder, *case, id=": ".join(case))
        for folder in FOLDERS
        for case in choose(folder)
    ]


@pytest.mark.parametrize(
    ("folder", "name"), cases(lambda folder: [(n,) for n in load_exercises(folder)])
)
def test_every_draw_tells_each_mistake_from_the_right_answer_and_from_the_others(folder, name):
    exercise = load_exercises(folder)[name]
    near = Tolerance(exercise.relative, exercise.absolute)
    mistakes = [mistake for mistake in exercise.mistakes if mistake.gives]
    for seed in range(DRAWS):
        calls = exercise.draw(np.random.default_rng(seed))
        right = [plain(exercise.reference(**inputs)) for inputs in calls]
        given = {m.name: [plain(m.gives(**inputs)) for inputs in calls] for m in mistakes}
        for one, other in combinations({"right": right, **given}.items(), 2):
            pairs = zip(one[1], other[1], strict=True)
            assert any(difference(a, b, near) for a, b in pairs), (seed, one[0], other[0])


@pytest.mark.parametrize(
    ("folder", "name"), cases(lambda folder: [(n,) for n in load_exercises(folder)])
)
def test_the_stub_fails_with_a_hint_and_the_solution_passes(checkers, folder, name):
    stub = checkers(folder).check(name, stub_of(folder, name), seed=0)
    assert not stub.solved
    assert stub.problem
    assert stub.hint
    assert load_exercises(folder)[name].hint
    for seed in range(TIMES):
        solved = checkers(folder).check(name, solution_of(folder, name), seed)
        assert solved.solved, solved.problem


@pytest.mark.parametrize(
    ("folder", "name", "mistake"),
    cases(lambda f: [(name, said) for name, kind, said, _ in answers(f) if kind == "mistake"]),
)
def test_a_plausible_mistake_fails_with_the_hint_that_names_it(checkers, folder, name, mistake):
    (source,) = [s for n, _, said, s in answers(folder) if (n, said) == (name, mistake)]
    for seed in SEEDS:
        verdict = checkers(folder).check(name, source, seed)
        assert not verdict.solved
        assert verdict.mistake == mistake, verdict.problem
        assert verdict.hint


@pytest.mark.parametrize(
    ("folder", "name", "how"),
    cases(lambda f: [(name, said) for name, kind, said, _ in answers(f) if kind == "right"]),
)
def test_a_right_answer_that_is_written_differently_passes(checkers, folder, name, how):
    (source,) = [s for n, _, said, s in answers(folder) if (n, said) == (name, how)]
    for seed in SEEDS:
        verdict = checkers(folder).check(name, source, seed)
        assert verdict.solved, (verdict.problem, verdict.mistake)


SLIPS = (
    ("01.faults", "if path not in files]", "if path not in files][:1]"),
    ("01.faults", 'label["shape"] != image["shape"]', 'label["shape"][0] != image["shape"][0]'),
    ("01.faults", 'np.abs(label["affine"] - image["affine"]).max()', _MEAN_DIFFERENCE),
    ("01.faults", 'np.abs(label["affine"] - image["affine"]).max()', _DIFFERENCE_OF_SUMS),
    ("03.equal", "a.dtype == b.dtype", "a.nbytes == b.nbytes"),
    ("03.shard", "[seed, epoch]", "512 * seed + epoch"),
    ("04.norm", "+ epsilon", "+ 1e-5"),
    ("06.adam", "v = 0.999 * v + 0.001 * gradient**2", "v += (gradient**2 - v) / t"),
    ("06.adam", "0.999 * v + 0.001", "0.99 * v + 0.01"),
    ("06.adam", "0.9 * m + 0.1", "0.95 * m + 0.05"),
    ("06.curve", "> 0.9 * seen", "> 0.6 * seen"),
    ("06.curve", "> 1.05 * held", "> 1.2 * held"),
    ("07.verdict", "np.abs(single - half).max()", "(np.abs(single - half) / np.abs(single)).max()"),
    ("07.verdict", "gap > bound", "gap >= bound"),
    ("07.verdict", "half[0] - half[-1] <= bound", "half[0] - half[-1] < bound"),
    ("08.compare", "change <= bound", "change <= 1e-4"),
    ("08.compare", "change <= bound", "change < bound"),
    ("11.pairs", 'name.endswith(suffix + ".nii.gz")', 're.search(suffix + ".nii.gz$", name)'),
)
"""Where a solution may go wrong in one place: exercise, what it says, and what a slip says."""


@pytest.mark.parametrize(("name", "right", "slip"), SLIPS)
def test_a_slip_in_one_place_of_a_solution_is_noticed(checkers, name, right, slip):
    folder = folder_of(name)
    source = solution_of(folder, name)
    assert source.count(right) == 1
    changed = "import re\n" + source.replace(right, slip)
    for seed in range(DRAWS):
        verdict = checkers(folder).check(name, changed, seed)
        assert not verdict.solved
        assert verdict.findings  # it ran to its end, and gave something else


@each_lesson
def test_there_are_three_mistakes_and_another_right_answer_for_each(folder):
    exercises = load_exercises(folder)
    known = {(name, m.name) for name, e in exercises.items() for m in e.mistakes}
    known |= {(name, p.name) for name, e in exercises.items() for p in e.properties}
    tried = Counter((name, kind) for name, kind, _, _ in answers(folder))
    for name in exercises:
        assert tried[name, "mistake"] >= 3, name
        assert tried[name, "right"] >= 1, name
    wrong = {(name, said) for name, kind, said, _ in answers(folder) if kind == "mistake"}
    mistakes = {(name, m.name) for name, e in exercises.items() for m in e.mistakes}
    assert mistakes <= wrong, "a mistake that no answer makes"
    assert {name for name, _ in wrong} <= exercises.keys()


@pytest.mark.slow
@each_lesson
def test_the_solution_runs_through_papermill_and_solves_everything(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    executed = papermill.execute_notebook(
        str(folder / SOLUTION),
        str(tmp_path / "executed.ipynb"),
        kernel_name=find_kernel(),
        cwd=str(folder),
        progress_bar=False,
    )
    bundles = [o.get("data", {}) for cell in executed.cells for o in cell.get("outputs", ())]
    verdicts = [bundle[VERDICT_MIME] for bundle in bundles if VERDICT_MIME in bundle]
    assert [v["exercise"] for v in verdicts if v["solved"]] == list(load_exercises(folder))

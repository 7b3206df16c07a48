"""What an exercise's notebook calls. Nothing here raises: a learner gets words, not a traceback."""

import secrets
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import ParamSpec

from IPython.core.getipython import get_ipython

from nnunet_lib.course.exercises import records
from nnunet_lib.course.exercises.exercise import find_exercise, folder_of, load_exercises
from nnunet_lib.course.exercises.judging import Verdict
from nnunet_lib.course.exercises.notebooks import SOLUTION, marked, solution_of
from nnunet_lib.course.exercises.worker import Checker
from nnunet_lib.course.output import BROKEN, HELD, NEUTRAL, emit, framed, show_table
from nnunet_lib.errors import InputError

VERDICT_MIME = "application/vnd.nnunet-course.verdict+json"

Parameters = ParamSpec("Parameters")


def _in_words(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Show an error that is for people as a paragraph."""

    @wraps(function)
    def guarded(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> None:
        try:
            function(*arguments, **keywords)
        except (InputError, OSError) as error:
            _show(str(error), BROKEN)

    return guarded


@_in_words
def check(exercise: str, seed: int | None = None) -> None:
    """Check the cell that begins with `# exercise <id>`, as it was last run, and show what holds.

    Args:
        exercise: its id, such as "01.millilitres".
        seed: of the inputs; without one they are others each time.
    """
    folder = folder_of(exercise)
    find_exercise(load_exercises(folder), exercise)
    source = last_run(exercise)
    with Checker(folder) as checker:
        verdict = checker.check(exercise, source, secrets.randbits(32) if seed is None else seed)
    emit(
        {
            VERDICT_MIME: verdict.to_json(),
            "text/plain": as_text(verdict),
            "text/html": as_html(verdict),
        }
    )
    records.note_check(exercise, verdict.solved)


@_in_words
def hint(exercise: str) -> None:
    """Show the second hint."""
    found = find_exercise(load_exercises(folder_of(exercise)), exercise)
    _show(f"Hint for {exercise}: {found.hint}", NEUTRAL)


@_in_words
def solution(exercise: str) -> None:
    """Show a solution."""
    source = solution_of(folder_of(exercise), exercise)
    emit({"text/plain": source, "text/html": f"<pre>{escape(source)}</pre>"})
    records.note_solution_seen(exercise)


@_in_words
def progress() -> None:
    """Show what is solved, over all lessons."""
    show_table(records.HEADS, records.progress_rows())
    _show(records.progress_summary(), NEUTRAL)


def last_run(exercise: str) -> str:
    """The source of the marked cell that this kernel ran last.

    Raises:
        InputError: if none was.
    """
    shell = get_ipython()
    ran = list(shell.history_manager.input_hist_raw) if shell else []
    for source in reversed(ran):
        if marked(source) == exercise:
            return str(source)
    raise InputError(
        f"Run the cell that begins with the line `# exercise {exercise}` first, then check. If the "
        "line is gone, put it back as the cell's first one."
    )


def as_text(verdict: Verdict) -> str:
    """A verdict for a terminal."""
    lines = [_headline(verdict)]
    lines += [f"  {_mark(f.held)} {f.name}" for f in verdict.findings]
    lines += [part for part in _explanation(verdict) if part]
    return "\n".join(lines)


def as_html(verdict: Verdict) -> str:
    """A verdict for a page; what holds is a word too, not a colour alone."""
    items = "".join(f"<li>{_mark(f.held)} {escape(f.name)}</li>" for f in verdict.findings)
    found = f'<ul style="list-style: none">{items}</ul>' if items else ""
    parts = "".join(f"<p>{escape(part)}</p>" for part in _explanation(verdict) if part)
    return framed(
        f"<strong>{escape(_headline(verdict))}</strong>{found}{parts}",
        HELD if verdict.solved else BROKEN,
    )


def _headline(verdict: Verdict) -> str:
    return f"{verdict.exercise} is solved." if verdict.solved else f"{verdict.exercise}: not yet."


def _mark(held: bool) -> str:
    return "✓ holds:" if held else "✗ does not hold:"


def _explanation(verdict: Verdict) -> tuple[str, ...]:
    """The problem, the hint, and where there is more help."""
    if verdict.solved:
        return ()
    name = verdict.exercise
    then = f', then solution("{name}")' if (folder_of(name) / SOLUTION).is_file() else ""
    more = f'More help: hint("{name}"){then}. Change the cell, run it, check.'
    return (verdict.problem, f"Hint: {verdict.hint}" if verdict.hint else "", more)


def _show(text: str, colour: str) -> None:
    emit({"text/plain": text, "text/html": framed(escape(text), colour)})

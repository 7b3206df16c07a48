"""How long the lessons take: what docs/timings.json holds, and docs/timings.md shows.

Nobody edits either by hand: `recording` writes both, and a test holds them together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json

JSON_FILE, PAGE_FILE = "timings.json", "timings.md"
_TITLE = re.compile(r"# (?P<title>.+)")
_MINUTES = re.compile(r"(?P<read>\d+) minutes to read and (?P<try_out>\d+) to try things out")

_INTRODUCTION = """\
# How long the lessons take

Minutes to read and to try things out are the authors' estimates, as each lesson's first cell \
has them; its exercises come on top, and say their own. Seconds and memory were measured: the \
computer's own time for the whole notebook, and the largest sum of resident memory over its \
processes. Pages of memory that two processes share count twice.
"""
_CLOSING = """\
`python -m nnunet_lib course --record` writes this page and `timings.json` when every lesson has \
passed. Neither is edited by hand.
"""
_HEADS = (
    "lesson",
    "minutes to read",
    "minutes to try things out",
    "seconds",
    "peak memory (MiB)",
    "profile",
    "data",
    "machine",
    "date",
)
_NOTHING = "Nothing has been recorded yet.\n"


@dataclass(frozen=True)
class Timing:
    """One lesson's row.

    Attributes:
        notebook: its file name, without the ending.
        title: its first line.
        read: minutes, as its first cell says.
        try_out: minutes, as its first cell says; without those of its exercises.
        seconds: measured, the kernel's start included.
        peak_memory: MiB, over all processes of its kernel.
        profile: ci, laptop or gpu.
        data: "phantom", or the dataset's name.
        machine: cores and memory, in words.
        date: of the run, year first.
    """

    notebook: str
    title: str
    read: int
    try_out: int
    seconds: float
    peak_memory: float
    profile: str
    data: str
    machine: str
    date: str


def opening_of(notebook: Mapping[str, Any]) -> tuple[str, int, int]:
    """A lesson's title, and its minutes to read and to try things out, from its first cell.

    Raises:
        InputError: if the cell does not say them.
    """
    opening = "".join(notebook["cells"][0]["source"])
    title, minutes = _TITLE.match(opening), _MINUTES.search(opening)
    if title is None or minutes is None:
        raise InputError(
            "A lesson's first cell begins with its title, and says how long it takes: "
            '"... 20 minutes to read and 10 to try things out".'
        )
    return title["title"].strip(), int(minutes["read"]), int(minutes["try_out"])


def load(folder: Path) -> tuple[Timing, ...]:
    """The rows of timings.json; none if there is no such file.

    Raises:
        InputError: if it holds something else.
    """
    path = folder / JSON_FILE
    if not path.exists():
        return ()
    try:
        return tuple(Timing(**row) for row in read_json(path))
    except TypeError as error:
        raise InputError(f"{path}: is not what `course --record` writes ({error}).") from None


def page(rows: Sequence[Timing]) -> str:
    """timings.md for these rows."""
    table = "\n".join([_line(_HEADS), _line(["---"] * len(_HEADS)), *map(_row, rows)]) + "\n"
    return "\n".join([_INTRODUCTION, table if rows else _NOTHING, _CLOSING])


def _row(row: Timing) -> str:
    return _line(
        (
            f"[{row.title}](../notebooks/{row.notebook}.ipynb)",
            str(row.read),
            str(row.try_out),
            f"{row.seconds:.0f}",
            f"{row.peak_memory:.0f}",
            row.profile,
            row.data,
            row.machine,
            row.date,
        )
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""How long the lessons take: measured by the runner, written down where it is asked to record.

docs/timings.json holds the numbers and docs/timings.md shows them. Nobody edits either by hand:
the page is made from the JSON, and a test holds them together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
import psutil

from nnunet_lib.course.datasets import PHANTOM, find_dataset
from nnunet_lib.course.keeping import checkout
from nnunet_lib.course.runner import Summary
from nnunet_lib.datasets import Dataset
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, replacing, write_json
from nnunet_lib.parallel import cores

JSON_FILE, PAGE_FILE = "timings.json", "timings.md"
_TITLE = re.compile(r"# (?P<title>.+)")
_MINUTES = re.compile(r"(?P<read>\d+) minutes to read and (?P<practise>\d+) (minutes )?to practise")
_GIBIBYTE = 2**30

_INTRODUCTION = """\
# How long the lessons take

Minutes to read and to practise are the authors' estimates, as each lesson's first cell has them. \
Seconds and memory were measured: the computer's own time for the whole notebook, and the largest \
sum of resident memory over its processes. Pages of memory that two processes share count twice.
"""
_CLOSING = """\
`python -m nnunet_lib course --record` writes this page and `timings.json` when every lesson has \
passed. Neither is edited by hand.
"""
_HEADS = (
    "lesson",
    "minutes to read",
    "minutes to practise",
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
        practise: minutes, as its first cell says.
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
    practise: int
    seconds: float
    peak_memory: float
    profile: str
    data: str
    machine: str
    date: str


def opening_of(notebook: Mapping[str, Any]) -> tuple[str, int, int]:
    """A lesson's title, and its minutes to read and to practise, from its first cell.

    Raises:
        InputError: if the cell does not say them.
    """
    opening = "".join(notebook["cells"][0]["source"])
    title, minutes = _TITLE.match(opening), _MINUTES.search(opening)
    if title is None or minutes is None:
        raise InputError(
            "A lesson's first cell begins with its title, and says how long it takes: "
            '"... 20 minutes to read and 10 to practise".'
        )
    return title["title"].strip(), int(minutes["read"]), int(minutes["practise"])


def record(summary: Summary, folder: Path | None = None) -> Path:
    """Write what a run measured in place of earlier rows of its profile and data; return the page.

    Args:
        summary: a run of the whole course.
        folder: where timings.json and timings.md lie; the checkout's docs/ if not given.

    Raises:
        InputError: if a notebook failed, or there is no checkout to write to.
    """
    if not summary.passed:
        raise InputError("Nothing was recorded: every lesson has to pass first.")
    folder = folder or _documentation()
    new = _timings(summary)
    run = {(row.profile, row.data) for row in new}
    old = [row for row in load(folder) if (row.profile, row.data) not in run]
    rows = sorted([*old, *new], key=lambda row: (row.profile, row.data, row.notebook))
    write_json(folder / JSON_FILE, [asdict(row) for row in rows])
    with replacing(folder / PAGE_FILE) as temporary:
        temporary.write_text(page(rows), encoding="utf-8")
    return folder / PAGE_FILE


def load(folder: Path) -> tuple[Timing, ...]:
    """The rows of timings.json; none if there is no such file."""
    path = folder / JSON_FILE
    if not path.exists():
        return ()
    return tuple(Timing(**row) for row in read_json(path))


def page(rows: Sequence[Timing]) -> str:
    """timings.md for these rows."""
    table = "\n".join([_line(_HEADS), _line(["---"] * len(_HEADS)), *map(_row, rows)]) + "\n"
    return "\n".join([_INTRODUCTION, table if rows else _NOTHING, _CLOSING])


def _timings(summary: Summary) -> list[Timing]:
    data = summary.dataset
    if data != PHANTOM:
        data = Dataset.open(find_dataset(data)).name  # its path would say nothing to others
    rows = []
    for result in summary.results:
        title, read, practise = opening_of(nbformat.read(result.executed, as_version=4))
        rows.append(
            Timing(
                notebook=result.notebook,
                title=title,
                read=read,
                practise=practise,
                seconds=result.seconds,
                peak_memory=result.peak_memory,
                profile=summary.profile,
                data=data,
                machine=_machine(),
                date=date.today().isoformat(),
            )
        )
    return rows


def _documentation() -> Path:
    """The checkout's docs/."""
    place = checkout()
    if place is None:
        raise InputError("There is no checkout to record into: the library is installed.")
    return place / "docs"


def _machine() -> str:
    """In general words: what a reader can compare with."""
    memory = round(psutil.virtual_memory().total / _GIBIBYTE)
    return f"{cores()} processor cores, {memory} GiB of memory"


def _row(row: Timing) -> str:
    return _line(
        (
            f"[{row.title}](../notebooks/{row.notebook}.ipynb)",
            str(row.read),
            str(row.practise),
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

"""Writes down how long the lessons took: timings.json, its page, and the timetables made of it."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import nbformat
import psutil

from nnunet_lib.course.datasets import PHANTOM, find_dataset
from nnunet_lib.course.keeping import checkout
from nnunet_lib.course.runner import Summary
from nnunet_lib.course.timetables import with_timetables
from nnunet_lib.course.timings import JSON_FILE, PAGE_FILE, Timing, load, opening_of, page
from nnunet_lib.datasets import Dataset
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json, write_text
from nnunet_lib.parallel import cores

TEACHING_FILE = "teaching.md"
_GIBIBYTE = 2**30


def record(summary: Summary, folder: Path | None = None) -> Path:
    """Write what a run measured in place of earlier rows of its profile and data.

    Args:
        summary: a run of the whole course.
        folder: where the three files lie; the checkout's docs/ if not given.

    Returns:
        The page of times.

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
    teaching = (folder / TEACHING_FILE).read_text(encoding="utf-8")
    timetables, times = with_timetables(teaching, rows), page(rows)  # before anything is written
    write_json(folder / JSON_FILE, [asdict(row) for row in rows])
    write_text(folder / PAGE_FILE, times)
    write_text(folder / TEACHING_FILE, timetables)
    return folder / PAGE_FILE


def _timings(summary: Summary) -> list[Timing]:
    data = summary.dataset
    if data != PHANTOM:
        data = Dataset.open(find_dataset(data)).name  # its path would say nothing to others
    rows = []
    for result in summary.results:
        title, read, try_out = opening_of(nbformat.read(result.executed, as_version=4))
        rows.append(
            Timing(
                notebook=result.notebook,
                title=title,
                read=read,
                try_out=try_out,
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

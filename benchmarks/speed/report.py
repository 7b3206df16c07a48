"""From what was measured to RESULTS.md, and to the question whether anything got worse."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import psutil

from benchmarks.speed.pairs import Measured
from benchmarks.speed.rows import Goal, Row

NOISE = 0.25
"""A figure may be worse than the last run's by this share before it counts as a drop: runs of one
commit on one machine differed by up to so much."""
Figures = Mapping[str, Mapping[str, float]]


def figures_of(row: Row, result: Mapping[str, Measured]) -> dict[str, float]:
    """The row's figures, by the text of their goal."""
    return {goal.text: goal.value(result) for goal in row.goals}


def drops(figures: Figures, last: Figures) -> Iterator[str]:
    """One sentence for each figure that is worse than the last run's, beyond noise."""
    for name, row in figures.items():
        for text, value in row.items():
            before = last.get(name, {}).get(text)
            if before is not None and value > before * (1 + NOISE):
                yield f"{name}: {text} is {value:.3g}, and was {before:.3g}."


def as_json(row: Row, result: Mapping[str, Measured]) -> dict[str, Any]:
    """Everything that was measured in one row."""
    sides = {name: asdict(measured) for name, measured in result.items()}
    return {"figures": figures_of(row, result), "sides": sides}


def from_json(value: Mapping[str, Any]) -> dict[str, Measured]:
    """The sides of a row, as `as_json` wrote them."""
    return {
        name: Measured(tuple(side["seconds"]), side["bytes"], side["note"])
        for name, side in value["sides"].items()
    }


def machine() -> str:
    """Processor, cores and memory."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    memory = psutil.virtual_memory().total / 2**30
    processor = names[0] if names else platform.processor()
    return f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB of memory"


def page(rows: Sequence[Row], values: Mapping[str, Any], last: Figures, about: str) -> str:
    """RESULTS.md: the figures first, then what they were made from."""
    shown = [row for row in rows if row.name in values["rows"]]
    results = {row.name: from_json(values["rows"][row.name]) for row in shown}
    figures = [
        line for row in shown for line in _figure_rows(row, results[row.name], last.get(row.name))
    ]
    times = [
        f"| {row.name} | {name} | {_seconds(one.median)} | {one.spread:.0%} | "
        f"{len(one.seconds)} | {one.bytes / 2**20:.0f} | {one.note} |"
        for row in shown
        for name, one in results[row.name].items()
    ]
    return "\n".join(
        [
            "# Side by side with others",
            "",
            "Written by `make bench`, never by hand. Every row does the same work with each "
            "library, on seeded data, two threads each; the processes are alive together and take "
            "turns. A ratio below 1 says that this library needs less.",
            "",
            about,
            "",
            "| row | figure | value | last run | goal | |",
            "| --- | --- | --- | --- | --- | --- |",
            *figures,
            "",
            "## The work of each row",
            "",
            *(f"- **{row.name}**: {row.title}." for row in shown),
            "",
            "## What the figures were made from",
            "",
            "Growth is the largest growth of the process's resident memory during a turn, and "
            "spread half the distance between the quartiles.",
            "",
            "| row | side | median | spread | turns | growth (MiB) | note |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *times,
            "",
        ]
    )


def _figure_rows(
    row: Row, result: Mapping[str, Measured], last: Mapping[str, float] | None
) -> Iterator[str]:
    for goal in row.goals:
        value, before = goal.value(result), (last or {}).get(goal.text)
        earlier = "" if before is None else f"{before:.3g}"
        limit = "" if goal.limit is None else f"≤ {goal.limit:.2g}"
        cells = (row.name, goal.text, f"{value:.3g}", earlier, limit, _outcome(goal, value))
        yield f"| {' | '.join(cells)} |"


def _outcome(goal: Goal, value: float) -> str:
    if goal.limit is None:
        return ""
    return "met" if value <= goal.limit else f"**missed**. {goal.reason}".strip()


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"

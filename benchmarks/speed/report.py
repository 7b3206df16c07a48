"""From what was measured to RESULTS.md, and to the question whether anything got worse."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.speed.pairs import Measured
from benchmarks.speed.rows import Goal, Row, exponent

NOISE = 0.25
"""A figure may be worse than the last run's by this share before it counts as a drop; one near zero
by what its goal says. Ratios of one commit on one machine differed by up to so much."""
Figures = Mapping[str, Mapping[str, float]]


def figures_of(row: Row, result: Mapping[str, Measured]) -> dict[str, float]:
    """The row's figures, by the text of their goal."""
    return {goal.text: goal.value(result) for goal in row.goals}


def drops(rows: Sequence[Row], figures: Figures, last: Figures) -> Iterator[str]:
    """One sentence for each figure with a goal that is worse than the last run's, beyond noise."""
    for row in rows:
        for goal in row.goals if row.name in figures else ():
            value = figures[row.name][goal.text]
            before = last.get(row.name, {}).get(goal.text)
            if goal.limit is None or before is None:
                continue
            if goal.got_worse(before, value, NOISE):
                yield f"{row.name}: {goal.text} is {value:.3g}, and was {before:.3g}."


def as_json(
    row: Row, result: Mapping[str, Measured], date: str, last: Mapping[str, float]
) -> dict[str, Any]:
    """Everything that was measured in one row, when, and the figures of the run before."""
    sides = {name: asdict(measured) for name, measured in result.items()}
    figures = figures_of(row, result)
    return {"date": date, "figures": figures, "last": dict(last), "sides": sides}


def from_json(value: Mapping[str, Any]) -> dict[str, Measured]:
    """The sides of a row, as `as_json` wrote them."""
    return {
        name: Measured(tuple(side["seconds"]), side["bytes"], side["note"])
        for name, side in value["sides"].items()
    }


FIGURE = "growth.png"
_FIGURES = ("row", "figure", "value", "last run", "goal", "")
_SIDES = ("row", "side", "median", "spread", "turns", "growth (MiB)", "note")
_HEAD = """# Side by side with others

Written by `make bench`, never by hand. Every row does the same work with each library, on seeded
data, on the same two cores; the processes are alive together and take turns in drawn order. A ratio
of times below 1 says that this library needs less. A figure with a goal that gets worse by more
than {noise:.0%} against the last committed run of the same machine fails the command: single runs
differed by up to so much. Figures near zero have a margin of their own. Whether results agree
stands at the end; `make bench-accuracy` compares what is learned in the same time.

{about}

## Fast
"""
_GROWTH = """## How cost grows

The law c · size^k that fits the medians best: with k = 1 cost grows with the work, with k = 0 not
at all.

![{alt_text}]({figure})
"""
_SOURCES = """## What the figures were made from

Growth is how far the process's resident memory was at most above what it was before its first turn,
and with ranks all that the largest of them held; spread is half the distance between the quartiles.
"""


def page(rows: Sequence[Row], values: Mapping[str, Any], about: str) -> str:
    """RESULTS.md: the figures first, then what they were made from."""
    shown = [row for row in rows if row.name in values["rows"]]
    results = {row.name: from_json(values["rows"][row.name]) for row in shown}
    last = {row.name: values["rows"][row.name].get("last", {}) for row in shown}
    growing = [row for row in shown if row.growth]
    pairs = [row for row in shown if not row.growth]
    parts = [
        _HEAD.format(noise=NOISE, about=about),
        _table(_FIGURES, _figures(pairs, results, last)),
        _GROWTH.format(alt_text=alt_text(growing, results), figure=FIGURE) if growing else "",
        _table(_FIGURES, _figures(growing, results, last)) if growing else "",
        "## The work of each row\n",
        "\n".join(f"- **{row.name}**: {row.title}." for row in shown) + "\n",
        _SOURCES,
        _table(_SIDES, _sides(results)),
    ]
    return "\n".join(part for part in parts if part)


def alt_text(rows: Sequence[Row], results: Mapping[str, Mapping[str, Measured]]) -> str:
    """What the figure of growth shows, in words."""
    said = [
        f"{row.title}: " + "; ".join(f"{text} = {value:.2g}" for text, value in laws)
        for row in rows
        if (laws := figures_of(row, results[row.name]).items())
    ]
    return "Time and memory against size, on logarithmic axes. " + ". ".join(said) + "."


def draw(rows: Sequence[Row], results: Mapping[str, Mapping[str, Measured]]) -> Figure:
    """A column a row: time above, memory below, what was measured and the fitted law."""
    figure = Figure(figsize=(3.2 * len(rows), 5), layout="constrained")
    panels = figure.subplots(2, len(rows), squeeze=False)
    for column, row in enumerate(rows):
        assert row.growth is not None
        sides = list(results[row.name].values())[: len(row.growth.sizes)]
        costs = ("s", [one.median for one in sides]), ("MiB", [one.bytes / 2**20 for one in sides])
        for axes, (unit, cost) in zip(panels[:, column], costs, strict=True):
            _draw_law(axes, row.growth.sizes, cost)
            axes.set(xlabel=row.growth.over, ylabel=unit)
        panels[0, column].set_title(row.name)
    return figure


def _draw_law(axes: Any, sizes: Sequence[float], costs: Sequence[float]) -> None:
    power = exponent(costs, sizes)
    factor = np.exp(np.mean(np.log(costs) - power * np.log(sizes)))
    axes.loglog(sizes, costs, "o", color="#0072B2")
    axes.loglog(
        sizes, factor * np.array(sizes) ** power, "-", color="#D55E00", label=f"k = {power:.2f}"
    )
    axes.minorticks_off()
    ends = slice(None, None, len(sizes) - 1)  # the first and the last
    axes.set_xticks(sizes[ends], [f"{size:,.0f}" for size in sizes[ends]])
    told = costs[ends] if max(costs) > 1.1 * min(costs) else costs[-1:]  # else they would overlap
    axes.set_yticks(told, [f"{cost:,.4g}" for cost in told])
    axes.set_ylim(min(costs) / 2, 2 * max(costs))  # so that what hardly grows looks like it
    axes.grid(alpha=0.3)
    axes.legend()


def _figures(
    rows: Sequence[Row], results: Mapping[str, Mapping[str, Measured]], last: Figures
) -> Iterator[Sequence[str]]:
    for row in rows:
        for goal in row.goals:
            value, before = goal.value(results[row.name]), last.get(row.name, {}).get(goal.text)
            earlier = "" if before is None else f"{before:.3g}"
            yield row.name, goal.text, f"{value:.3g}", earlier, _limit(goal), _outcome(goal, value)


def _sides(results: Mapping[str, Mapping[str, Measured]]) -> Iterator[Sequence[str]]:
    for row, sides in results.items():
        for name, one in sides.items():
            grown, turns = f"{one.bytes / 2**20:.0f}", str(len(one.seconds))
            yield row, name, _seconds(one.median), f"{one.spread:.0%}", turns, grown, one.note


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _limit(goal: Goal) -> str:
    return "" if goal.limit is None else f"{'≥' if goal.at_least else '≤'} {goal.limit:.2g}"


def _outcome(goal: Goal, value: float) -> str:
    if goal.limit is None:
        return ""
    return "met" if goal.is_met_by(value) else f"**missed**. {goal.reason}".strip()


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"

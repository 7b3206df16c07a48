"""From what was measured to RESULTS.md, and to the question whether anything got worse."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from benchmarks.speed.pairs import Measured
from benchmarks.speed.rows import Goal, Result, Row, exponent

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


@dataclass(frozen=True)
class Run:
    """What was measured on one machine.

    Attributes:
        machine: its name.
        about: the machine, the versions and the days.
        rows: what the sides of each row needed.
        figures: what was made of that, on the day and with the code of the day.
        last: the figures of the committed run before, by row.
    """

    machine: str
    about: str
    rows: Mapping[str, Result]
    figures: Figures
    last: Figures


def from_json(machine: str, about: str, rows: Mapping[str, Any]) -> Run:
    """The run of a machine, from its rows as `as_json` wrote them."""
    sides = {name: _sides_from_json(row["sides"]) for name, row in rows.items()}
    figures, last = ({name: row[key] for name, row in rows.items()} for key in ("figures", "last"))
    return Run(machine, about, sides, figures, last)


def _sides_from_json(sides: Mapping[str, Any]) -> dict[str, Measured]:
    return {
        name: Measured(tuple(side["seconds"]), side["bytes"], side["note"])
        for name, side in sides.items()
    }


FIGURE = "growth.png"
_SIDES = ("row", "side", "median", "spread", "turns", "growth (MiB)", "note")
_HEAD = """# Side by side with others

Written by `make bench`, never by hand. Every row does the same work with each library, or what
comes nearest, as the row says: on seeded data, on the same two cores; the processes are alive
together and take turns in drawn order. A ratio of times below 1 says that this library needs less.
Each machine has a column, measured with the code of its day, and in brackets stands what its last
committed run found. Figures from before a row measured what it does now are left out, and stay in
results.json. A figure with a goal that gets worse by more than {noise:.0%} against the last one
fails the command: single runs differed by up to so much. Figures near zero have a margin of their
own. Whether results agree stands at the end; `make bench-accuracy` compares what is learned in the
same time.

{about}

## Fast
"""
_REASONS = """Why goals are missed:

{reasons}
"""
_GROWTH = """## How cost grows

The law c · size^k that fits best, with k of at least 0: of time to the medians, of memory to the
largest growth. With k = 1 cost grows with the work, with k = 0 not at all.

![{alt_text}]({figure})
"""
_SOURCES = """## What the figures were made from

Growth is how far the process's resident memory was at most above what it was before its first turn,
and with ranks all that the largest of them held; spread is half the distance between the quartiles,
or of the extremes of up to three turns.
"""


def page(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """RESULTS.md: the figures first, then what they were made from."""
    shown = [row for row in rows if any(row.name in run.rows for run in runs)]
    growing = [row for row in shown if row.growth]
    pairs = [row for row in shown if not row.growth]
    parts = [
        _HEAD.format(noise=NOISE, about=_who_is_who(runs)),
        _figures_table(pairs, runs),
        _GROWTH.format(alt_text=alt_text(growing, runs), figure=FIGURE) if growing else "",
        _figures_table(growing, runs) if growing else "",
        "## The work of each row\n",
        "\n".join(f"- **{row.name}**: {row.title}." for row in shown) + "\n",
        _SOURCES,
        *(
            f"### {_short(number).capitalize()}: {run.machine}\n\n"
            + _table(_SIDES, _sides(shown, run))
            for number, run in enumerate(runs)
        ),
    ]
    return "\n".join(part for part in parts if part)


def _who_is_who(runs: Sequence[Run]) -> str:
    """What stands behind the short names of the columns."""
    return "\n".join(f"- **{_short(number)}**: {run.about}" for number, run in enumerate(runs))


def _short(number: int) -> str:
    return f"machine {number + 1}"


def alt_text(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """What the figure of growth shows, in words."""
    said = []
    for row, (number, run) in product(rows, enumerate(runs)):
        if laws := run.figures.get(row.name, {}):
            told = "; ".join(f"{text} = {value:.2g}" for text, value in laws.items())
            said.append(f"{row.title}, {_short(number)}: {told}")
    return "Time and memory against size, on logarithmic axes. " + ". ".join(said) + "."


def draw(rows: Sequence[Row], runs: Sequence[Run]) -> Figure:
    """A column a row: time above, memory below, what was measured and the fitted laws."""
    shown = [number for number, run in enumerate(runs) if any(row.name in run.rows for row in rows)]
    figure = Figure(figsize=(3.2 * len(rows), 6.5), layout="constrained")
    panels = figure.subplots(2, len(rows), squeeze=False)
    for column, row in zip(panels.T, rows, strict=True):
        _draw_row(column, row, runs)
    handles = [Line2D([], [], color=f"C{number}", marker="o") for number in shown]
    names = [_short(number) for number in shown]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def _draw_row(panels: Sequence[Any], row: Row, runs: Sequence[Run]) -> None:
    """The two panels of a row."""
    assert row.growth is not None
    sizes = row.growth.sizes
    for index, run in enumerate(runs):
        sides = list(run.rows.get(row.name, {}).values())[: len(sizes)]
        if sides:
            _draw_law(panels[0], sizes, [one.median for one in sides], f"C{index}")
            _draw_law(panels[1], sizes, [one.growth for one in sides], f"C{index}")
    for axes, unit in zip(panels, ("s", "MiB"), strict=True):
        axes.set(xlabel=row.growth.over, ylabel=unit)
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda cost, _: f"{cost:,.4g}")
        axes.set_xticks(ends := sizes[:: len(sizes) - 1], [f"{size:,.0f}" for size in ends])
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", handlelength=1, labelspacing=0.15, frameon=False)
    panels[0].set_title(row.name)


def _draw_law(axes: Any, sizes: Sequence[float], costs: Sequence[float], colour: str) -> None:
    power = exponent(costs, sizes)
    factor = np.exp(np.mean(np.log(costs) - power * np.log(sizes)))
    axes.loglog(sizes, costs, "o", color=colour)
    fitted = factor * np.array(sizes) ** power
    axes.loglog(sizes, fitted, "-", color=colour, label=f"k = {power:.2f}")
    lowest, highest = axes.get_ylim()  # so that what hardly grows looks like it:
    axes.set_ylim(min(lowest, min(costs) / 2), max(highest, 2 * max(costs)))


def _figures_table(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """A line a figure and a column a machine, and below why goals are missed."""
    head = ("row", "figure", "goal", *map(_short, range(len(runs))))
    goals = [(row, goal) for row in rows for goal in row.goals]
    lines = [
        (row.name, goal.text, _limit(goal), *(_outcome(row, goal, run) for run in runs))
        for row, goal in goals
    ]
    missed = [
        f"- **{row.name}**, {goal.text}: {goal.reason}."
        for row, goal in goals
        if goal.reason and any(_is_missed(row, goal, run) for run in runs)
    ]
    reasons = _REASONS.format(reasons="\n".join(missed)) if missed else ""
    return "\n".join(part for part in (_table(head, lines), reasons) if part)


def _is_missed(row: Row, goal: Goal, run: Run) -> bool:
    value = run.figures.get(row.name, {}).get(goal.text)
    return value is not None and not goal.is_met_by(value)


def _outcome(row: Row, goal: Goal, run: Run) -> str:
    """The figure, the one before in brackets, and whether it meets its goal."""
    value = run.figures.get(row.name, {}).get(goal.text)
    if value is None:
        return ""
    before = run.last[row.name].get(goal.text)
    text = f"{value:.3g}"
    text += "" if before is None else f" ({before:.3g})"
    if goal.limit is None:
        return text
    return f"{text}: **missed**" if _is_missed(row, goal, run) else f"{text}: met"


def _sides(rows: Sequence[Row], run: Run) -> Iterator[Sequence[str]]:
    for row in rows:
        for name, one in run.rows.get(row.name, {}).items():
            grown, turns = f"{one.bytes / 2**20:.0f}", str(len(one.seconds))
            spread = f"{one.spread:.0%}" if len(one.seconds) > 1 else ""
            yield row.name, name, _seconds(one.median), spread, turns, grown, one.note


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    inside = [[cell.replace("|", r"\|") for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in inside) + "\n"


def _limit(goal: Goal) -> str:
    return "" if goal.limit is None else f"{'≥' if goal.at_least else '≤'} {goal.limit:.2g}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"

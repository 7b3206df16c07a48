"""The pictures of lesson 09."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, VERMILION, new_figure
from nnunet_lib.course.lessons.multi_gpu import (
    PUBLISHED,
    PUBLISHED_GPUS,
    Cost,
    Ring,
    ring_all_reduce,
    speed_up,
)

_COLOURS = (BLUE, ORANGE, GREEN)
_MARKERS = ("o", "s", "^")


def ring_figure(size: int) -> Figure:
    """How many ranks' numbers each chunk holds, step by step, and what has just arrived."""
    ring = ring_all_reduce([np.ones(size)] * size)
    figure, axes = new_figure(2, size, (2.2, 2.4))
    panels = axes.ravel()
    for panel, step in zip(panels, range(len(ring.history)), strict=False):
        _draw_holdings(panel, ring, step, size)
    panels[-1].set_visible(False)
    figure.supxlabel("chunk of the tensor")
    figure.supylabel("rank")
    return figure


def _draw_holdings(panel: Axes, ring: Ring, step: int, size: int) -> None:
    """One step: a row a rank, a column a chunk, shaded by the number of summands."""
    held = _counts(ring, step)
    panel.imshow(held, cmap="Blues", vmin=0, vmax=1.4 * size)
    for (rank, chunk), count in np.ndenumerate(held):
        full = count == size
        panel.text(
            chunk, rank, f"{count:g}", ha="center", va="center", weight="bold" if full else None
        )
    for rank, chunk in _arrived(step, size):
        corner = (chunk - 0.45, rank - 0.45)
        panel.add_patch(Rectangle(corner, 0.9, 0.9, fill=False, edgecolor=VERMILION, linewidth=2))
    name = "add" if step < size else "hand round"
    panel.set(title=f"step {step}: {name}" if step else "at first")
    panel.set(xticks=range(size), yticks=range(size))


def _counts(ring: Ring, step: int) -> np.ndarray:
    """Summands in each chunk after a step of a ring of ones: (rank, chunk)."""
    return np.array([[chunk.sum() for chunk in chunks] for chunks in ring.history[step]])


def _arrived(step: int, size: int) -> list[tuple[int, int]]:
    """(rank, chunk) of what the step has brought: a chunk from the rank before."""
    if step == 0:
        return []
    first = 1 - step if step < size else size - step + 1
    return [((rank + 1) % size, (rank + first) % size) for rank in range(size)]


def rates_figure(
    progress: Sequence[float],
    factors: Mapping[int, Sequence[float]],
    rates: Sequence[float],
    errors: Mapping[str, Sequence[float]],
) -> Figure:
    """Left, the learning rate during training; right, how far the rule can be trusted.

    Args:
        progress: shares of training passed.
        factors: for each number of ranks, the rate at each of these, as a multiple of the base.
        rates: learning rates of one rank.
        errors: for each way of choosing the rate, the relative difference at each of these.
    """
    figure, axes = new_figure(1, 2, (4.6, 3.4))
    left, right = axes[0]
    for (size, values), colour in zip(factors.items(), _COLOURS, strict=False):
        left.plot(progress, values, color=colour)
        middle = len(progress) // 3
        offset = (0, -14) if size == 1 else (4, 4)  # below the lowest line, above the others
        text = f"{size} rank{'s' * (size > 1)}"
        left.annotate(text, (progress[middle], values[middle]), offset, textcoords="offset points")
    left.set(xlabel="share of training passed", ylabel="learning rate ÷ base rate")
    left.margins(y=0.1)
    lines = zip(errors.items(), _COLOURS, _MARKERS, strict=False)
    for (name, values), colour, marker in lines:
        right.loglog(rates, values, color=colour, marker=marker, label=name)
    right.set(xlabel="learning rate of one rank", ylabel="difference (share of the way)")
    right.legend()
    for panel in (left, right):
        panel.grid(alpha=0.3)
    return figure


def times_figure(measured: Mapping[int, Mapping[int, float]], costs: Mapping[int, Cost]) -> Figure:
    """Measured all-reduce times against the tensor's size, and the fitted model.

    Args:
        measured: for each number of ranks, seconds by bytes.
        costs: the fit for each number of ranks.
    """
    figure, axes = new_figure(1, 1, (6.8, 3.8))
    panel = axes[0, 0]
    for (size, seconds), colour, marker in zip(measured.items(), _COLOURS, _MARKERS, strict=False):
        tensors = np.array(list(seconds))
        values = 1e3 * np.array(list(seconds.values()))
        panel.loglog(tensors, values, marker, color=colour, label=f"{size} ranks, measured")
        line = np.geomspace(tensors[0], tensors[-1], 100)
        fitted = [1e3 * costs[size].seconds(size, tensor) for tensor in line]
        style = "-" if colour == BLUE else "--"
        panel.loglog(line, fitted, style, color=colour, label=f"{size} ranks, fitted")
    panel.set(xlabel="size of the tensor in bytes", ylabel="milliseconds")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(alpha=0.3)
    panel.legend()
    return figure


def scaling_figure(here: Mapping[str, float]) -> Figure:
    """The speed-up of eight ranks against the duration of a training step.

    Published throughputs are drawn as points, and `here` as curves: their names, and the seconds
    that exchanging gradients adds to a step.
    """
    figure, axes = new_figure(1, 1, (7.0, 4.0))
    panel = axes[0, 0]
    steps = np.geomspace(0.01, 10, 200)
    for (name, exchange), colour, style in zip(here.items(), _COLOURS, ("-", "--"), strict=False):
        values = [speed_up(PUBLISHED_GPUS, step, exchange) for step in steps]
        panel.semilogx(1e3 * steps, values, style, color=colour, label=name)
    times = [1e3 * each.step for each in PUBLISHED]
    panel.plot(times, [e.scaling for e in PUBLISHED], "ko", label="published throughputs")
    column = [e.weak_scaling for e in PUBLISHED]
    panel.plot(times, column, "kD", fillstyle="none", label='published column "weak scaling"')
    panel.set(xlabel="training step of one rank in milliseconds", ylabel="speed-up of 8")
    panel.set(ylim=(0, 8.4))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    return figure

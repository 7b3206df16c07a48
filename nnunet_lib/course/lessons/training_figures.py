"""Pictures of lesson 06: curves of learning, schedules, and which fold validates what."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, PURPLE, VERMILION, new_figure
from nnunet_lib.course.lessons.training import Curve
from nnunet_lib.loading import Fold
from nnunet_lib.training import TrainingSettings, learning_rate_at

_STYLES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":"))
_MARKS = "osD^vPX"


def curves_figure(curves: Mapping[str, Curve]) -> Figure:
    """A column a curve: loss above, Dice below, on seen and on held-out slices."""
    figure, axes = new_figure(2, len(curves), (3.8, 2.6))
    for column, (name, curve) in zip(axes.T, curves.items(), strict=True):
        upper, lower = column
        upper.set_title(name, fontsize="medium")
        for panel, seen, held_out, what in (
            (upper, curve.seen_loss, curve.held_out_loss, "loss"),
            (lower, curve.seen_dice, curve.held_out_dice, "Dice"),
        ):
            panel.plot(curve.steps, seen, color=BLUE, label="cases trained on")
            panel.plot(curve.steps, held_out, color=VERMILION, ls="--", label="held-out cases")
            panel.set(xlabel="training step", ylabel=what)
            panel.grid(alpha=0.3)
        lower.set(ylim=(-0.02, 1.02))
    highest = max(max(*curve.seen_loss, *curve.held_out_loss) for curve in curves.values())
    for panel in axes[0]:
        panel.set(ylim=(0, 1.05 * highest))
    handles = axes[0, 0].get_lines()
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def race_figure(curves: Mapping[str, Curve]) -> Figure:
    """The loss on held-out slices under each optimiser."""
    figure, axes = new_figure(1, 1, (7.0, 3.4))
    panel = axes[0, 0]
    for (name, curve), (colour, line) in zip(curves.items(), _STYLES, strict=False):
        panel.plot(curve.steps, curve.held_out_loss, color=colour, linestyle=line, label=name)
    panel.set(xlabel="training step", ylabel="loss on held-out slices", ylim=(0, None))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    return figure


def schedules_figure(settings: Sequence[TrainingSettings]) -> Figure:
    """Each schedule's share of the base rate against the share of training that has passed."""
    figure, axes = new_figure(1, 1, (7.0, 3.4))
    panel, progress = axes[0, 0], np.linspace(0, 1, 501)
    for each, (colour, line) in zip(settings, _STYLES, strict=True):
        rates = [learning_rate_at(each, point) / each.base_learning_rate for point in progress]
        panel.plot(progress, rates, color=colour, linestyle=line, label=each.scheduler)
    panel.set(xlabel="share of training that has passed", ylabel="share of the base rate")
    panel.set(xlim=(0, 1), ylim=(0, 1.05))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def folds_figure(folds: Sequence[Fold], identifiers: Sequence[str]) -> Figure:
    """A row a fold, a column a case: orange where it validates, grey where it trains."""
    held_out = np.array([[case in fold.validation for case in identifiers] for fold in folds])
    figure, axes = new_figure(1, 1, (7.5, 2.6))
    panel = axes[0, 0]
    rows, columns = (np.arange(size + 1) - 0.5 for size in held_out.shape)
    lined = {"edgecolors": "white", "linewidth": 1.5 if len(identifiers) <= 50 else 0.2}
    panel.pcolormesh(columns, rows, held_out, cmap=ListedColormap(["#BBBBBB", ORANGE]), **lined)
    panel.set(xlabel="case", ylabel="fold", yticks=range(len(folds)))
    panel.invert_yaxis()
    handles = [Patch(color="#BBBBBB", label="trains"), Patch(color=ORANGE, label="validates")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def spread_figure(scores: Sequence[Sequence[float]], histories: Sequence[Any]) -> Figure:
    """Validation Dice of each fold by epoch, and the final Dice of each of its cases."""
    figure, axes = new_figure(1, 2, (4.2, 3.4))
    left, right = axes[0]
    colours = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
    for fold, records in enumerate(histories):
        points = [(r.epoch, r.validation_dice) for r in records if r.validation_dice is not None]
        style = {"color": colours[fold % len(colours)], "marker": _MARKS[fold % len(_MARKS)]}
        left.plot(*zip(*points, strict=True), label=f"fold {fold}", **style)
        jitter = np.linspace(-0.2, 0.2, len(scores[fold]))
        right.scatter(fold + jitter, scores[fold], s=18, **style)
        right.hlines(np.nanmean(scores[fold]), fold - 0.35, fold + 0.35, color="black")
    left.set(xlabel="epoch", ylabel="validation Dice", title="While training")
    right.set(xlabel="fold", ylabel="Dice of a case", title="At the end, and the fold's mean")
    right.set(xticks=range(len(scores)))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in (left, right):
        panel.set(ylim=(-0.02, 1.02))
        panel.grid(alpha=0.3)
    left.legend(frameon=False, fontsize="small")
    return figure

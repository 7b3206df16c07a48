"""Pictures of lesson 05: what losses ask for, where gradients arrive, and how scores disagree."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, VERMILION, new_figure
from nnunet_lib.course.lessons.losses import Pair

_STYLES = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."))


def loss_figure(probabilities: np.ndarray, curves: Mapping[str, np.ndarray]) -> Figure:
    """Each loss against the probability that marked voxels get, a dot at its minimum."""
    figure, axes = new_figure(1, len(curves), (3.7, 3.2))
    for panel, (name, values), (colour, line) in zip(axes[0], curves.items(), _STYLES, strict=True):
        panel.plot(probabilities, values, color=colour, linestyle=line)
        best = int(values.argmin())
        panel.plot(probabilities[best], values[best], "o", color=colour, clip_on=False)
        panel.set_title(f"{name}: least at p = {probabilities[best]:.2f}", fontsize="medium")
        panel.set(xlim=(0, 1), xlabel="p, foreground for a marked voxel", ylabel="loss")
        panel.grid(alpha=0.3)
    return figure


def gradient_figure(alone: Sequence[float], supervised: Sequence[float]) -> Figure:
    """The length of the gradient in each decoder level, finest first, without and with heads."""
    figure, axes = new_figure(1, 1, (7.0, 3.4))
    panel, levels = axes[0, 0], np.arange(len(alone))
    panel.bar(levels - 0.2, alone, 0.38, color=BLUE, label="finest head alone")
    panel.bar(levels + 0.2, supervised, 0.38, color=ORANGE, hatch="//", label="deep supervision")
    panel.set(xlabel="decoder level, 0 is the finest", ylabel="length of the gradient")
    panel.set(xticks=levels)
    panel.legend(frameon=False)
    return figure


def pairs_figure(pairs: Sequence[Pair]) -> Figure:
    """The middle slice of each pair: the truth filled, the prediction outlined, in mm."""
    figure, axes = new_figure(1, len(pairs), (3.3, 3.9))
    for panel, pair in zip(axes[0], pairs, strict=True):
        index = pair.truth.shape[0] // 2
        rows, columns = (
            np.arange(n + 1) * s
            for n, s in zip(pair.truth.shape[1:], pair.spacing[1:], strict=True)
        )
        truth = np.where(pair.truth[index] > 0, 0.5, np.nan)
        panel.pcolormesh(columns, rows, truth, cmap="Blues", vmin=0, vmax=1)
        _outline(panel, pair.prediction[index], pair.spacing[1:])
        panel.set_title(pair.name, fontsize="medium")
        panel.set(xlabel="x (mm)", ylabel="y (mm)", aspect="equal")
        panel.set(xlim=(0, columns[-1]), ylim=(0, rows[-1]))
    handles = [
        Line2D([], [], color="#6baed6", linewidth=8, label="truth"),
        Line2D([], [], color=VERMILION, linewidth=2.5, label="prediction"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _outline(panel: Axes, mask: np.ndarray, spacing: Sequence[float]) -> None:
    """Draw the voxel edges where a mask (y, x) ends."""
    framed = np.pad(mask > 0, 1).astype(int)
    y, x = spacing
    for row, column in np.argwhere(np.diff(framed, axis=0) != 0):
        panel.plot([(column - 1) * x, column * x], [row * y] * 2, color=VERMILION, linewidth=2)
    for row, column in np.argwhere(np.diff(framed, axis=1) != 0):
        panel.plot([column * x] * 2, [(row - 1) * y, row * y], color=VERMILION, linewidth=2)

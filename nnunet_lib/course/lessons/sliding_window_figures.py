"""The pictures of lesson 10. Volumes are in plan order (a, b, c), spacing in millimetres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from nnunet_lib.course.figures import (
    BLUE,
    GREEN,
    LABEL_COLOURS,
    PURPLE,
    VERMILION,
    draw_slice,
    new_figure,
)

FloatArray = npt.NDArray[Any]
_DARK = (BLUE, VERMILION, GREEN, PURPLE)  # lines on white
_STYLES = ("-", "--", ":")  # windows differ by line, too; three, as colours repeat after four
_INSIDE, _MARGIN = 0.016, 0.04  # of a picture's width


def windows_figure(
    image: FloatArray, spacing: Sequence[float], windows: Sequence[tuple[slice, ...]]
) -> Figure:
    """The middle slice of a scan (a, b, c), and the windows that lie over it.

    One layer of windows along the first axis is drawn, because the others look the same from
    here; in it, the first row in colour and the others as thin white lines. Those in colour are
    drawn a little smaller, each than the one before, so that none hides another.
    """
    figure, axes = new_figure(1, 1, (4.4, 5.4))
    panel = axes[0, 0]
    middle = image.shape[0] // 2
    draw_slice(panel, image, spacing, index=middle)
    layer = [window for window in windows if window[0] == windows[0][0]]
    first = [window for window in layer if window[1] == layer[0][1]]
    for window in layer:
        _draw_window(panel, window, spacing, color="white", linewidth=0.6)
    for number, window in enumerate(first):
        inside = _INSIDE * number * image.shape[2] * spacing[2]
        _draw_window(panel, window, spacing, inside, linewidth=2.5, **_window_style(number))
    panel.set(xlabel="millimetres", ylabel="millimetres", title=f"windows over slice {middle}")
    height, width = (size * step for size, step in zip(image.shape[1:], spacing[1:], strict=True))
    margin = _MARGIN * width
    panel.set(xlim=(-margin, width + margin), ylim=(-margin, height + margin))
    _add_window_legend(figure, len(first))
    return figure


def _window_style(number: int) -> dict[str, Any]:
    colour = LABEL_COLOURS[number % len(LABEL_COLOURS)]
    return {"color": colour, "linestyle": _STYLES[number % len(_STYLES)]}


def _draw_window(
    panel: Axes,
    window: tuple[slice, ...],
    spacing: Sequence[float],
    inside: float = 0.0,
    **style: Any,
) -> None:
    """The outline of one window, as its last two axes see it, so many millimetres inside."""
    (bottom, top), (left, right) = (
        (edges.start * step + inside, edges.stop * step - inside)
        for edges, step in zip(window[1:], spacing[1:], strict=True)
    )
    corner = (left, bottom)
    panel.add_patch(Rectangle(corner, right - left, top - bottom, fill=False, **style))


def _add_window_legend(figure: Figure, number: int) -> None:
    """Name the lines of the first windows, on grey, as the scan is."""
    handles = [
        Line2D([], [], linewidth=2.5, label=f"window {each + 1}", **_window_style(each))
        for each in range(number)
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(number, 3),
        handlelength=2.6,
        columnspacing=1.2,
        facecolor="#505050",
        labelcolor="white",
        title="each drawn a little smaller than the last",
    )
    legend.get_title().set_color("white")


def shares_figure(shares: dict[str, FloatArray], spacing: float) -> Figure:
    """What each window counts along a line: a panel a blend, from (size, windows) each."""
    figure, axes = new_figure(len(shares), 1, (7.0, 2.2))
    for panel, (name, share) in zip(axes[:, 0], shares.items(), strict=True):
        millimetres = (np.arange(len(share)) + 0.5) * spacing
        for number, line in enumerate(share.T):
            panel.plot(
                millimetres,
                line,
                color=_DARK[number % len(_DARK)],
                drawstyle="steps-mid",  # a share belongs to a whole voxel
                linestyle=_STYLES[number % len(_STYLES)],
                label=f"window {number + 1}",
            )
        panel.set(title=name, ylabel="share", ylim=(-0.03, 1.03))
        panel.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("millimetres along the line")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


@dataclass(frozen=True)
class Map:
    """One panel: a slice (b, c), and the voxels at which windows begin or end along b and c."""

    title: str
    values: FloatArray
    borders: Sequence[Sequence[int]] = ((), ())


def maps_figure(
    maps: Sequence[Map],
    spacing: Sequence[float],
    limits: tuple[float, float],
    quantity: str,
) -> Figure:
    """Several maps on one scale, with window borders dotted in white.

    Args:
        maps: what to draw, side by side.
        spacing: millimetres between voxels (a, b, c).
        limits: the values at the two ends of the scale.
        quantity: what the values are, for the scale.
    """
    figure, axes = new_figure(1, len(maps), (3.3, 3.9))
    for panel, one in zip(axes[0], maps, strict=True):
        height, width = (
            size * step for size, step in zip(one.values.shape, spacing[1:], strict=True)
        )
        picture = panel.imshow(
            one.values,
            cmap="cividis",
            vmin=limits[0],
            vmax=limits[1],
            extent=(0.0, width, 0.0, height),
            origin="lower",
            interpolation="nearest",
        )
        for border in one.borders[0]:
            panel.axhline(border * spacing[1], color="white", linestyle=":", linewidth=1)
        for border in one.borders[1]:
            panel.axvline(border * spacing[2], color="white", linestyle=":", linewidth=1)
        panel.set(title=one.title, xlabel="millimetres")
    axes[0, 0].set_ylabel("millimetres")
    figure.colorbar(picture, ax=axes, location="bottom", shrink=0.5, label=quantity)
    return figure

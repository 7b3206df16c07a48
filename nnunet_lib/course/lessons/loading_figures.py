"""The pictures of lesson 03. Volumes are in plan order (a, b, c), spacing in millimetres."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from nnunet_lib.course.figures import (
    BLUE,
    GREEN,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    add_legend,
    busiest_slice,
    default_window,
    draw_slice,
    new_figure,
)
from nnunet_lib.course.lessons.loading import Shares

# The graph: what happens to the image (above), what is drawn (middle), and to the label (below).
_IMAGE = (
    (2, "read the\ncrop only"),
    (3, "zoom\n(cubic)"),
    (4, "rotate\n(linear)"),
    (5, "flip"),
    (6, "noise, blur,\nbrightness ..."),
    (7, "image"),
)
_DRAWN = (
    (1, "aim, and\nplace of crop"),
    (2, "size of\ncrop"),
    (3, "zoom or\nnot"),
    (4, "angles"),
    (5, "axes"),
    (6, "strengths"),
)
_LABEL = (
    (1, "read all\nof it"),
    (2, "cut the\ncrop"),
    (3, "zoom\n(nearest)"),
    (4, "rotate\n(nearest)"),
    (5, "flip"),
    (7, "label"),
)
_HALF_BOX, _LANES = 0.24, (2.0, 1.0, 0.0)
_COLUMNS = 4


def graph_figure() -> Figure:
    """The loader as a graph: one draw feeds the image's step and the label's."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    panel = figure.subplots()
    colours = (SKY_BLUE, ORANGE, GREEN)
    for lane, boxes, colour in zip(_LANES, (_IMAGE, _DRAWN, _LABEL), colours, strict=True):
        for column, text in boxes:
            _draw_box(panel, text, column, lane, colour)
    image, drawn, label = _LANES
    for lane, boxes in ((image, _IMAGE), (label, _LABEL)):
        for (one, _), (other, _) in itertools.pairwise(boxes):
            _draw_arrow(panel, (one + 0.42, lane), (other - 0.42, lane), "black")
    for column, _ in _DRAWN[1:]:
        _draw_arrow(panel, (column, drawn + _HALF_BOX), (column, image - _HALF_BOX), VERMILION)
    for column, _ in _DRAWN[1:-1]:
        _draw_arrow(panel, (column, drawn - _HALF_BOX), (column, label + _HALF_BOX), VERMILION)
    _draw_arrow(panel, (1, label + _HALF_BOX), (1, drawn - _HALF_BOX), "black")
    _draw_arrow(panel, (2.58, drawn), (2.3, drawn), "black")  # zoomed or not decides the size
    _draw_arrow(panel, (1.74, drawn), (1.46, drawn), "black")  # which decides where it may lie
    _draw_arrow(panel, (1.3, drawn + _HALF_BOX), (1.75, image - _HALF_BOX), VERMILION)
    _draw_arrow(panel, (1.3, drawn - _HALF_BOX), (1.75, label + _HALF_BOX), VERMILION)
    panel.set(xlim=(0.4, 7.6), ylim=(-0.45, 2.45))
    panel.axis("off")
    return figure


def _draw_box(panel: Axes, text: str, column: float, lane: float, colour: str) -> None:
    style = {"boxstyle": "round,pad=0.35", "facecolor": colour, "alpha": 0.45}
    panel.text(column, lane, text, ha="center", va="center", fontsize=9, bbox=style)


def _draw_arrow(
    panel: Axes, start: tuple[float, float], end: tuple[float, float], colour: str
) -> None:
    style: dict[str, Any] = {"arrowstyle": "->", "color": colour, "linewidth": 1.3}
    panel.annotate("", xy=end, xytext=start, arrowprops=style)


def coverage_figure(
    maps: Mapping[str, np.ndarray],
    label: np.ndarray,
    spacing: Sequence[float],
    labels: Sequence[str],
) -> Figure:
    """How large a share of the patches contains each voxel of one slice, a panel a setting.

    Args:
        maps: a title and the share at each voxel (a, b, c).
        label: label values (a, b, c), outlined.
        spacing: millimetres between voxels (a, b, c).
        labels: the name of each label value.
    """
    figure, axes = new_figure(1, len(maps), (3.3, _height(3.0, label, spacing) + 1.3))
    index = busiest_slice(label, 0)
    window = (0.0, max(float(share[index].max()) for share in maps.values()))
    for panel, (title, share) in zip(axes[0], maps.items(), strict=True):
        draw_slice(panel, share, spacing, label, index=index, window=window)
        panel.images[0].set_norm(PowerNorm(0.5, *window))  # so that small shares are seen, too
        panel.set(title=title, xlabel="millimetres", ylabel="")
    axes[0, 0].set_ylabel("millimetres")
    figure.colorbar(axes[0, -1].images[0], ax=axes, shrink=0.7, label="share of patches")
    add_legend(figure, labels)
    return figure


def _height(width: float, label: np.ndarray, spacing: Sequence[float]) -> float:
    """Inches that a slice (b, c) needs above, if it is `width` inches wide."""
    _, rows, columns = label.shape
    return width * rows * spacing[1] / (columns * spacing[2])


def shares_figure(shares: Sequence[Shares]) -> Figure:
    """Patches with foreground against oversampling, between the two bounds.

    The first point is q, which was measured without aiming. All were drawn equally often.
    """
    figure, axes = new_figure(1, 1, (6.0, 3.8))
    panel, q = axes[0, 0], shares[0].by_chance
    measured = np.array([q, *(one.measured for one in shares)])
    errors = np.sqrt(measured * (1 - measured) / shares[0].number)
    panel.plot([0, 1], [q, 1], color=VERMILION, linestyle="--", label="q + (1 - q) · oversampling")
    panel.errorbar(
        [0, *(one.oversampling for one in shares)],
        measured,
        yerr=3 * errors,
        fmt="o",
        color=BLUE,
        capsize=4,
        label="measured, with 3 standard errors",
    )
    panel.plot([0, 1], [0, 1], color=GREEN, linestyle=":", linewidth=2, label="oversampling")
    panel.set(xlabel="oversampling", ylabel="patches that show foreground", ylim=(-0.03, 1.05))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    return figure


def augmentations_figure(
    patches: Mapping[str, tuple[np.ndarray, np.ndarray]],
    spacing: Sequence[float],
    labels: Sequence[str],
    slices: Mapping[str, int] | None = None,
) -> Figure:
    """One slice of a patch after each change, in the grey of the first.

    Args:
        patches: a title, and the image (a, b, c) and label (a, b, c) of each.
        spacing: millimetres between voxels (a, b, c).
        labels: the name of each label value.
        slices: where a change has brought the slice, by title; the middle if not given.
    """
    rows = -(-len(patches) // _COLUMNS)
    height = _height(2.2, next(iter(patches.values()))[1], spacing)
    figure, axes = new_figure(rows, _COLUMNS, (2.5, height + 0.6 + 0.7 / rows))
    window = default_window(next(iter(patches.values()))[0])
    for panel in axes.flat:
        panel.axis("off")
    for panel, (title, (image, label)) in zip(axes.flat, patches.items(), strict=False):
        panel.axis("on")
        index = (slices or {}).get(title, len(image) // 2)
        draw_slice(panel, image, spacing, label, index=index, window=window)
        panel.set_title(title, fontsize="medium")
        panel.set(xlabel="millimetres" if panel in axes[-1] else "", ylabel="")
        panel.tick_params(labelsize="small")
    for panel in axes[:, 0]:
        panel.set_ylabel("millimetres")
    add_legend(figure, labels)
    return figure


def ramps_figure(ramps: np.ndarray, labels: np.ndarray) -> Figure:
    """The middle slice of ramps (n, a, b, c): where they are 0, and where their labels begin."""
    figure, axes = new_figure(1, len(ramps), (2.9, 3.5))
    for number, panel in enumerate(axes[0]):
        index = ramps.shape[1] // 2
        draw_slice(panel, ramps[number], (1, 1, 1), labels[number], index=index, window=(-10, 10))
        rows, columns = (np.arange(size) + 0.5 for size in ramps.shape[2:])
        here = ramps[number, index]
        if here.min() < 0 < here.max():
            panel.contour(columns, rows, here, levels=[0], colors=SKY_BLUE, linestyles="--")
        panel.set(title=f"patch {number + 1}", xlabel="voxels", ylabel="")
    axes[0, 0].set_ylabel("voxels")
    figure.suptitle("grey: the ramp; dashed blue: where it is 0; orange: the label's outline")
    return figure

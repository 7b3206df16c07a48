"""Pictures of lesson 04: the network as its plan draws it, and what one output voxel sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, new_figure
from nnunet_lib.model import head_strides, number_of_heads
from nnunet_lib.planning import Plan

_WIDTH, _ROW = 12.4, 0.95  # inches
_HEIGHT = 0.46  # of a box, where rows are 1 apart
_WIDEST, _NARROWEST = 2.6, 1.75
_OUTER, _INNER = 3.9, 2.1  # where the arms of the U are at its top and at its bottom
_TEXT_COLUMN, _HEAD_COLUMN = -8.1, 6.75


def architecture_figure(plan: Plan) -> Figure:
    """Draw the U-Net of a plan: levels, grids, channels, skips, bottleneck and heads.

    A box is as wide as its grid has voxels, on a logarithmic scale.
    """
    drawing = _Drawing.of(plan)
    figure = Figure(figsize=(_WIDTH, _ROW * (len(plan.filters) + 0.6)), layout="constrained")
    axes = figure.subplots()
    drawing.draw(axes)
    axes.set(xlim=(-8.2, 8.2), ylim=(-len(plan.filters) + 0.55, 1.25))
    axes.set_axis_off()
    return figure


def architecture_text(plan: Plan) -> str:
    """The same in words: the alt text of `architecture_figure`."""
    drawing = _Drawing.of(plan)
    levels = [
        f"level {level}: {by(grid)} voxels, {filters} channels"
        for level, (grid, filters) in enumerate(zip(drawing.grids, plan.filters, strict=True))
    ]
    return (
        f"The {plan.dimensions}D U-Net of {plan.dataset} as a U. The encoder goes down on the "
        f"left, the decoder up on the right, a skip connection joins them on every level but the "
        f"last, the bottleneck. {'; '.join(levels)}. Heads that give logits: {drawing.heads}, on "
        "the finest levels."
    )


def by(values: Sequence[float]) -> str:
    """Sizes for a picture: 40×56×40."""
    return "×".join(f"{value:g}" for value in values)


@dataclass(frozen=True)
class _Drawing:
    """Where things are: level 0 in row 0, each deeper one a row lower."""

    plan: Plan
    heads: int
    grids: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, plan: Plan) -> "_Drawing":
        spans = head_strides(plan, len(plan.strides))
        grids = (
            tuple(size // step for size, step in zip(plan.patch_size, span, strict=True))
            for span in spans
        )
        return cls(plan, number_of_heads(plan, deep_supervision=True), tuple(grids))

    @property
    def bottom(self) -> int:
        return len(self.grids) - 1

    def draw(self, axes: Axes) -> None:
        """Everything, row by row."""
        self._patch(axes)
        for level, filters in enumerate(self.plan.filters):
            self._label(axes, level)
            if level == self.bottom:
                self._box(axes, 0.0, level, PURPLE, f"bottleneck: {filters}")
                continue
            self._box(axes, -self._arm(level), level, SKY_BLUE, f"{filters} channels")
            self._box(axes, self._arm(level), level, ORANGE, f"{filters} + {filters} → {filters}")
            self._skip(axes, level)
        for level in range(self.bottom):
            self._steps(axes, level)
        for level in range(self.heads):
            self._head(axes, level)

    def _arm(self, level: int) -> float:
        """How far from the middle a level's two boxes are."""
        share = level / max(self.bottom - 1, 1)
        return _OUTER + (_INNER - _OUTER) * share

    def _width(self, level: int) -> float:
        voxels = [math.log2(math.prod(grid)) for grid in self.grids]
        share = (voxels[level] - voxels[-1]) / (voxels[0] - voxels[-1])
        return _NARROWEST + (_WIDEST - _NARROWEST) * share

    def _box(self, axes: Axes, x: float, level: int, colour: str, text: str) -> None:
        width = self._width(level)
        if level == self.bottom:
            width = max(width, 2.0)
        _draw_box(axes, x, -level, width, colour, text)

    def _patch(self, axes: Axes) -> None:
        """What goes in, and the headings of both arms."""
        x, channels = -self._arm(0), len(self.plan.channels)
        plural = "s" * (channels > 1)
        axes.text(x, 0.86, f"patch: {channels} channel{plural}", ha="center", va="center")
        _arrow(axes, (x, 0.7), (x, _HEIGHT / 2), "black")
        axes.text(_TEXT_COLUMN, 0.86, "level, grid, kernel", weight="bold", va="center")
        heading = "raised + skip → mixed channels"
        axes.text(self._arm(0), 0.86, heading, ha="center", va="center", style="italic")

    def _label(self, axes: Axes, level: int) -> None:
        grid, kernel = by(self.grids[level]), by(self.plan.kernels[level])
        axes.text(_TEXT_COLUMN, -level + 0.13, f"{level}:  {grid} voxels", va="center")
        axes.text(
            _TEXT_COLUMN, -level - 0.15, f"     kernel {kernel}", va="center", color="#555555"
        )

    def _skip(self, axes: Axes, level: int) -> None:
        reach = self._arm(level) - self._width(level) / 2
        _arrow(axes, (-reach, -level), (reach, -level), BLUE, "--")
        if level == 0:
            axes.text(0, 0.14, "skip connection", ha="center", color=BLUE)

    def _steps(self, axes: Axes, level: int) -> None:
        """The way down by strides and the way up by transposed convolutions."""
        arm, deeper = self._arm(level), self._arm(level + 1)
        if level + 1 == self.bottom:
            deeper = 0.45
        top, bottom = -level - _HEIGHT / 2, -level - 1 + _HEIGHT / 2
        stride = by(self.plan.strides[level + 1])
        middle = (arm + deeper) / 2
        _arrow(axes, (-arm, top), (-deeper, bottom), "black")
        _arrow(axes, (deeper, bottom), (arm, top), "black")
        height = (top + bottom) / 2
        away = 0.3 + 0.2 * (arm - deeper)  # clear of the arrow, the more so the flatter it is
        axes.text(-middle - away, height, f"÷ {stride}", ha="right", va="center", fontsize=9)
        axes.text(middle + away, height, f"× {stride}", ha="left", va="center", fontsize=9)

    def _head(self, axes: Axes, level: int) -> None:
        edge = self._arm(level) + self._width(level) / 2
        classes = len(self.plan.labels)
        _draw_box(axes, _HEAD_COLUMN, -level, 1.9, GREEN, f"head: {classes} classes")
        _arrow(axes, (edge, -level), (_HEAD_COLUMN - 0.95, -level), "black")


def _draw_box(axes: Axes, x: float, y: float, width: float, colour: str, text: str) -> None:
    corner = (x - width / 2, y - _HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(corner, width, _HEIGHT, style, facecolor=f"{colour}66", edgecolor=colour)
    )
    axes.text(x, y, text, ha="center", va="center")


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    line: str = "-",
) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linestyle": line, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def sight_figure(
    gradients: Sequence[tuple[str, np.ndarray]],
    box: Sequence[tuple[int, int]],
    voxel: Sequence[int],
    spacing: Sequence[float],
) -> Figure:
    """What one output voxel of a 2D network sees, a panel for each named |gradient| (y, x).

    Args:
        gradients: title and values each.
        box: first and last voxel (y, x) that the formula says it sees.
        voxel: the output voxel (y, x).
        spacing: millimetres (y, x).
    """
    figure, axes = new_figure(1, len(gradients), (4.4, 3.9))
    for panel, (title, values) in zip(axes[0], gradients, strict=True):
        _draw_sight(panel, values, spacing)
        y, x = (first * step for (first, _), step in zip(box, spacing, strict=True))
        high, wide = ((b - a + 1) * step for (a, b), step in zip(box, spacing, strict=True))
        frame = Rectangle((x, y), wide, high, fill=False, edgecolor=VERMILION, linewidth=2)
        panel.add_patch(frame)
        panel.plot(*[(v + 0.5) * s for v, s in zip(voxel, spacing, strict=True)][::-1], "k+")
        panel.set(title=title, xlabel="x (mm)", ylabel="y (mm)")
    return figure


def _draw_sight(panel: Axes, values: np.ndarray, spacing: Sequence[float]) -> None:
    """Shares of the largest gradient, logarithmic; exact zeros stay white."""
    extent = (0.0, values.shape[1] * spacing[1], 0.0, values.shape[0] * spacing[0])
    shares = np.maximum(values / values.max(), 1e-6)
    picture = panel.imshow(
        np.where(values > 0, shares, np.nan),
        norm=LogNorm(1e-6, 1),
        cmap="viridis",
        origin="lower",
        extent=extent,
        interpolation="nearest",
    )
    panel.figure.colorbar(picture, ax=panel, label="share of the largest gradient")


def levels_figure(parameters: Sequence[int], activations: Sequence[int]) -> Figure:
    """Where a network's parameters and its activations are, in per cent, by level."""
    figure, axes = new_figure(1, 1, (7.0, 3.4))
    panel, levels = axes[0, 0], np.arange(len(parameters))
    named = (("parameters", parameters, BLUE, ""), ("activations", activations, ORANGE, "//"))
    for (name, counts, colour, hatch), offset in zip(named, (-0.2, 0.2), strict=True):
        shares = 100 * np.array(counts) / sum(counts)
        panel.bar(levels + offset, shares, 0.38, color=colour, hatch=hatch, label=name)
    panel.set(xlabel="level, 0 is the finest", ylabel="per cent of the whole", xticks=levels)
    panel.legend(frameon=False)
    return figure


def shift_figure(
    patch: np.ndarray, changes: Sequence[tuple[str, np.ndarray]], spacing: Sequence[float]
) -> Figure:
    """A slice (y, x), and beside it |change of logits| (y, x) in standard deviations, named."""
    figure, axes = new_figure(1, 1 + len(changes), (4.2, 3.8))
    extent = (0.0, patch.shape[1] * spacing[1], 0.0, patch.shape[0] * spacing[0])
    top = max(float(values.max()) for _, values in changes)
    panels = [("the patch", patch, "gray", None), *((*c, "viridis", top) for c in changes)]
    for panel, (title, values, colours, highest) in zip(axes[0], panels, strict=True):
        lowest = None if highest is None else 0.0
        picture = panel.imshow(
            values, cmap=colours, vmin=lowest, vmax=highest, origin="lower", extent=extent
        )
        panel.set(title=title, xlabel="x (mm)", ylabel="y (mm)")
        if highest is not None:
            figure.colorbar(picture, ax=panel, label="change of logits (std. dev.)")
    return figure

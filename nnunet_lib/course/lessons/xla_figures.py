"""Pictures of lesson 08: kernels before and after, and where the compiler helps or hurts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, VERMILION, new_figure
from nnunet_lib.course.lessons.xla import Comparison


def comparison_figure(comparisons: Sequence[Comparison]) -> Figure:
    """Kernels without and with XLA on the left; time without over time with it on the right."""
    figure, axes = new_figure(1, 2, (6.0, 0.55 * len(comparisons) + 1.0))
    left, right = axes[0]
    _draw_kernels(left, comparisons)
    _draw_speed(right, comparisons)
    return figure


def _draw_kernels(panel: Axes, comparisons: Sequence[Comparison]) -> None:
    rows = np.arange(len(comparisons))
    plain = [each.operations for each in comparisons]
    fused = [each.instructions for each in comparisons]
    panel.barh(rows - 0.2, plain, 0.38, color=BLUE, label="TensorFlow's operations")
    panel.barh(rows + 0.2, fused, 0.38, color=ORANGE, hatch="//", label="XLA's instructions")
    panel.set(xscale="log", xlim=(0.5, None), xlabel="kernels launched", title="how many kernels")
    panel.set_yticks(rows, [each.name for each in comparisons])
    panel.invert_yaxis()
    panel.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.08), ncols=2)


def _draw_speed(panel: Axes, comparisons: Sequence[Comparison]) -> None:
    """Bars grow from 1: to the right where XLA helps, to the left where it hurts."""
    speeds = np.array([each.speed for each in comparisons])
    rows = np.arange(len(speeds))
    for helps, colour, hatch in ((True, GREEN, ""), (False, VERMILION, "..")):
        chosen = (speeds > 1) == helps
        widths = speeds[chosen] - 1
        panel.barh(rows[chosen], widths, 0.6, left=1, color=colour, hatch=hatch)
    for row, speed in zip(rows, speeds, strict=True):
        panel.annotate(
            f"{speed:.2g}",
            (speed, row),
            xytext=(4 if speed > 1 else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if speed > 1 else "right",
        )
    panel.axvline(1, color="black", linewidth=1)
    panel.set(xscale="log", xlim=(speeds.min() / 3, speeds.max() * 3))
    panel.set(
        xlabel="time without XLA / time with it", title="right of 1 XLA helps, left of it XLA hurts"
    )
    panel.set_yticks(rows, [""] * len(rows))
    panel.invert_yaxis()

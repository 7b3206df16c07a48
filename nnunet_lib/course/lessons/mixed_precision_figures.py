"""The pictures of lesson 07, and the published figures that one of them shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_lib.course.figures import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, new_figure

FloatArray = npt.NDArray[Any]
_LARGEST = np.log2(65504)


@dataclass(frozen=True)
class Throughput:
    """Training of the 3D network on one GPU, patches of 128 voxels an axis, in images a second.

    Source: NVIDIA/DeepLearningExamples, TensorFlow2/Segmentation/nnUNet, README of April 2024.
    """

    gpu: str
    batch: int
    mixed: float
    """float16 with loss scaling."""
    single: float
    """TF32 on the A100, float32 on the V100, which has no TF32."""

    @property
    def gain(self) -> float:
        """How many times as fast mixed precision is."""
        return self.mixed / self.single


PUBLISHED = (
    Throughput("A100", 1, 27.0, 11.6),
    Throughput("A100", 2, 29.3, 11.8),
    Throughput("A100", 4, 31.9, 12.2),
    Throughput("V100", 1, 12.2, 2.1),
    Throughput("V100", 2, 13.1, 2.5),
)


def gradients_figure(small: FloatArray, large: FloatArray, scale: float) -> Figure:
    """How large gradients are, as powers of two, and where float16 holds them.

    Args:
        small: gradients in a patch of 16 voxels an axis.
        large: the same in one of 128.
        scale: the loss scale of the last panel, which multiplies `large`.
    """
    figure, axes = new_figure(3, 1, (7.6, 1.9))
    for panel in axes[1:, 0]:
        panel.sharex(axes[0, 0])
    titles = ("patch of 16³", "patch of 128³", f"patch of 128³, loss × {scale:g}")
    for panel, values, title in zip(axes[:, 0], (small, large, large * scale), titles, strict=True):
        _histogram(panel, values, title)
    axes[-1, 0].set_xlabel("size of the gradient, as a power of two")
    return figure


def _histogram(panel: Axes, values: FloatArray, title: str) -> None:
    powers = np.log2(np.abs(values[values != 0]).astype(np.float64))
    panel.hist(powers, bins=np.arange(-60, 18, 0.5).tolist(), color=BLUE, zorder=2)
    panel.axvspan(-60, -25, color=VERMILION, alpha=0.25, hatch="//", label="becomes 0", zorder=0)
    panel.axvspan(-25, -14, color=ORANGE, alpha=0.25, label="fewer digits", zorder=0)
    panel.axvspan(-14, float(_LARGEST), color=GREEN, alpha=0.15, label="full precision", zorder=0)
    panel.axvspan(
        float(_LARGEST), 18, color=PURPLE, alpha=0.25, hatch="\\\\", label="becomes ∞", zorder=0
    )
    panel.set(xlim=(-45, 18), ylabel="numbers", title=title)
    if title == "patch of 16³":
        panel.legend(loc="upper left", fontsize=8)


def scales_figure(scales: Sequence[float], planted: Sequence[bool]) -> Figure:
    """The loss scale after each step, as a multiple of the first, with the overflows marked."""
    figure, axes = new_figure(1, 1, (6.5, 2.8))
    panel = axes[0, 0]
    steps = np.arange(1, len(scales) + 1)
    panel.step(steps, scales, where="post", color=BLUE, linewidth=2)
    panel.plot(steps, scales, "o", color=BLUE, label="scale after the step")
    bad = np.flatnonzero(planted)
    panel.plot(
        steps[bad], np.array(scales)[bad], "X", color=VERMILION, markersize=13, label="overflow"
    )
    panel.set(xlabel="step", ylabel="loss scale ÷ first", xticks=steps, ylim=(0, 1.2))
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    return figure


def losses_figure(single: Sequence[float], half: Sequence[float]) -> Figure:
    """The losses of one training in float32 and one in float16, and their difference below."""
    figure, axes = new_figure(2, 1, (6.8, 2.4))
    steps = np.arange(1, len(single) + 1)
    upper, lower = axes[:, 0]
    upper.plot(steps, single, color=SKY_BLUE, linewidth=5, label="float32")
    upper.plot(steps, half, color="black", linestyle="--", label="float16")
    upper.set(ylabel="loss")
    upper.legend()
    lower.plot(steps, np.subtract(half, single), color=VERMILION, marker="o", markersize=3)
    lower.set(xlabel="step", ylabel="float16 − float32")
    for panel in (upper, lower):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    return figure


def published_figure() -> Figure:
    """Published images a second, with mixed precision and without, a pair of bars an entry."""
    figure, axes = new_figure(1, 1, (7.2, 3.4))
    panel = axes[0, 0]
    places = np.arange(len(PUBLISHED))
    names = [f"{entry.gpu}\nbatch {entry.batch}" for entry in PUBLISHED]
    single, mixed = [entry.single for entry in PUBLISHED], [entry.mixed for entry in PUBLISHED]
    panel.bar(places - 0.2, single, 0.4, color=ORANGE, label="TF32 (A100), float32 (V100)")
    bars = panel.bar(places + 0.2, mixed, 0.4, color=BLUE, hatch="//", label="mixed, float16")
    panel.bar_label(bars, [f"× {entry.gain:.1f}" for entry in PUBLISHED])
    panel.set(xticks=places, xticklabels=names, ylabel="images a second", ylim=(0, 40))
    panel.legend()
    return figure

"""Figures that only lesson 01 needs. Colours and millimetres are those of `course.figures`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_lib.course.figures import (
    BLUE,
    GREEN,
    VERMILION,
    add_legend,
    busiest_slice,
    draw_slice,
    new_figure,
)
from nnunet_lib.course.lessons.data_and_fingerprint import CaseFacts, index_of
from nnunet_lib.datasets import Volume, orientation_of

_MARKERS = {"z": ("o", BLUE), "y": ("^", VERMILION), "x": ("x", GREEN)}


def squashed_figure(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], labels: Sequence[str]
) -> Figure:
    """A coronal slice drawn twice: as if voxels were cubes, and in millimetres.

    Args:
        image: intensities (z, y, x).
        label: label values (z, y, x).
        spacing: millimetres (z, y, x).
        labels: the name of each label value.
    """
    figure, axes = new_figure(1, 2, (4.0, 4.3))
    index = busiest_slice(label, 1)
    for panel, steps in zip(axes[0], ((1.0, 1.0, 1.0), spacing), strict=True):
        draw_slice(panel, image, steps, label, "coronal", index)
    axes[0, 0].set(title="a voxel is a voxel", xlabel="x (voxels)", ylabel="z (voxels)")
    axes[0, 1].set(title="in millimetres")
    add_legend(figure, labels)
    return figure


def orientation_figure(volumes: Sequence[Volume], point: np.ndarray) -> Figure:
    """The slice through one point of the patient in each file, as the arrays have it.

    Args:
        volumes: the same scan, stored in several orientations.
        point: millimetres (x, y, z) in the scanner; a cross marks its voxel.
    """
    figure, axes = new_figure(1, len(volumes), (3.6, 4.0))
    for panel, volume in zip(axes[0], volumes, strict=True):
        z, y, x = index_of(volume, point)
        draw_slice(panel, volume.array[..., 0], volume.spacing, index=z)
        across, up = ((index + 0.5) * volume.spacing[axis] for index, axis in ((x, 2), (y, 1)))
        panel.plot(across, up, marker="+", markersize=18, markeredgewidth=2.5, color=VERMILION)
        panel.set(
            title=f"stored as {orientation_of(volume.affine)}: voxel [{z}, {y}, {x}]",
            xlabel="third axis of the array, x (mm)",
            ylabel="second axis, y (mm)",
        )
    return figure


def cases_figure(facts: Sequence[CaseFacts]) -> Figure:
    """What differs between cases: spacing on the left, intensities of the structures right."""
    figure, axes = new_figure(1, 2, (5.2, 3.6))
    left, right = axes[0]
    for axis, (name, (marker, colour)) in enumerate(_MARKERS.items()):
        left.plot([f.spacing[axis] for f in facts], marker, color=colour, label=name)
    low, middle, high = np.array([f.foreground for f in facts]).T  # (case,) each
    percentiles = "0.5th to 99.5th percentile"
    right.vlines(range(len(facts)), low, high, color=BLUE, linewidth=3, label=percentiles)
    right.plot(middle, "o", color=VERMILION, markersize=4, label="median")
    if np.nanmin(low) > 0:
        right.set_yscale("log")
    left.set(title="distance of neighbouring voxels", ylabel="mm")
    left.set_ylim(0, 1.1 * max(max(f.spacing) for f in facts))
    right.set(title="intensities inside the structures", ylabel="as stored, no unit")
    for panel in (left, right):
        panel.set_xlabel("case, in the dataset's order")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
        panel.grid(alpha=0.3)
    return figure

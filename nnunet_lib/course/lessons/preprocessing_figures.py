"""Figures that only lesson 02 needs. Colours and millimetres are those of `course.figures`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from nnunet_lib.course.figures import (
    BLUE,
    GREEN,
    ORANGE,
    PLANES,
    SKY_BLUE,
    VERMILION,
    add_legend,
    busiest_slice,
    draw_slice,
    new_figure,
)
from nnunet_lib.datasets import Box, Volume
from nnunet_lib.preprocessing import Geometry, PreprocessedCase, resample_image, resample_logits

_FINER = 20  # how many points a curve has for each voxel


def crop_figure(volume: Volume, box: Box) -> Figure:
    """The middle slice of a scan in three planes, with the box that cropping keeps."""
    figure, axes = new_figure(1, 3, (3.4, 3.6))
    planes = (("axial", 1, 2), ("coronal", 0, 2), ("sagittal", 0, 1))
    for panel, (plane, up, right) in zip(axes[0], planes, strict=True):
        draw_slice(panel, volume.array[..., 0], volume.spacing, plane=plane)
        (bottom, top), (left, stop) = (
            [edge * volume.spacing[axis] for edge in box[axis]] for axis in (up, right)
        )
        panel.add_patch(
            Rectangle(
                (left, bottom), stop - left, top - bottom, fill=False, color=ORANGE, linewidth=2.5
            )
        )
        panel.set_title(plane)
    return figure


def normalisation_figure(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> Figure:
    """Intensities inside the structures of each case: as stored on the left, normalised right.

    Args:
        before: percentiles 0.5, 50 and 99.5 of each case as stored.
        after: the same after normalisation.
    """
    figure, axes = new_figure(1, 2, (5.2, 3.9))
    for panel, rows in zip(axes[0], (before, after), strict=True):
        low, middle, high = np.array(rows).T  # (case,) each
        percentiles = "0.5th to 99.5th percentile"
        panel.vlines(range(len(rows)), low, high, color=BLUE, linewidth=3, label=percentiles)
        panel.plot(middle, "o", color=VERMILION, markersize=4, label="median")
        panel.set_xlabel("case, in the dataset's order")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    left, right = axes[0]
    if np.nanmin(before) > 0:  # NaN: a case without structures
        left.set_yscale("log")
    left.set(title="as stored", ylabel="intensity, no unit")
    right.set(title="normalised", ylabel="standard deviations from the mean")
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def interpolation_figure(line: np.ndarray, spacing: float) -> Figure:
    """Intensities along a line of a scan, and what lies between them by two interpolations.

    Args:
        line: intensities (voxel,), `spacing` millimetres apart.
        spacing: millimetres.
    """
    figure, axes = new_figure(1, 1, (8.0, 3.8))
    panel = axes[0, 0]
    for resample, colour, style, name in (
        (resample_logits, SKY_BLUE, "--", "linear"),
        (resample_image, VERMILION, "-", "cubic spline"),
    ):
        shape, step = (1, 1, len(line) * _FINER), spacing / _FINER
        image = line.reshape(1, 1, -1, 1).astype(np.float32)
        curve = resample(image, shape, (spacing,) * 3, (spacing, spacing, step))[0, 0, :, 0]
        places = (np.arange(len(curve)) + 0.5) * step
        panel.plot(places, curve, style, color=colour, label=name)
    centres = (np.arange(len(line)) + 0.5) * spacing
    panel.plot(centres, line, "o", color="black", markersize=5, label="voxels of the scan")
    panel.set(xlabel="x (mm)", ylabel="intensity", title="between the voxels of a scan")
    panel.legend()
    panel.grid(alpha=0.3)
    return figure


def labels_figure(
    panels: Sequence[tuple[str, np.ndarray, Sequence[float]]], names: Sequence[str]
) -> Figure:
    """Label maps of one place filled with colour, at the depth where the first has most structure.

    Args:
        panels: (title, labels (z, y, x), millimetres (z, y, x)) each, all of one box.
        names: of the label values 0, 1, 2.
    """
    colours = ("#E8E8E8", VERMILION, SKY_BLUE)
    figure, axes = new_figure(1, len(panels), (3.6, 4.0))
    first = panels[0][1]
    depth = (busiest_slice(first, 0) + 0.5) / first.shape[0]  # a share of the box
    for panel, (title, label, spacing) in zip(axes[0], panels, strict=True):
        height, width = (label.shape[axis] * spacing[axis] for axis in (1, 2))
        panel.imshow(
            label[int(depth * label.shape[0])],
            cmap=ListedColormap(colours),
            vmin=-0.5,
            vmax=2.5,
            extent=(0, width, 0, height),
            origin="lower",
            interpolation="nearest",
        )
        panel.set(title=title, xlabel="x (mm)", ylabel="y (mm)")
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def before_and_after_figure(
    volume: Volume, label: np.ndarray, case: PreprocessedCase, labels: Sequence[str]
) -> Figure:
    """A slice of the scan as read and the same one of the case preprocessed, outlined.

    Args:
        volume: as read.
        label: its label values (z, y, x).
        case: the same, preprocessed and labelled.
        labels: the name of each label value.
    """
    figure, axes = new_figure(1, 2, (4.4, 4.9))
    left, right = axes[0]
    geometry = case.geometry
    across = geometry.axis_order[0]
    start, stop = geometry.box[across]
    index = min(max(busiest_slice(label, across), start), stop - 1)  # of what cropping keeps
    draw_slice(left, volume.array[..., 0], volume.spacing, label, list(PLANES)[across], index)
    shapes = zip(geometry.resampled_shape, geometry.cropped_shape, strict=True)
    spacing = [
        old * s / new for (new, old), s in zip(shapes, geometry.cropped_spacing, strict=True)
    ]
    index = preprocessed_slice(index, geometry)
    draw_slice(right, case.image[..., 0], spacing, case.label, index=index)
    left.set_title(f"as read: {' × '.join(map(str, volume.array.shape[:3]))} voxels")
    right.set_title(f"preprocessed: {' × '.join(map(str, case.image.shape[:3]))} voxels")
    right.set(xlabel="third axis (mm)", ylabel="second axis (mm)")
    add_legend(figure, labels)
    return figure


def preprocessed_slice(index: int, geometry: Geometry) -> int:
    """Where a slice of the scan as read lies in the preprocessed case, along its first axis."""
    start, stop = geometry.box[geometry.axis_order[0]]
    depth = (index + 0.5 - start) / (stop - start)  # a share of the box
    return geometry.padding[0][0] + int(depth * geometry.resampled_shape[0])


def ct_figure(image: np.ndarray, label: np.ndarray, lower: float, upper: float) -> Figure:
    """How often each intensity of a CT occurs, in all of it and inside its structures.

    Args:
        image: Hounsfield units (z, y, x).
        label: label values (z, y, x).
        lower: the least intensity that clipping keeps.
        upper: the largest.
    """
    figure, axes = new_figure(1, 2, (4.8, 3.6))
    for panel, limits in zip(axes[0], ((-1100, 1100), (-100, 300)), strict=True):
        bins = np.linspace(*limits, 111)
        for values, colour, name in (
            (image.ravel(), BLUE, "whole scan"),
            (image[label > 0], ORANGE, "structures"),
        ):
            panel.hist(values, bins, color=colour, alpha=0.8, label=name)
        panel.axvspan(lower, upper, facecolor="none", edgecolor=GREEN, hatch="///", label="kept")
        panel.xaxis.set_major_locator(MaxNLocator(5))
        panel.set(xlabel="Hounsfield units", ylabel="voxels", yscale="log", xlim=limits)
    axes[0, 0].set_title("all tissues")
    axes[0, 1].set_title("near the structures")
    axes[0, 0].legend()
    return figure

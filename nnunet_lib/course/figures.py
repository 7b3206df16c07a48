"""Figures: shown only with a text that says what they show, in colours that everybody can tell.

Volumes are in spatial order (z, y, x); axes are in millimetres from the grid's first corner.
Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; truth
and prediction differ by panel, never by colour alone.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnunet_lib.course.output import emit

ORANGE, SKY_BLUE, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, YELLOW = "#0072B2", "#D55E00", "#CC79A7", "#F0E442"
LABEL_COLOURS = (ORANGE, SKY_BLUE, YELLOW, PURPLE, GREEN, VERMILION, BLUE)

SHORTEST_ALT_TEXT = 20
_DOTS_PER_INCH = 100
# For each plane: the axis one looks along, then the axes that run up and to the right.
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
_AXIS_NAMES = "zyx"


def show(figure: Figure, alt_text: str) -> None:
    """Show a figure in a notebook as a PNG whose alt text the page carries.

    Args:
        figure: a Matplotlib figure; it is closed afterwards.
        alt_text: what the picture shows, for readers who do not see it.

    Raises:
        ValueError: if the alt text is missing or says too little.
    """
    emit(as_bundle(figure, alt_text), metadata={"alt": " ".join(alt_text.split())})


def as_bundle(figure: Figure, alt_text: str) -> dict[str, str]:
    """What `show` shows: the figure as HTML, and in words as plain text."""
    words = alt_text.split()
    if len(" ".join(words)) < SHORTEST_ALT_TEXT or len(words) < 4:
        raise ValueError(
            f"The alt text {alt_text!r} says too little. Tell somebody who cannot see the "
            f"figure what it shows, in at least {SHORTEST_ALT_TEXT} characters."
        )
    image = base64.b64encode(_png(figure)).decode("ascii")
    text = escape(" ".join(words), quote=True)
    html = f'<img alt="{text}" src="data:image/png;base64,{image}" style="max-width: 100%">'
    return {"text/html": html, "text/plain": f"[Figure: {' '.join(words)}]"}


def _png(figure: Figure) -> bytes:
    """Render and close; pyplot is asked only where it is in use, as it keeps figures alive."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
    from matplotlib import pyplot

    pyplot.close(figure)
    return buffer.getvalue()


def new_figure(rows: int, columns: int, panel: tuple[float, float]) -> tuple[Figure, Any]:
    """A figure and its (rows, columns) array of axes; `panel` is (width, height) in inches."""
    size = (panel[0] * columns, panel[1] * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_slice(
    axes: Axes,
    image: np.ndarray,
    spacing: Sequence[float],
    label: np.ndarray | None = None,
    plane: str = "axial",
    index: int | None = None,
    window: tuple[float, float] | None = None,
) -> None:
    """Draw one slice of a scan in grey, with the outline of each labelled structure.

    Args:
        axes: where to draw.
        image: intensities (z, y, x).
        spacing: millimetres between voxels (z, y, x).
        label: label values (z, y, x), or None for the scan alone.
        plane: "axial", "coronal" or "sagittal", in the array's own axes.
        index: which slice; by default the one with most foreground, or the middle.
        window: the intensities drawn black and white; by default percentiles 0.5 and 99.9.
    """
    across, up, right = PLANES[plane]
    if index is None:
        index = busiest_slice(label, across) if label is not None else image.shape[across] // 2
    low, high = window or default_window(image)
    height, width = (image.shape[axis] * spacing[axis] for axis in (up, right))
    extent = (0.0, width, 0.0, height)
    axes.imshow(
        image.take(index, axis=across),
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=extent,
        origin="lower",
        interpolation="nearest",
    )
    if label is not None:
        _outline(axes, label.take(index, axis=across), (spacing[up], spacing[right]))
    axes.set_xlabel(f"{_AXIS_NAMES[right]} (mm)")
    axes.set_ylabel(f"{_AXIS_NAMES[up]} (mm)")


def default_window(image: np.ndarray) -> tuple[float, float]:
    """The intensities drawn black and white unless told otherwise: percentiles 0.5 and 99.9."""
    low, high = np.percentile(image, (0.5, 99.9))
    return float(low), float(high)


def busiest_slice(label: np.ndarray, axis: int) -> int:
    """The slice along `axis` with the most foreground voxels; the middle if there are none."""
    others = tuple(other for other in range(label.ndim) if other != axis)
    counts = (label > 0).sum(axis=others)
    return int(counts.argmax()) if counts.any() else label.shape[axis] // 2


def _outline(axes: Axes, label: np.ndarray, spacing: tuple[float, float]) -> None:
    """Draw each label's boundary on a slice (up, right); voxel centres lie half a voxel in."""
    rows, columns = (
        (np.arange(-1, n + 1) + 0.5) * s for n, s in zip(label.shape, spacing, strict=True)
    )
    framed = np.pad(label, 1)  # so that a structure at the border is closed too
    for value in np.unique(label[label > 0]):
        axes.contour(
            columns,
            rows,
            framed == value,
            levels=[0.5],
            colors=[label_colour(int(value))],
            linewidths=1.8,
        )
    axes.set_xlim(0, label.shape[1] * spacing[1])
    axes.set_ylim(0, label.shape[0] * spacing[0])


def label_colour(value: int) -> str:
    """The colour of a label value; colours repeat after seven structures."""
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def add_legend(figure: Figure, labels: Sequence[str]) -> None:
    """Name each structure's colour under the panels; labels[0] is the background."""
    handles = [
        Line2D([], [], color=label_colour(value), linewidth=2.5, label=name)
        for value, name in enumerate(labels)
        if value > 0
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def planes_figure(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], labels: Sequence[str]
) -> Figure:
    """A scan in three planes through its structures, outlined.

    Args:
        image: intensities (z, y, x).
        label: label values (z, y, x).
        spacing: millimetres between voxels (z, y, x).
        labels: the name of each label value.
    """
    figure, axes = new_figure(1, 3, (3.4, 3.9))
    for panel, plane in zip(axes[0], PLANES, strict=True):
        draw_slice(panel, image, spacing, label, plane)
        panel.set_title(f"{plane}, slice {busiest_slice(label, PLANES[plane][0])}")
    add_legend(figure, labels)
    return figure


def comparison_figure(
    cases: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, Sequence[float]]],
    labels: Sequence[str],
) -> Figure:
    """One row a case: the scan, the truth on it, the prediction on it.

    Args:
        cases: (title, image, truth, prediction, spacing) each; arrays (z, y, x), spacing in
            millimetres. All three panels show the axial slice with the most true foreground.
        labels: the name of each label value.
    """
    figure, axes = new_figure(len(cases), 3, (3.4, 3.7))
    for row, (title, image, truth, prediction, spacing) in zip(axes, cases, strict=True):
        index = busiest_slice(truth, PLANES["axial"][0])
        overlays = ((title, None), ("truth", truth), ("prediction", prediction))
        for panel, (name, overlay) in zip(row, overlays, strict=True):
            draw_slice(panel, image, spacing, overlay, index=index)
            panel.set_title(name)
    add_legend(figure, labels)
    return figure


def patches_figure(
    image: np.ndarray, label: np.ndarray, spacing: Sequence[float], labels: Sequence[str]
) -> Figure:
    """The middle of each patch of a batch, with its outlines.

    Args:
        image: a batch (batch, depth, height, width, channel) in plan order.
        label: its labels (batch, depth, height, width, 1).
        spacing: millimetres between voxels, in plan order.
        labels: the name of each label value.
    """
    figure, axes = new_figure(1, len(image), (3.4, 4.0))
    for number, panel in enumerate(axes[0]):
        draw_slice(panel, image[number, ..., 0], spacing, label[number, ..., 0])
        panel.set_title(f"patch {number + 1} of {len(image)}")
        panel.set(xlabel="millimetres", ylabel="millimetres")
    add_legend(figure, labels)
    return figure


def curve_figure(
    seconds: Sequence[float], loss: Sequence[float], learning_rate: Sequence[float]
) -> Figure:
    """The loss of each epoch against wall time in seconds, and the learning rate below it."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.plot(seconds, loss, color=BLUE, marker="o", markersize=4)
    upper.set(ylabel="training loss", title="Training loss, and the learning rate")
    lower.plot(seconds, learning_rate, color=VERMILION, linestyle="--")
    lower.set(xlabel="seconds of training", ylabel="learning rate", xlim=(0, None), ylim=(0, None))
    for panel in (upper, lower):
        panel.grid(alpha=0.3)
    return figure

"""The slice viewer: a scan to leaf through in JupyterLab, and a montage of it everywhere else.

Nothing can tell for sure whether somebody will sit before the output. So one output carries
both: a front end with a kernel shows the widget, and a page without one shows the montage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from nnunet_lib.course.figures import (
    PLANES,
    add_legend,
    as_bundle,
    busiest_slice,
    default_window,
    draw_slice,
    new_figure,
)
from nnunet_lib.course.output import WIDGET_MIME, emit

MONTAGE_COLUMNS = 5
_PANEL = (3.4, 3.7)
_SMALL_PANEL = (2.4, 2.7)
_WIDE = {"width": "30em"}
_STEPS = 200  # of the window and level sliders


@dataclass(frozen=True)
class Scan:
    """What is looked at; arrays (z, y, x), spacing in millimetres (z, y, x).

    Attributes:
        image: intensities.
        spacing: millimetres between voxels.
        labels: the name of each label value.
        truth: label values, or None for a scan that nobody has labelled.
        prediction: label values, or None.
    """

    image: np.ndarray
    spacing: Sequence[float]
    labels: Sequence[str] = ()
    truth: np.ndarray | None = None
    prediction: np.ndarray | None = None

    def overlays(self) -> list[tuple[str, np.ndarray | None]]:
        """The panels: truth and prediction where there are such, else the scan alone."""
        maps = (("truth", self.truth), ("prediction", self.prediction))
        return [(name, label) for name, label in maps if label is not None] or [("scan", None)]

    def structures(self) -> np.ndarray | None:
        """Where truth or prediction has any structure; None without either."""
        masks = [label > 0 for _, label in self.overlays() if label is not None]
        return np.logical_or.reduce(masks) if masks else None


@dataclass(frozen=True)
class View:
    """How it is looked at.

    Attributes:
        plane: axial, coronal or sagittal, in the array's own axes.
        index: the slice, from 0.
        level: the intensity in the middle between black and white.
        window: the distance from black to white, in intensities.
        outlines: whether structures are outlined.
    """

    plane: str
    index: int
    level: float
    window: float
    outlines: bool = True

    @property
    def intensities(self) -> tuple[float, float]:
        """The intensities drawn black and white."""
        return self.level - self.window / 2, self.level + self.window / 2


def viewer(
    image: np.ndarray,
    spacing: Sequence[float],
    labels: Sequence[str] = (),
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    plane: str = "axial",
    title: str = "the scan",
) -> None:
    """Show a scan slice by slice, with truth and prediction side by side where both are given.

    In JupyterLab: sliders for the slice, the window and the level, buttons for the plane, and a
    box for the outlines, all of which the keyboard moves too. In a page: a montage.

    Args:
        image: intensities (z, y, x).
        spacing: millimetres between voxels (z, y, x).
        labels: the name of each label value.
        truth: label values (z, y, x).
        prediction: label values (z, y, x).
        plane: the plane to begin with: "axial", "coronal" or "sagittal".
        title: what is shown, for the text beside the pictures, such as "case hippocampus_001".
    """
    scan = Scan(image, spacing, labels, truth, prediction)
    SliceViewer(scan, plane, title).show()


def start_view(scan: Scan, plane: str) -> View:
    """The view to begin with: the slice with most structure, in the default window."""
    low, high = default_window(scan.image)
    width = max(high - low, float(np.finfo(np.float32).eps))
    return View(plane, _busiest(scan, plane), (low + high) / 2, width)


def _busiest(scan: Scan, plane: str) -> int:
    across, structures = PLANES[plane][0], scan.structures()
    if structures is None:
        return scan.image.shape[across] // 2
    return busiest_slice(structures, across)


def view_figure(scan: Scan, view: View) -> Figure:
    """One slice, a panel each for truth and prediction."""
    overlays = scan.overlays()
    figure, axes = new_figure(1, len(overlays), _PANEL)
    for panel, (name, label) in zip(axes[0], overlays, strict=True):
        _draw(panel, scan, view, label)
        panel.set_title(f"{name}: {_place(scan, view)}")
    _name_structures(figure, scan, view)
    return figure


def montage_figure(scan: Scan, view: View) -> Figure:
    """Slices of the view's plane side by side, a row each for truth and prediction."""
    overlays, indices = scan.overlays(), montage_slices(scan, view.plane)
    figure, axes = new_figure(len(overlays), len(indices), _SMALL_PANEL)
    for row, (name, label) in zip(axes, overlays, strict=True):
        for panel, index in zip(row, indices, strict=True):
            here = replace(view, index=index)
            _draw(panel, scan, here, label)
            panel.set_title(f"{name}: {_place(scan, here)}", fontsize="small")
    for panel in axes[:, 1:].flat:
        panel.set_ylabel("")
    for panel in axes[:-1].flat:
        panel.set_xlabel("")
    _name_structures(figure, scan, view)
    return figure


def montage_slices(scan: Scan, plane: str) -> list[int]:
    """At most `MONTAGE_COLUMNS` slices, evenly spread over those that have a structure.

    Without structures they spread over the whole scan.
    """
    across, structures = PLANES[plane][0], scan.structures()
    first, last = 0, scan.image.shape[across] - 1
    if structures is not None and structures.any():
        others = tuple(axis for axis in range(3) if axis != across)
        held = np.flatnonzero(structures.any(axis=others))
        first, last = int(held[0]), int(held[-1])
    return np.unique(np.linspace(first, last, MONTAGE_COLUMNS).round().astype(int)).tolist()


def _draw(panel: Any, scan: Scan, view: View, label: np.ndarray | None) -> None:
    overlay = label if view.outlines else None
    draw_slice(panel, scan.image, scan.spacing, overlay, view.plane, view.index, view.intensities)


def _place(scan: Scan, view: View) -> str:
    """Where a slice lies: the middle of its voxels, in millimetres from the grid's corner."""
    millimetres = (view.index + 0.5) * scan.spacing[PLANES[view.plane][0]]
    return f"slice {view.index}, {millimetres:.0f} mm"


def _name_structures(figure: Figure, scan: Scan, view: View) -> None:
    if view.outlines and scan.structures() is not None:
        add_legend(figure, scan.labels)


def _last_slice(scan: Scan, plane: str) -> int:
    return scan.image.shape[PLANES[plane][0]] - 1


class SliceViewer:
    """The widget: controls on top, the slice below, drawn anew whenever a control changes."""

    def __init__(self, scan: Scan, plane: str = "axial", title: str = "the scan") -> None:
        self.scan, self.title = scan, title
        start = start_view(scan, plane)
        self.plane = widgets.ToggleButtons(options=list(PLANES), value=plane, description="plane")
        last = _last_slice(scan, plane)  # at once: else the slider's own, 100, cuts the value
        self.index = widgets.IntSlider(start.index, 0, last, description="slice", layout=_WIDE)
        low, high = float(scan.image.min()), float(scan.image.max())
        step = max(high - low, start.window) / _STEPS
        self.level = _slider("level", start.level, min(low, start.level), max(high, start.level))
        self.window = _slider("window", start.window, step, max(high - low, start.window))
        self.outlines = widgets.Checkbox(value=True, description="outline the structures")
        self.picture = widgets.HTML()
        self.figure = self._redraw()
        self.plane.observe(self._change_plane, "value")
        for control in (self.index, self.level, self.window, self.outlines):
            control.observe(self._change, "value")

    @property
    def view(self) -> View:
        """What the controls say now."""
        return View(
            self.plane.value,
            self.index.value,
            self.level.value,
            self.window.value,
            self.outlines.value,
        )

    def show(self) -> None:
        """Show the widget where it can live, and the montage of the same view where not."""
        controls = [self.plane, self.index, self.level, self.window]
        if self.scan.structures() is not None:
            controls.append(self.outlines)
        live = widgets.VBox([*controls, self.picture])
        still = as_bundle(montage_figure(self.scan, self.view), self._montage_text())
        emit({**still, WIDGET_MIME: live._repr_mimebundle_()[WIDGET_MIME]})

    def _change(self, _: Any) -> None:
        self.figure = self._redraw()

    def _change_plane(self, _: Any) -> None:
        """Go to the new plane's busiest slice, and draw once."""
        self.index.unobserve(self._change, "value")
        self.index.max = _last_slice(self.scan, self.plane.value)
        self.index.value = _busiest(self.scan, self.plane.value)
        self.index.observe(self._change, "value")
        self.figure = self._redraw()

    def _redraw(self) -> Figure:
        figure = view_figure(self.scan, self.view)
        self.picture.value = as_bundle(figure, self._text())["text/html"]
        return figure

    def _text(self) -> str:
        return f"{self._what()}, {self.view.plane} {_place(self.scan, self.view)}. {self._how()}"

    def _montage_text(self) -> str:
        slices = ", ".join(map(str, montage_slices(self.scan, self.view.plane)))
        return f"{self._what()}, {self.view.plane} slices {slices} side by side. {self._how()}"

    def _what(self) -> str:
        names = " and ".join(name for name, label in self.scan.overlays() if label is not None)
        return f"{self.title[0].upper()}{self.title[1:]} in grey{f' with {names}' if names else ''}"

    def _how(self) -> str:
        low, high = self.view.intensities
        return f"Intensities from {low:.4g} (black) to {high:.4g} (white); axes in millimetres."


def _slider(name: str, value: float, least: float, most: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=value,
        min=least,
        max=most,
        step=(most - least) / _STEPS,
        description=name,
        readout_format=".4g",
        layout=_WIDE,
    )

"""The viewer draws the slice that its controls say, and the montage shows the same in a page."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from nnunet_lib.course import figures
from nnunet_lib.course.output import WIDGET_MIME
from nnunet_lib.course.viewer import (
    Scan,
    SliceViewer,
    montage_figure,
    montage_slices,
    start_view,
    view_figure,
    viewer,
)

SPACING = (3.0, 1.0, 2.0)


@pytest.fixture
def scan():
    """A scan (z, y, x) whose voxels all differ, with a truth, and a prediction elsewhere."""
    image = np.random.default_rng(0).permutation(6 * 10 * 8).reshape(6, 10, 8).astype(np.float32)
    truth = np.zeros(image.shape, np.uint8)
    truth[2:4, 3:6, 1:4] = 1
    prediction = np.zeros(image.shape, np.uint8)
    prediction[3:5, 3:8, 1:5] = 2
    return Scan(image, SPACING, ("background", "front", "back"), truth, prediction)


def drawn(figure):
    """The arrays that the figure's panels show."""
    return [panel.images[0].get_array().data for panel in figure.axes]


def outlined(figure):
    """How many structures each panel outlines."""
    return [len(panel.collections) for panel in figure.axes]


def alt_text(html):
    return unescape(re.search('alt="([^"]*)"', html)[1])


def test_it_starts_at_the_slice_with_most_structure(scan):
    live = SliceViewer(scan)
    assert live.view.index == 3  # where truth and prediction both lie
    assert (live.index.min, live.index.max) == (0, 5)
    for array in drawn(live.figure):
        assert np.array_equal(array, scan.image[3])


def test_it_starts_beyond_the_hundredth_slice_too():
    label = np.zeros((300, 4, 4), np.uint8)
    label[250] = 1
    scan = Scan(np.ones(label.shape, np.float32), (3.0, 1.0, 1.0), ("rest", "organ"), label)
    assert SliceViewer(scan).view.index == 250


def test_moving_the_slice_draws_that_slice(scan):
    live = SliceViewer(scan)
    for index in (0, 5, 2):
        live.index.value = index
        assert all(np.array_equal(array, scan.image[index]) for array in drawn(live.figure))
        assert f"slice {index}, {(index + 0.5) * 3:.0f} mm" in alt_text(live.picture.value)


@pytest.mark.parametrize(("plane", "axis"), [("coronal", 1), ("sagittal", 2)])
def test_another_plane_begins_at_its_own_busiest_slice(scan, plane, axis):
    live = SliceViewer(scan)
    live.index.value = 5
    live.plane.value = plane
    assert live.index.max == scan.image.shape[axis] - 1
    assert np.array_equal(drawn(live.figure)[0], scan.image.take(live.index.value, axis))
    assert scan.structures().take(live.index.value, axis).any()
    live.index.value = live.index.max
    assert np.array_equal(drawn(live.figure)[0], scan.image.take(-1, axis))
    live.plane.value = "axial"  # with fewer slices than the slider stood at
    assert np.array_equal(drawn(live.figure)[0], scan.image[3])


def test_each_change_draws_once(scan, monkeypatch):
    live, drawings = SliceViewer(scan), []
    monkeypatch.setattr(live, "_redraw", lambda: drawings.append(live.view))
    live.plane.value = "sagittal"
    live.index.value += 1
    live.window.value /= 2
    assert len(drawings) == 3


def test_window_and_level_are_applied(scan):
    live = SliceViewer(scan)
    live.level.value, live.window.value = 100.0, 40.0
    for panel in live.figure.axes:
        assert panel.images[0].get_clim() == (80.0, 120.0)
    assert "from 80 (black) to 120 (white)" in alt_text(live.picture.value)


def test_the_controls_reach_every_intensity(scan):
    live = SliceViewer(scan)
    assert (live.level.min, live.level.max) == (0, 479)
    live.window.value = live.window.max
    low, high = live.view.intensities
    assert high - low == pytest.approx(479)
    assert live.window.min > 0


def test_outlines_can_be_taken_away(scan):
    live = SliceViewer(scan)
    assert outlined(live.figure) == [1, 1]
    live.outlines.value = False
    assert outlined(live.figure) == [0, 0]
    assert not live.figure.legends


def test_truth_and_prediction_have_a_panel_each_and_a_scan_alone_has_one(scan):
    view = replace(start_view(scan, "axial"), index=2)
    both = view_figure(scan, view)
    assert [panel.get_title().split(":")[0] for panel in both.axes] == ["truth", "prediction"]
    assert outlined(both) == [1, 0]  # the prediction begins a slice later
    alone = replace(scan, truth=None, prediction=None)
    assert outlined(view_figure(alone, start_view(alone, "axial"))) == [0]
    assert outlined(view_figure(replace(scan, prediction=None), view)) == [1]


def test_axes_are_in_millimetres(scan):
    panel = view_figure(scan, start_view(scan, "sagittal")).axes[0]
    assert (panel.get_xlim(), panel.get_ylim()) == ((0, 10), (0, 18))
    assert panel.get_xlabel() == "y (mm)"


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_the_montage_shows_the_slices_that_hold_structures(scan, plane, axis):
    indices = montage_slices(scan, plane)
    held = np.flatnonzero(np.moveaxis(scan.structures(), axis, 0).any(axis=(1, 2)))
    assert (indices[0], indices[-1]) == (held[0], held[-1])
    view = replace(start_view(scan, plane), level=100.0, window=40.0)
    figure = montage_figure(scan, view)
    arrays = drawn(figure)
    assert len(arrays) == 2 * len(indices)  # truth above prediction
    for array, index in zip(arrays, indices * 2, strict=True):
        assert np.array_equal(array, scan.image.take(index, axis))
    assert {panel.images[0].get_clim() for panel in figure.axes} == {(80.0, 120.0)}
    maps = (scan.truth, scan.prediction)
    assert outlined(figure) == [label.take(i, axis).any() for label in maps for i in indices]


def test_without_structures_the_montage_spreads_over_the_scan(scan):
    assert montage_slices(replace(scan, truth=None, prediction=None), "coronal") == [0, 2, 4, 7, 9]


def test_one_output_holds_the_widget_and_the_montage(scan, shown):
    viewer(scan.image, SPACING, scan.labels, scan.truth, scan.prediction, title="case 7")
    ((bundle, _),) = shown
    assert bundle[WIDGET_MIME]["model_id"]
    assert alt_text(bundle["text/html"]).startswith(
        "Case 7 in grey with truth and prediction, axial slices 2, 3, 4 side by side."
    )
    assert alt_text(bundle["text/html"]) in bundle["text/plain"]


def test_a_scan_of_one_intensity_can_be_shown(shown):
    viewer(np.zeros((3, 4, 5), np.float32), SPACING)
    assert len(shown) == 1


def test_the_structures_colours_are_okabe_and_itos():
    published = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert set(figures.LABEL_COLOURS) == published

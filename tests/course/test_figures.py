"""Figures need words; slices lie where their millimetres say."""

import base64
import io
from html import unescape

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from nnunet_lib.course import figures

ALT = 'A grey cube with an "orange" outline & nothing else.'


def cube():
    """A scan (z, y, x) with one box of label 1 and one of label 2, and its spacing in mm."""
    label = np.zeros((6, 10, 8), np.uint8)
    label[2:4, 3:6, 1:4] = 1
    label[4, 5:9, 4:7] = 2
    return label * 100.0 + 5.0, label, (3.0, 1.0, 2.0)


@pytest.mark.parametrize("alt", ["", "   ", "figure", "a" * 40, "a b c d", "Loss      x    y    z"])
def test_a_figure_without_meaningful_alt_text_is_refused(alt, shown):
    with pytest.raises(ValueError, match="alt text"):
        figures.show(Figure(), alt)
    assert shown == []


def test_a_figure_is_shown_as_png_with_its_alt_text(shown):
    figures.show(Figure(figsize=(2, 1)), ALT)
    ((bundle, metadata),) = shown
    html = bundle["text/html"]
    assert unescape(html.split('alt="')[1].split('"')[0]) == ALT
    picture = base64.b64decode(html.split("base64,")[1].split('"')[0])
    assert imread(io.BytesIO(picture)).shape[:2] == (100, 200)
    assert ALT in bundle["text/plain"]
    assert metadata["alt"] == ALT


def test_a_pyplot_figure_is_closed(shown):
    from matplotlib import pyplot

    figure = pyplot.figure()
    figures.show(figure, ALT)
    assert not pyplot.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("plane", "width", "height"), [("axial", 16, 10), ("coronal", 16, 18), ("sagittal", 10, 18)]
)
def test_axes_are_in_millimetres(plane, width, height):
    image, label, spacing = cube()
    axes = Figure().subplots()
    figures.draw_slice(axes, image, spacing, label, plane)
    assert axes.get_xlim() == (0, width)
    assert axes.get_ylim() == (0, height)
    assert axes.get_xlabel().endswith("(mm)")
    assert axes.get_ylabel().endswith("(mm)")


def test_the_outline_runs_between_the_voxels_it_separates():
    image, label, spacing = cube()
    axes = Figure().subplots()
    figures.draw_slice(axes, image, spacing, label, "axial", index=2)
    (outline,) = axes.collections  # label 2 is not in this slice
    corners = np.concatenate([path.vertices for path in outline.get_paths()])
    # y: voxels 3, 4, 5 of 1 mm cover 3 to 6 mm; x: voxels 1, 2, 3 of 2 mm cover 2 to 8 mm.
    assert np.allclose(corners.min(axis=0), (2, 3))
    assert np.allclose(corners.max(axis=0), (8, 6))


@pytest.mark.parametrize("plane", figures.PLANES)
def test_each_voxel_is_drawn_at_its_millimetres(plane):
    """Neither axis mirrored or exchanged, so that a scan lies under its outlines."""
    image, _, spacing = cube()
    image = np.random.default_rng(0).permutation(image.size).reshape(image.shape)
    across, up, right = figures.PLANES[plane]
    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    figures.draw_slice(axes, image, spacing, None, plane, index=2, window=(0, image.size))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, 0]  # rows from below, as axes count
    wanted = image.take(2, axis=across)  # (up, right)
    for row, column in np.ndindex(wanted.shape):
        place = ((column + 0.5) * spacing[right], (row + 0.5) * spacing[up])
        x, y = axes.transData.transform(place).astype(int)
        assert pixels[y, x] == pytest.approx(255 * wanted[row, column] / image.size, abs=2)


def test_each_structure_is_outlined_alone_in_the_colour_that_the_legend_names():
    label = np.zeros((1, 9, 9), np.uint8)
    label[0, 1:3, 1:3], label[0, 4:6, 4:6], label[0, 7:, 7:] = 1, 2, 3  # the last at the border
    names = ("background", "front", "middle", "back")
    figure = figures.comparison_figure([("one", label, label, label, (1, 1, 1))], names)
    (legend,) = figure.legends
    colours = [line.get_color() for line in legend.get_lines()]
    assert [text.get_text() for text in legend.get_texts()] == list(names[1:])
    for panel in figure.axes[1:]:
        outlines = zip(panel.collections, colours, ((1, 3), (4, 6), (7, 9)), strict=True)
        for outline, colour, (first, last) in outlines:
            assert to_hex(outline.get_edgecolor()[0], keep_alpha=False) == colour.lower()
            (path,) = outline.get_paths()
            assert path.vertices.min(axis=0) == pytest.approx((first, first))
            assert path.vertices.max(axis=0) == pytest.approx((last, last))


def test_the_busiest_slice_has_most_foreground():
    _, label, _ = cube()
    assert figures.busiest_slice(label, axis=0) == 4
    assert figures.busiest_slice(np.zeros_like(label), axis=0) == 3


def test_label_colours_differ():
    assert len({figures.label_colour(value) for value in range(1, 8)}) == 7


def shown_in(figure):
    """The array that each panel shows, and how many structures it outlines."""
    arrays = [axes.images[0].get_array().data.tolist() for axes in figure.axes]
    return arrays, [len(axes.collections) for axes in figure.axes]


def test_the_comparison_has_a_row_a_case_and_outlines_truth_and_prediction():
    image, label, spacing = cube()
    elsewhere = np.zeros_like(label)
    elsewhere[0] = 1  # more than the truth, and in none of its slices
    cases = [("one", image, label, elsewhere, spacing), ("two", image + 1, label, label, spacing)]
    figure = figures.comparison_figure(cases, ("background", "front", "back"))
    arrays, outlines = shown_in(figure)
    assert arrays == [image[4].tolist()] * 3 + [(image[4] + 1).tolist()] * 3
    assert outlines == [0, 1, 0, 0, 1, 1]


def test_planes_and_patches_show_each_its_own_slice_and_outlines():
    image, label, spacing = cube()
    image = np.random.default_rng(0).permutation(image.size).reshape(image.shape)
    names = ("background", "front", "back")
    arrays, outlines = shown_in(figures.planes_figure(image, label, spacing, names))
    wanted = [image.take(figures.busiest_slice(label, axis), axis).tolist() for axis in range(3)]
    assert arrays == wanted
    assert outlines == [1, 2, 1]  # the middle one cuts both structures
    patches = np.stack([image, image[::-1]])[..., None]
    labels = np.stack([label, label * 0])[..., None]
    arrays, outlines = shown_in(figures.patches_figure(patches, labels, spacing, names))
    assert arrays == [image[4].tolist(), image[::-1][3].tolist()]
    assert outlines == [1, 0]


def test_a_curve_shows_loss_and_learning_rate_under_their_names():
    upper, lower = figures.curve_figure([1, 2, 3], [0.9, 0.5, 0.4], [1e-3, 5e-4, 0]).axes
    for axes, name, values in (
        (upper, "training loss", [0.9, 0.5, 0.4]),
        (lower, "learning rate", [1e-3, 5e-4, 0]),
    ):
        assert axes.get_ylabel() == name
        (line,) = axes.get_lines()
        assert line.get_xydata().T.tolist() == [[1, 2, 3], values]


def test_a_few_extreme_voxels_do_not_decide_what_is_black_and_white():
    assert figures.default_window(np.arange(1001.0)) == pytest.approx((5, 999))

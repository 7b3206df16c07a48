"""Lesson 02's claims fail when the library is broken in the way that they speak of."""

from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course.lessons import preprocessing as lesson
from nnunet_lib.course.lessons import preprocessing_figures as figures
from nnunet_lib.datasets import Dataset, Volume, read_label, read_volume
from nnunet_lib.planning import Normalisation, plan_dataset, planner, topology
from nnunet_lib.preprocessing import case as preprocessing_case
from nnunet_lib.preprocessing import normalisation, preprocess_case, resampling

CT = Normalisation("ct", lower=-50.0, upper=150.0, mean=50.0, standard_deviation=40.0)


@pytest.fixture(scope="module")
def dataset(phantom_path):
    """Three of the phantom's cases: the first and the third have black air."""
    opened = Dataset.open(phantom_path)
    return replace(opened, training=opened.training[:3], test=())


@pytest.fixture(scope="module")
def plan(dataset):
    return plan_dataset(dataset)[1]


@pytest.fixture(scope="module")
def volumes(dataset):
    return [read_volume(case.images) for case in dataset.training]


@pytest.fixture(scope="module")
def label(dataset):
    return read_label(dataset.training[0].label)


# Cropping


def test_cropping_keeps_what_is_not_zero_in_the_smallest_box(volumes, plan):
    assert [lesson.cropping_mistakes(volume, plan) for volume in volumes] == [0, 0, 0]
    empty = Volume(np.zeros((16, 16, 16, 1), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    assert lesson.cropping_mistakes(empty, plan) == 0


@pytest.mark.parametrize("step", [1, -1])
def test_a_box_that_is_a_voxel_too_small_or_too_large_is_noticed(volumes, plan, monkeypatch, step):
    real = preprocessing_case.bounding_box

    def wrong(mask):
        return tuple((start + step, stop) for start, stop in real(mask))

    monkeypatch.setattr(preprocessing_case, "bounding_box", wrong)
    assert lesson.cropping_mistakes(volumes[0], plan) >= 3


# Normalisation


def test_gain_and_offset_vanish_under_z_score_and_stay_under_ct(volumes):
    assert lesson.z_score_change(volumes) < 1e-4
    hounsfield = replace(volumes[0], array=volumes[0].array / volumes[0].array.max() * 200)
    assert lesson.ct_change([hounsfield], CT) > 1


def test_a_z_score_that_forgets_to_scale_is_noticed(volumes, monkeypatch):
    real = normalisation._mean_and_deviation
    monkeypatch.setattr(normalisation, "_mean_and_deviation", lambda values: (real(values)[0], 1.0))
    assert lesson.z_score_change(volumes) > 1


def test_a_z_score_whose_mean_is_taken_elsewhere_is_noticed(volumes, monkeypatch):
    def of_all(channel, mask):
        result = np.zeros(channel.shape, np.float32)
        mean, deviation = normalisation._mean_and_deviation(channel)
        result[mask] = normalisation._scaled(channel[mask], mean, deviation)
        return result

    monkeypatch.setattr(normalisation, "_z_score_inside", of_all)
    assert lesson.z_score_change(volumes) > 1e-3


def test_ct_treated_as_mri_is_noticed(volumes, monkeypatch):
    monkeypatch.setattr(
        normalisation,
        "_normalise_ct",
        lambda channel, _: (
            normalisation._z_score_inside(channel, np.ones_like(channel, bool)),
            0.0,
        ),
    )
    assert lesson.ct_change(volumes, CT) < 1


def test_ranges_are_taken_inside_the_structures(volumes, label, plan):
    before, after = lesson.foreground_ranges(volumes[0], label.array, plan)
    inside = volumes[0].array[label.array > 0, 0]
    assert before == pytest.approx(tuple(np.percentile(inside, (0.5, 50, 99.5))))
    assert before[0] < before[1] < before[2]
    assert -5 < after[0] < after[1] < after[2] < 5


# Labels and images


def test_every_label_comes_from_its_source(label):
    assert lesson.labels_from_nowhere(label.array, label.spacing) == 0


def test_rounding_invents_labels_where_zero_touches_two(label):
    twos = lesson.only_twos(label.array)
    assert set(np.unique(twos)) == {0, 2}
    rounded = lesson.rounded_labels(twos, label.spacing, lesson.FACTORS[0])
    assert lesson.foreign_labels(twos, rounded) == (rounded == 1).sum() > 100


def test_labels_resampled_as_if_they_were_grey_break_the_claim(label, monkeypatch):
    def rounded(labels, shape, spacing, new_spacing):
        grey = labels[..., np.newaxis].astype(np.float32)
        values = resampling.resample_logits(grey, shape, spacing, new_spacing)
        return np.rint(values[..., 0]).astype(np.uint8)

    monkeypatch.setattr(lesson, "resample_labels", rounded)
    assert lesson.labels_from_nowhere(label.array, label.spacing) > 10


def test_labels_moved_by_two_voxels_break_the_claim(label, monkeypatch):
    real = lesson.resample_labels
    monkeypatch.setattr(
        lesson, "resample_labels", lambda *arguments: np.roll(real(*arguments), 3, axis=2)
    )
    assert lesson.labels_from_nowhere(label.array, label.spacing) > 10


def test_sources_are_the_two_voxels_around_a_centre():
    assert lesson._neighbours(4, 8) == [
        (0, 0),
        (0, 1),
        (0, 1),
        (1, 2),
        (1, 2),
        (2, 3),
        (2, 3),
        (3, 3),
    ]
    assert lesson._neighbours(4, 2) == [(0, 1), (2, 3)]
    assert lesson._neighbours(3, 3) == [(0, 1), (0, 2), (1, 2)]  # on a centre: either side of it


def test_thick_slices_stay_apart_and_others_mix():
    assert lesson.slices_of_many(5.0) == 0
    assert lesson.slices_of_many(1.5) > 0


def test_thick_slices_that_are_interpolated_across_are_noticed(monkeypatch):
    monkeypatch.setattr(resampling, "separate_axis", lambda spacing, new_spacing: None)
    assert lesson.slices_of_many(5.0) > 0


def test_cubic_splines_beat_straight_lines_and_a_linear_one_does_not(monkeypatch):
    assert lesson.gain_of_cubic() > 10
    monkeypatch.setattr(resampling, "CUBIC", 1)
    assert lesson.gain_of_cubic() == pytest.approx(1)


# Where voxels go


def test_nothing_moves(volumes, plan):
    assert max(lesson.displacement(volume, plan) for volume in volumes) < 0.01


def test_nothing_moves_where_the_coarse_axis_is_x_or_is_resampled_apart(plan):
    affine = np.array([[0, 0, 0.9, -4], [0, 1.1, 0, 7], [5.0, 0, 0, 2], [0, 0, 0, 1]])
    volume = Volume(np.ones((30, 28, 16, 1), np.float32), affine, (0.9, 1.1, 5.0))
    other = replace(plan, axis_order=(2, 0, 1), target_spacing=(5.0, 1.0, 1.0))
    assert lesson.displacement(volume, other) < 0.01


def test_a_grid_that_keeps_corner_centres_instead_of_faces_moves_voxels(volumes, plan, monkeypatch):
    real = resampling.zoom
    monkeypatch.setattr(
        resampling,
        "zoom",
        lambda *arguments, **options: real(*arguments, **options | {"grid_mode": False}),
    )
    resampling.interpolation_matrix.cache_clear()
    assert lesson.displacement(volumes[0], plan) > 0.05
    monkeypatch.undo()
    resampling.interpolation_matrix.cache_clear()


def test_a_crop_that_is_not_the_one_noted_moves_voxels(volumes, plan, monkeypatch):
    real = preprocessing_case.box_slices
    monkeypatch.setattr(
        preprocessing_case,
        "box_slices",
        lambda box: real(tuple((start - 1, stop - 1) for start, stop in box)),
    )
    assert lesson.displacement(volumes[0], plan) > 0.5


@pytest.mark.parametrize(
    "fault",
    [
        lambda label: np.roll(label, 2, axis=0),
        lambda label: np.roll(label, -1, axis=2),
        lambda label: label[:, ::-1],
        lambda label: label.transpose(0, 2, 1),
        np.zeros_like,
    ],
)
def test_a_label_that_moves_while_its_image_stays_is_noticed(volumes, plan, monkeypatch, fault):
    real = preprocessing_case.resample_labels
    monkeypatch.setattr(preprocessing_case, "resample_labels", lambda *grids: fault(real(*grids)))
    assert lesson.displacement(volumes[0], plan) == np.inf


@pytest.mark.parametrize("side", [0, 1])
def test_a_label_taken_from_one_side_of_a_place_is_noticed(volumes, plan, monkeypatch, side):
    real = resampling._sides
    monkeypatch.setattr(
        resampling, "_sides", lambda *sizes, **how: (real(*sizes, **how)[side],) * 2
    )
    assert lesson.displacement(volumes[0], plan) == np.inf


def test_a_label_between_two_voxels_may_be_either(plan):
    """At twice the spacing every new voxel lies halfway between two old ones."""
    volume = Volume(np.ones((32, 32, 32, 1), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    coarse = replace(plan, axis_order=(0, 1, 2), target_spacing=(2.5, 2.5, 2.5))
    assert lesson.displacement(volume, coarse) < 0.01


# Plans


def test_plans_are_the_published_ones():
    assert lesson.disagreements() == 0
    assert len(lesson.PUBLISHED) == 5


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (topology, "SMALLEST_EDGE", 2),
        (planner, "DATASET_SHARE", 0.5),
        (planner, "REFERENCE_GIGABYTES", 16.0),
    ],
)
def test_another_rule_gives_other_plans(monkeypatch, module, name, value):
    monkeypatch.setattr(module, name, value)
    assert lesson.disagreements() > 0


def test_kernels_aside_a_planner_that_pools_a_coarse_axis_at_once_is_noticed(monkeypatch):
    real = topology._axes_to_pool
    monkeypatch.setattr(topology, "_axes_to_pool", lambda spacings, sizes: real([1.0] * 3, sizes))
    strides = [lesson.planned(task)["3D strides"] for task in lesson.PUBLISHED]
    assert strides[3][0] != strides[3][1]  # Prostate


def test_networks_that_cannot_be_built_are_noticed(plan):
    assert lesson.impossible_networks([plan]) == 0
    deeper = ((1, 1, 1), *((2, 2, 2),) * 5)
    parts = {"kernels": ((3, 3, 3),) * 6, "filters": (8,) * 6, "strides": deeper}
    tiny = replace(plan, patch_size=(64, 96, 64), **parts)  # 2, 3 and 2 voxels at the bottom
    assert lesson.impossible_networks([plan, tiny]) == 3


# Figures


def test_the_crop_is_drawn_in_millimetres(volumes, plan):
    box = preprocess_case(volumes[0], plan).geometry.box
    rectangle = figures.crop_figure(volumes[0], box).axes[0].patches[0]
    (y0, y1), (x0, x1) = box[1], box[2]
    _, sy, sx = volumes[0].spacing
    assert rectangle.get_xy() == pytest.approx((x0 * sx, y0 * sy))
    assert (rectangle.get_width(), rectangle.get_height()) == pytest.approx(
        ((x1 - x0) * sx, (y1 - y0) * sy)
    )


def test_both_interpolations_pass_by_the_voxels():
    line = np.array([0, 0, 5, 9, 3, 4, 8, 8, 1, 0], float)
    linear, cubic, dots = figures.interpolation_figure(line, 2.0).axes[0].lines
    assert dots.get_xdata() == pytest.approx(np.arange(10) * 2 + 1)
    for curve in (linear, cubic):
        at_voxels = np.interp(dots.get_xdata(), curve.get_xdata(), curve.get_ydata())
        assert at_voxels == pytest.approx(line, abs=0.3)


def test_a_case_is_drawn_as_large_after_preprocessing_as_its_box_was(volumes, label, plan):
    case = preprocess_case(volumes[0], plan, label)
    names = ("background", "front", "back")
    figure = figures.before_and_after_figure(volumes[0], label.array, case, names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["front", "back"]
    _, right = figure.axes
    (_, _), (y0, y1), (x0, x1) = case.geometry.box
    assert right.get_xlim()[1] == pytest.approx((x1 - x0) * volumes[0].spacing[2])
    assert right.get_ylim()[1] == pytest.approx((y1 - y0) * volumes[0].spacing[1])


def test_all_label_maps_of_a_figure_are_cut_at_one_depth():
    first, second = np.zeros((10, 2, 2), int), np.zeros((25, 2, 2), int)
    first[6], second[[16, 17]] = 1, 2  # the same place: 6.5 of 10, and 16.25 to 17.5 of 25
    second[3] = 1  # more of it, elsewhere
    second[16, 0, 0] = 0
    second[17, 0, :] = 0
    panels = [("a", first, (5, 1, 1)), ("b", second, (2, 1, 1))]
    drawn = [panel.images[0].get_array() for panel in figures.labels_figure(panels, "012").axes]
    assert (drawn[0] == first[6]).all()
    assert (drawn[1] == second[16]).all()


def test_a_label_outside_the_crop_is_drawn_at_its_border(volumes, label, plan):
    start, stop = preprocess_case(volumes[0], plan, label).geometry.box[0]
    for index in (0, len(label.array) - 1):
        assert not start <= index < stop
        far = np.zeros_like(label.array)
        far[index] = 1
        case = preprocess_case(volumes[0], plan, label)
        figures.before_and_after_figure(volumes[0], far, case, ("background", "front", "back"))


def test_a_slice_is_found_again_after_preprocessing(volumes, label, plan):
    case = preprocess_case(volumes[0], plan, label)
    rank = np.broadcast_to(np.arange(label.array.shape[0])[:, None, None], label.array.shape)
    depths = replace(label, array=np.where(label.array > 0, 1 + rank, 0).astype(label.array.dtype))
    many = replace(plan, labels=("background", *map(str, range(len(label.array) + 1))))
    found = preprocess_case(volumes[0], many, depths)
    assert found.label is not None
    for index in np.flatnonzero(label.array.any(axis=(1, 2))):
        there = found.label[figures.preprocessed_slice(int(index), case.geometry)]
        assert set(np.unique(there)) <= {0, index, index + 1, index + 2}


def test_labels_and_histograms_and_ranges_are_drawn(label):
    names = ("0", "1", "2")
    assert len(figures.labels_figure([("a", label.array, label.spacing)], names).axes) == 1
    image = np.random.default_rng(0).normal(0, 100, label.array.shape)
    assert len(figures.ct_figure(image, label.array, -50, 50).axes) == 2
    rows = [(1.0, 2.0, 3.0), (100.0, 200.0, 300.0)]
    rows.append((np.nan,) * 3)  # a case without structures
    assert figures.normalisation_figure(rows, rows).axes[0].get_yscale() == "log"


def test_a_case_without_structures_has_no_range(volumes, label, plan):
    ranges = lesson.foreground_ranges(volumes[0], np.zeros_like(label.array), plan)
    assert np.isnan(ranges).all()

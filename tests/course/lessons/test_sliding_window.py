"""Lesson 10's claims hold on the library, and fail when it is broken in the way they speak of."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course.lessons import sliding_window as lesson
from nnunet_lib.course.lessons.sliding_window_figures import (
    Map,
    maps_figure,
    shares_figure,
    windows_figure,
)
from nnunet_lib.inference import InferenceSettings, prediction, test_time_augmentation, windows
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="test",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "front"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 12, 8),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    filters=(4, 8),
    mirrored=True,
)
FLAT = replace(
    PLAN,
    dimensions=2,
    patch_size=(12, 8),
    target_spacing=(1.0, 1.0),
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
)
SMALL = lesson.Trial((5, 31, 3), (8, 12, 8), 0.5, "gaussian")
LARGE = lesson.Trial((19, 31, 17), (8, 12, 8), 0.5, "gaussian")
PATCHES = [(8, 12, 8), (7, 9), (5, 16, 10)]


def worst_identity(**options):
    return max(map(lesson.identity_error, lesson.trials(**options)))


def worst_flip(plan, tta=True):
    return max(lesson.flip_error(plan, shape, tta) for shape in lesson.odd_and_small(plan))


@pytest.fixture
def from_one(monkeypatch):
    """A weight sum that starts at one."""
    sound = windows._sum_along_axis
    monkeypatch.setattr(windows, "_sum_along_axis", lambda *given: 1 + sound(*given))


@pytest.fixture
def not_undone(monkeypatch):
    """Flips that are made, and never undone."""

    def with_flips(predict, image, axes):
        flips = test_time_augmentation.flip_combinations(axes)
        return np.mean([predict(np.flip(image, flip)) for flip in flips], axis=0)

    monkeypatch.setattr(prediction, "with_flips", with_flips)


@pytest.fixture
def other_margins(monkeypatch):
    """The padding is cut off as if the larger half lay in front."""
    sound = windows.pad_to_patch

    def pad(image, patch, value=0.0):
        padded, _ = sound(image, patch, value)
        missing = [whole - size for whole, size in zip(padded.shape, image.shape, strict=True)]
        before = [voxels - voxels // 2 for voxels in missing[:-1]]
        return padded, tuple(
            slice(first, first + size) for first, size in zip(before, image.shape, strict=False)
        )

    monkeypatch.setattr(windows, "pad_to_patch", pad)


def test_trials_have_images_below_and_above_the_window_and_repeat():
    tried = list(lesson.trials())
    assert tried == list(lesson.trials())
    pairs = [pair for one in tried for pair in zip(one.shape, one.patch, strict=True)]
    assert any(size < length for size, length in pairs)
    assert any(size > 2 * length for size, length in pairs)
    assert {(one.overlap, one.blend) for one in tried} == {
        (overlap, blend) for overlap in lesson.OVERLAPS for blend in lesson.BLENDS
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_identity_comes_back(seed):
    assert worst_identity(seed=seed) <= 1e-6


def test_rounding_stays_below_its_bound_for_any_overlap():
    for tried in lesson.trials(12, overlaps=lesson.DENSE_OVERLAPS):
        assert lesson.identity_error(tried) <= lesson.rounding_bound(tried)
    assert lesson.rounding_bound(lesson.Trial((20,) * 3, (20,) * 3, 0.5, "gaussian")) == 7 / 2**24


def test_a_weight_sum_that_starts_at_one_breaks_the_identity(from_one):
    assert worst_identity() > 0.1
    assert lesson.edge_share_error(PATCHES, "constant") > 0.1


def test_margins_of_another_grid_break_the_identity(other_margins):
    assert lesson.identity_error(SMALL) > 0.1
    assert lesson.identity_error(LARGE) <= 1e-6  # nothing to cut off: the fault hides


def test_a_negative_padding_is_an_error(monkeypatch):
    def padding(shape, patch):
        sizes = zip(shape, patch, strict=True)
        halves = [min(0, size - length) // 2 for size, length in sizes]
        return tuple((half, half) for half in halves)

    monkeypatch.setattr(windows, "padding_to", padding)
    with pytest.raises(ValueError, match=r"negative|broadcast"):
        lesson.identity_error(SMALL)
    with pytest.raises(ValueError, match=r"negative|broadcast"):
        lesson.flip_error(PLAN, (5, 9, 5), tta=True)


def test_a_result_on_another_grid_is_infinitely_wrong(monkeypatch):
    cropped = windows.pad_to_patch
    monkeypatch.setattr(
        windows,
        "pad_to_patch",
        lambda *given: (cropped(*given)[0], (slice(1, None),) * 3),
    )
    assert lesson.identity_error(LARGE) == math.inf


@pytest.mark.parametrize("overlaps", [lesson.OVERLAPS, lesson.DENSE_OVERLAPS])
def test_every_voxel_is_weighed(overlaps):
    least = min(map(lesson.least_weight_sum, lesson.trials(18, overlaps=overlaps)))
    assert least >= lesson.LEAST_BELL**3


def test_weights_that_vanish_at_the_rim_and_gaps_are_noticed(monkeypatch):
    def triangle(patch, _):
        edge = np.abs(np.linspace(-1, 1, patch[-1]))
        return np.broadcast_to(1 - edge, patch)

    with monkeypatch.context() as broken:
        broken.setattr(lesson, "blend_weights", triangle)
        assert lesson.least_weight_sum(LARGE) < lesson.LEAST_BELL**3
    short = windows.windows_of(LARGE.shape, LARGE.patch, 0.5)[:-1]
    monkeypatch.setattr(lesson, "windows_of", lambda *_: short)
    assert lesson.least_weight_sum(LARGE) == 0


def test_the_order_of_windows_does_not_matter():
    assert max(map(lesson.order_difference, lesson.trials(12))) <= 1e-6


def test_a_last_window_that_wins_depends_on_the_order(monkeypatch):
    def put(self, window, logits):
        row = slice(window[-1].start * self.classes, window[-1].stop * self.classes)
        self.total[(*window[:-1], row)] = logits.reshape(self.weights.shape) * self.weights

    monkeypatch.setattr(windows._Accumulator, "add", put)
    assert lesson.order_difference(LARGE) > 0.1


@pytest.mark.parametrize("blend", lesson.BLENDS)
def test_the_edge_window_s_share_is_as_on_paper(blend):
    assert lesson.edge_share_error(PATCHES, blend) <= 1e-6


def test_on_paper_the_share_is_a_half_or_next_to_nothing():
    assert lesson.edge_share_on_paper(40, "constant") == 0.5
    rim, middle = math.exp(-((19.5 / 5) ** 2) / 2), math.exp(-((0.5 / 5) ** 2) / 2)
    assert lesson.edge_share_on_paper(40, "gaussian") == pytest.approx(rim / (rim + middle))


def test_a_bell_of_another_width_or_none_breaks_the_share(monkeypatch):
    bell = windows.bell
    windows.blend_weights.cache_clear()
    windows._row_weights.cache_clear()
    monkeypatch.setattr(windows, "bell", lambda size, blend="gaussian": np.sqrt(bell(size, blend)))
    try:
        assert lesson.edge_share_error(PATCHES, "gaussian") > 1e-2
    finally:
        windows.blend_weights.cache_clear()
        windows._row_weights.cache_clear()


def test_shares_are_of_a_whole_and_end_where_their_window_does():
    share = lesson.shares(60, 40, 0.5, "gaussian")
    assert share.shape == (60, 2)
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    assert (share[:20, 1] == 0).all()
    assert (share[20:40] > 0).all()
    assert (share[40:, 0] == 0).all()


@pytest.mark.parametrize("plan", [PLAN, FLAT], ids=["3d", "2d"])
def test_the_network_is_asymmetric_and_flips_make_it_symmetric(plan):
    assert min(lesson.flip_error(plan, s, False) for s in lesson.odd_and_small(plan)) > 0.1
    assert worst_flip(plan) <= 1e-5


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_fault_along_one_axis_alone_is_noticed(monkeypatch, axis):
    real = lesson.edge_share
    monkeypatch.setattr(
        lesson, "edge_share", lambda patch, a, blend: real(patch, a, blend) + (a == axis - 1)
    )
    assert lesson.edge_share_error(PATCHES, "constant") == pytest.approx(1)

    def one_sided(patches):
        return np.repeat(np.roll(patches[..., :1], 1, axis), 3, axis=-1)

    monkeypatch.setattr(lesson, "one_sided", one_sided)
    assert lesson.flip_error(PLAN, lesson.odd_and_small(PLAN)[0], tta=False) > 0.1


def test_hard_shapes_are_odd_and_on_both_sides_of_the_window():
    for plan in (PLAN, replace(PLAN, patch_size=(10, 16, 14)), FLAT):
        above, below, mixed = lesson.odd_and_small(plan)
        assert all(size % 2 for shape in (above, below, mixed) for size in shape)
        for shape, larger in ((above, True), (below, False)):
            sizes = zip(shape[-plan.dimensions :], plan.patch_size, strict=True)
            assert {size > length for size, length in sizes} == {larger}


def test_flips_that_are_not_undone_are_noticed(not_undone):
    assert worst_flip(PLAN) > 0.1


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("shape", [(20, 31, 17), (8, 12, 8), (5, 40, 3)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_windows_are_counted_as_on_paper(shape, overlap, tta):
    settings = InferenceSettings(tta=tta, overlap=overlap)
    expected = lesson.calls_on_paper(shape, PLAN.patch_size, overlap, 3 * tta)
    assert lesson.counted_calls(PLAN, shape, settings) == expected


def test_a_window_too_many_is_counted(monkeypatch):
    sound = windows.windows_of
    monkeypatch.setattr(windows, "windows_of", lambda *given: (*sound(*given), sound(*given)[0]))
    expected = lesson.calls_on_paper((20, 31, 17), PLAN.patch_size, 0.5, 0)
    assert lesson.counted_calls(PLAN, (20, 31, 17), InferenceSettings()) == expected + 1


def test_memory_grows_neither_with_overlap_nor_with_flips():
    assert lesson.growth_of_memory(PLAN, (40, 60, 40)) <= 1.25
    assert lesson.peak_memory(PLAN, (40, 60, 40), InferenceSettings(tta=True)) <= 3


def test_keeping_every_window_or_flip_is_noticed(monkeypatch):
    kept = []
    add = windows._Accumulator.add

    def keep(self, window, logits):
        kept.append(logits.copy())
        add(self, window, logits)

    def with_flips(predict, image, axes):
        flips = test_time_augmentation.flip_combinations(axes)
        return np.mean([np.flip(predict(np.flip(image, flip)), flip) for flip in flips], axis=0)

    with monkeypatch.context() as broken:
        broken.setattr(windows._Accumulator, "add", keep)
        assert lesson.growth_of_memory(PLAN, (40, 60, 40)) > 2
    monkeypatch.setattr(prediction, "with_flips", with_flips)
    assert lesson.peak_memory(PLAN, (40, 60, 40), InferenceSettings(tta=True)) > 6


def test_steps_at_seams_stand_out_from_the_others():
    flat = np.arange(24.0).reshape(1, 24, 1, 1) * np.ones((6, 24, 6, 2))
    flat = flat + np.arange(6.0)[:, None, None, None] + np.arange(6.0)[None, None, :, None]
    assert lesson.seams((6, 24, 6), (8, 12, 8), 0.0) == [[], [12], []]
    assert lesson.step_ratio(flat, (8, 12, 8), 0.0) == pytest.approx(1)
    flat[:, 12:] += 4
    assert lesson.step_ratio(flat, (8, 12, 8), 0.0) == pytest.approx(5)
    assert math.isnan(lesson.step_ratio(flat[:, :6], (8, 12, 8), 0.0))


def test_probability_and_dice_are_those_of_the_structures():
    logits = np.log(np.array([[0.5, 0.2, 0.3], [0.9, 0.1, 0.0001]]))
    np.testing.assert_allclose(lesson.probability(logits), [0.5, 0.1], atol=1e-3)
    perfect = np.eye(3)[[0, 1, 2, 2]]
    assert lesson.mean_dice(perfect, np.array([0, 1, 2, 2])) == 1
    assert lesson.mean_dice(perfect, np.array([0, 1, 1, 2])) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_smaller_windows_keep_the_weights_and_the_strides(tmp_path):
    from nnunet_lib.model import LAST, build_unet, save_checkpoint, variable_arrays
    from nnunet_lib.model import Checkpoint as Saved

    unet = build_unet(PLAN)
    save_checkpoint(tmp_path / LAST, Saved(PLAN, True, variable_arrays(unet.variables)))
    network, plan = lesson.with_smaller_windows(tmp_path)
    assert plan == replace(PLAN, patch_size=(4, 8, 4))
    patch = lesson.random_image((4, 8, 4), 1)[None]
    assert network(patch).shape == (1, 4, 8, 4, 2)


def test_figures_have_a_panel_for_each_thing_shown():
    image = lesson.random_image((12, 20, 16), 1)[..., 0]
    laid = windows.windows_of(image.shape, (8, 12, 8), 0.5)
    figure = windows_figure(image, (1.0, 1.0, 2.0), laid)
    (panel,) = figure.axes
    assert len(panel.patches) == 3 * 3 + 3  # all of a layer, and its first row again
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["window 1", "window 2", "window 3"]
    tops = {one.get_y() + one.get_height() for one in panel.patches[-3:]}
    assert len(tops) == 3  # no line hides another
    assert panel.get_xlim()[0] < 0 < 32 < panel.get_xlim()[1]  # nor does the frame
    lines = shares_figure({"constant": lesson.shares(60, 40, 0.5, "constant")}, 1.0).axes[0].lines
    assert len(lines) == 2
    lines = shares_figure({"many": np.zeros((4, 12))}, 1.0).axes[0].lines
    assert len({(one.get_color(), one.get_linestyle()) for one in lines}) == 12  # none twice
    maps = [Map("one", image[3], ((12,), (8,))), Map("two", image[3])]
    first, second, _ = maps_figure(maps, (1.0, 1.0, 2.0), (0.0, 1.0), "probability").axes
    assert (len(first.lines), len(second.lines)) == (2, 0)
    assert first.get_xlim() == (0, 32)

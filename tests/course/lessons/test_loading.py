"""Lesson 03's claims hold, and fail when a loader is broken in the way that they speak of."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from nvidia.dali import fn

from nnunet_lib.course.lessons import loading as lesson
from nnunet_lib.course.lessons import loading_figures as figures
from nnunet_lib.loading import LoaderSettings, dali, patches, pipelines, twin

DRAWS = 400
SMALL = LoaderSettings(2, (8, 9, 10), augmentation=lesson.EVERYTHING)


@pytest.fixture(params=lesson.LOADERS)
def loader(request):
    return request.param


@pytest.fixture
def ramps(tmp_path):
    return [lesson.ramp_case(tmp_path, number) for number in range(len(lesson.NORMALS))]


@pytest.fixture
def cut(tmp_path):
    """A patch of noise whose label is anything but symmetric."""
    image = np.random.default_rng(3).normal(size=(10, 11, 12, 1))
    return lesson.write_case(tmp_path, "noise", image, image[..., 0] > 1)


@pytest.fixture
def scattered(tmp_path):
    """Two cases with a structure that a small patch often misses."""
    label = np.zeros((24, 24, 24))
    label[4:9, 12:16, 10:13] = 1
    label[20, 3:6, 20] = 2
    image = label[..., np.newaxis]
    return [lesson.write_case(tmp_path, f"s{i}", image, np.roll(label, i, 0)) for i in (0, 1)]


# Where patches are cut


def test_as_many_patches_are_aimed_as_asked_for(tmp_path, loader):
    assert lesson.aimed_error(tmp_path, 0.33, DRAWS, loader) <= 3
    assert lesson.aimed_error(tmp_path, 1.0, 50, loader) == 0


def ignore_oversampling(monkeypatch):
    """The fault: each loader draws the anchor as if nothing had been asked for."""
    for module in (pipelines, patches):
        real = module.draw_anchor

        def never_aimed(label, region, share, *others, real=real):
            return real(label, region, 0.0, *others)

        monkeypatch.setattr(module, "draw_anchor", never_aimed)


def test_oversampling_that_is_ignored_is_noticed(tmp_path, scattered, loader, monkeypatch):
    ignore_oversampling(monkeypatch)
    assert lesson.aimed_error(tmp_path, 0.33, DRAWS, loader) > 3
    assert lesson.measure_shares(scattered, (6, 6, 6), 0.66, DRAWS, loader).outside() > 3
    assert lesson.foreground_share(scattered, (6, 6, 6), 1.0, DRAWS, loader) < 1


def test_patches_with_foreground_lie_between_the_bounds(scattered, loader):
    shares = lesson.measure_shares(scattered, (6, 6, 6), 0.5, DRAWS, loader)
    assert shares.outside() <= 3
    assert shares.oversampling < shares.upper < 1
    assert lesson.foreground_share(scattered, (6, 6, 6), 1.0, DRAWS, loader) == 1


def test_shares_are_judged_by_the_distance_from_their_bounds():
    inside = lesson.Shares(0.3, by_chance=0.2, measured=0.4, number=100)
    assert inside.upper == pytest.approx(0.44)
    assert inside.outside() == 0
    below = replace(inside, measured=0.2)
    assert below.outside() == pytest.approx(0.1 / math.sqrt(0.2 * 0.8 / 100))
    assert replace(inside, measured=0.9).outside() > 3
    assert replace(inside, measured=0.0).outside() == math.inf


def test_coverage_counts_the_patches_that_contain_a_voxel(tmp_path, scattered):
    share = lesson.coverage(tmp_path, scattered[0], (4, 5, 6), 0.0, 100)
    assert share.sum() == pytest.approx(4 * 5 * 6)
    aimed = lesson.coverage(tmp_path, scattered[0], (4, 5, 6), 1.0, 100)
    label = np.load(scattered[0].label)[..., 0]
    assert aimed[label > 0].mean() > 3 * share[label > 0].mean()


# Geometry


@pytest.mark.parametrize("name", lesson.GEOMETRIC)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_label_and_ramp_stay_together_within_a_source_voxel(tmp_path, loader, name, seed):
    assert lesson.misalignment(tmp_path, lesson.GEOMETRIC[name], loader, seed) <= 1


def test_all_transforms_together_round_twice(tmp_path, loader):
    assert lesson.misalignment(tmp_path, lesson.EVERY_GEOMETRY, loader) <= math.sqrt(3)


def test_a_transform_that_does_nothing_proves_nothing(tmp_path, loader):
    assert lesson.misalignment(tmp_path, lesson.OFF, loader) == math.inf


def flip_the_image_alone(monkeypatch):
    """The fault: the label stays when the image is mirrored."""
    for module in (pipelines, patches):
        real = module.flip

        def image_alone(image, label, *others, real=real):
            return real(image, label, *others)[0], label

        monkeypatch.setattr(module, "flip", image_alone)


def test_a_label_that_is_not_flipped_with_its_image_is_noticed(tmp_path, cut, loader, monkeypatch):
    flip_the_image_alone(monkeypatch)
    assert lesson.misalignment(tmp_path, lesson.GEOMETRIC["flip"], loader) > 1
    assert lesson.misalignment(tmp_path, lesson.EVERY_GEOMETRY, loader) > math.sqrt(3)
    assert lesson.flip_mistakes(tmp_path, cut, loader) > 0


def test_readers_that_shuffle_with_different_seeds_are_noticed(tmp_path, ramps, monkeypatch):
    def read_label(files):
        return fn.readers.numpy(files=files, random_shuffle=True, seed=1)

    def read_image(files, anchor, region):
        return fn.readers.numpy(
            files=files,
            random_shuffle=True,
            seed=2,
            roi_start=anchor,
            roi_shape=region,
            roi_axes=pipelines.SPATIAL_AXES,
        )

    monkeypatch.setattr(pipelines, "read_label", read_label)
    monkeypatch.setattr(pipelines, "read_image", read_image)
    for augmentation in lesson.GEOMETRIC.values():
        assert lesson.misalignment(tmp_path, augmentation, "dali") > 1
    fixed = LoaderSettings(2, lesson.RAMP_SHAPE, augmentation=lesson.OFF)
    assert lesson.unequal_loaders(ramps, fixed, 4) > 0


def test_one_flip_is_the_case_backwards_and_two_are_none(tmp_path, cut, loader):
    assert lesson.flip_mistakes(tmp_path, cut, loader) == 0


def test_a_flip_that_does_nothing_is_noticed(tmp_path, cut, loader, monkeypatch):
    for module in (pipelines, patches):
        monkeypatch.setattr(module, "flip", lambda image, label, *others: (image, label))
    assert lesson.flip_mistakes(tmp_path, cut, loader) > 0


# Intensities


def test_intensity_changes_spare_the_label(cut, loader):
    assert lesson.intensity_mistakes(cut, loader) == 0


def test_an_intensity_change_that_is_left_out_is_noticed(cut, loader, monkeypatch):
    monkeypatch.setattr(pipelines, "change_gamma", lambda image, exponent, channels: image)
    monkeypatch.setattr(patches, "change_gamma", lambda image, exponent, random: image)
    assert lesson.intensity_mistakes(cut, loader) == 4  # gamma and inverted gamma, two each


# Shards and seeds


@pytest.mark.parametrize(("cases", "ranks"), [(7, 2), (7, 3)])
def test_shards_are_disjoint_and_cover(tmp_path, loader, cases, ranks):
    found = lesson.shard_passes(tmp_path, cases, ranks, loader)
    assert [(one.twice, one.missed) for one in found] == [(0, 0), (0, 0)]
    assert found[0].met != found[1].met  # shuffled anew


def test_shards_that_are_all_the_same_are_noticed(tmp_path, loader, monkeypatch):
    for module in (dali, twin):
        real: Callable[..., list[int]] = module.training_order

        def first_shard(number, seed, epoch, shard_id, shards, real=real):
            return real(number, seed, epoch, 0, shards)

        monkeypatch.setattr(module, "training_order", first_shard)
    found = lesson.shard_passes(tmp_path, 7, 3, loader)
    assert all(one.twice > 0 and one.missed > 0 for one in found)


def test_a_seed_repeats_itself_and_nothing_else(ramps, loader):
    assert lesson.different_repeats(ramps, SMALL, loader, 3) == 0
    assert lesson.equal_others(ramps, SMALL, loader, 3) == 0


def test_draws_without_a_seed_are_noticed(ramps, monkeypatch):
    fresh = itertools.count()
    monkeypatch.setattr(dali, "pipeline_seed", lambda *_: next(fresh))
    assert lesson.different_repeats(ramps, SMALL, "dali", 3) == 3


def test_a_seed_that_is_ignored_is_noticed(ramps, monkeypatch):
    monkeypatch.setattr(dali, "pipeline_seed", lambda *_: 5)
    monkeypatch.setattr(dali, "training_order", lambda number, *_: list(range(number)))
    assert lesson.equal_others(ramps, SMALL, "dali", 3) == 4


# Three loaders


def test_the_three_loaders_agree_where_nothing_is_drawn(ramps):
    fixed = LoaderSettings(2, lesson.RAMP_SHAPE, augmentation=lesson.OFF)
    assert lesson.unequal_loaders(ramps, fixed, 4) == 0


@pytest.mark.parametrize("name", ["numpy", "tf", "dali"])
def test_each_loader_can_be_timed(ramps, name):
    assert lesson.seconds_for(lesson.make_loader(name, ramps, SMALL), 2, step=0.01) >= 0.02


# Patches and figures


def test_the_small_patch_and_the_cut_fit_the_cases(tmp_path, scattered):
    assert lesson.small_patch(scattered) == (6, 6, 6)
    cut = lesson.cut_case(tmp_path, scattered[0], (8, 9, 10))
    label = np.load(cut.label)
    assert label.shape == (8, 9, 10, 1)
    assert label.any()


def bright_in_the_middle(folder, patch):
    """A case of that size in which the middle slice alone is bright."""
    image = np.zeros((*patch, 1))
    image[patch[0] // 2] = 1
    return lesson.write_case(folder, "bright", image, np.zeros(patch))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", lesson.GEOMETRIC)
def test_the_middle_slice_is_found_wherever_a_change_has_brought_it(tmp_path, name, seed):
    patch, augmentation = (14, 15, 16), lesson.GEOMETRIC[name]
    case = bright_in_the_middle(tmp_path, patch)
    images, _ = lesson.draw_patches([case], 1, patch, augmentation, seed=seed)
    along = images[0, :, 7, 8, 0]
    found = lesson.slice_of_middle(tmp_path, patch, augmentation, seed)
    assert along[found] == pytest.approx(along.max(), abs=0.2)
    if name == "flip":
        assert found == 6


def test_a_patch_can_be_drawn_at_a_slice_of_its_own():
    image = np.arange(4.0)[:, None, None] * np.ones((4, 5, 6))
    pairs = {name: (image, np.zeros(image.shape)) for name in ("before", "moved")}
    drawn = figures.augmentations_figure(pairs, (1, 1, 1), ("background",), {"moved": 1})
    seen = [panel.images[0].get_array().mean() for panel in drawn.axes[:2]]
    assert seen == [2, 1]


def test_the_figures_draw(tmp_path, scattered):
    image, label = np.load(scattered[0].image)[..., 0], np.load(scattered[0].label)[..., 0]
    assert figures.graph_figure().axes
    maps = {"none": image, "all": image + 1}
    spacing, labels = (1.0, 2.0, 3.0), ("background", "a", "b")
    coverage = figures.coverage_figure(maps, label, spacing, labels)
    assert [panel.get_title() for panel in coverage.axes[:2]] == ["none", "all"]
    shares = [lesson.Shares(0.3, 0.1, 0.4, 100), lesson.Shares(0.6, 0.1, 0.7, 100)]
    assert len(figures.shares_figure(shares).axes[0].get_lines()) >= 3
    names = {f"change {i}": (image, label) for i in range(5)}
    drawn = figures.augmentations_figure(names, spacing, labels)
    assert [panel.get_title() for panel in drawn.axes[:5]] == list(names)
    ramps = lesson.ramps_of(tmp_path, lesson.EVERY_GEOMETRY, 2)
    assert len(figures.ramps_figure(*ramps).axes) == 2

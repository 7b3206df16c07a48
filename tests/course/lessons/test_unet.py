"""Lesson 04's claims fail when the library is broken in the way that they speak of."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.course.lessons import unet, unet_figures
from nnunet_lib.model import Blocks, InstanceNormalization, blocks
from nnunet_lib.planning import Plan

FLAT = unet.tiny_plan(2, edge=16)
PATCH = unet.middle_patch(np.random.default_rng(0).gamma(2.0, size=(5, 20, 12)), FLAT)
FACTORS = (0.1, 10.0, 1000.0)


def test_a_patch_is_cut_or_filled_up_and_z_scored():
    assert PATCH.shape == (1, 16, 16, 1)
    assert (float(PATCH.mean()), float(PATCH.std())) == pytest.approx((0, 1), abs=1e-5)


def test_legal_patches_keep_their_grid_and_no_other_is_accepted():
    plans = unet.legal_patches(number=2)
    assert {plan.dimensions for plan in plans} == {2, 3}
    assert (unet.wrong_grids(plans), unet.illegal_accepted(plans)) == (0, 0)


def test_a_grid_that_is_not_the_patch_s_is_noticed(monkeypatch):
    plan = unet.tiny_plan(2, edge=16, stages=2, filters=(1, 1))
    real = unet.build_unet

    def half_way(plan, deep_supervision):
        model = real(plan, deep_supervision)
        return tf.keras.Model(model.inputs, [model.outputs[0][:, ::2]])

    monkeypatch.setattr(unet, "build_unet", half_way)
    assert unet.wrong_grids([plan]) == 1


def test_a_plan_that_takes_any_patch_is_noticed(monkeypatch):
    monkeypatch.setattr(Plan, "__post_init__", lambda plan: None)
    assert unet.illegal_accepted([FLAT]) == 2


def test_norms_do_what_the_lesson_says():
    assert unet.neighbour_change(FLAT, PATCH) < 1e-4
    assert unet.neighbour_change(replace(FLAT, norm="batch"), PATCH) > 0.1
    assert unet.scaling_change(FLAT, PATCH, FACTORS) < 0.01
    assert unet.shift_change_of_one_block(FLAT, PATCH, 1.0) > 0.1
    assert unet.shift_change_without_padding(PATCH, 1.0) < 1e-4


def test_a_norm_over_the_whole_batch_lets_neighbours_in(monkeypatch):
    def call(self, inputs):
        mean, variance = tf.nn.moments(inputs, [0, 1, 2], keepdims=True)
        return tf.nn.batch_normalization(inputs, mean, variance, self.beta, self.gamma, 1e-5)

    monkeypatch.setattr(InstanceNormalization, "call", call)
    assert unet.neighbour_change(FLAT, PATCH) > 0.1


@pytest.mark.parametrize("fault", ["no norm", "large epsilon"])
def test_a_network_that_feels_the_scale_is_noticed(monkeypatch, fault):
    if fault == "no norm":
        monkeypatch.setattr(Blocks, "_normalise", lambda self, inputs, name: inputs)
    else:
        monkeypatch.setattr(blocks, "NORM_EPSILON", 0.1)
    assert unet.scaling_change(FLAT, PATCH, FACTORS) > 0.01


def test_padding_that_repeats_the_rim_would_let_no_shift_in(monkeypatch):
    def convolution(self, inputs, filters, kernel, strides, name):
        framed = tf.pad(inputs, [(0, 0), (1, 1), (1, 1), (0, 0)], "SYMMETRIC")
        features = tf.keras.layers.Conv2D(filters, kernel, use_bias=False)(framed)
        return tf.nn.leaky_relu(self._normalise(features, name), 0.01)

    monkeypatch.setattr(Blocks, "convolution", convolution)
    assert unet.shift_change_of_one_block(FLAT, PATCH, 1.0) < 1e-3


def test_a_convolution_that_leaves_the_patch_lets_a_shift_in(monkeypatch):
    real = tf.nn.convolution
    monkeypatch.setattr(tf.nn, "convolution", lambda *given, padding: real(*given, padding="SAME"))
    assert unet.shift_change_without_padding(PATCH, 1.0) > 0.1


SIGHT = unet.tiny_plan(2, edge=48, filters=(1, 1, 1))


def test_the_formula_is_the_support_of_the_gradient():
    assert unet.outside_the_formula(SIGHT, [(20, 24), (0, 47)]) == 0
    thick = replace(unet.thick_slices(edge=20), filters=(1, 1, 1))
    assert unet.outside_the_formula(thick, [(10, 9, 8)]) == 0


def test_the_receptive_field_by_hand():
    two = unet.tiny_plan(2, edge=16, stages=2)
    # Way in: 2 + 2, then 2 and 4 at the bottom, then 2 + 2 on the way out, and the voxel itself.
    assert unet.receptive_field(two) == (15, 15)
    assert unet.receptive_field(unet.tiny_plan(2, edge=16, stages=1)) == (5, 5)


def test_other_kernels_than_the_plan_s_break_the_formula(monkeypatch):
    real = Blocks.stage

    def stage(self, inputs, filters, kernel, strides, name):
        wide = (5, 3) if name == "down_1" else kernel
        return real(self, inputs, filters, wide, strides, name)

    monkeypatch.setattr(Blocks, "stage", stage)
    assert unet.outside_the_formula(SIGHT, [(20, 24)]) > 0


def test_a_norm_that_is_left_in_breaks_the_formula(monkeypatch):
    def left_in(self, inputs, name):
        return InstanceNormalization(name=name)(inputs)

    monkeypatch.setattr(Blocks, "_normalise", left_in)
    assert unet.outside_the_formula(SIGHT, [(20, 24)]) > 0


def test_instance_norm_shows_a_voxel_the_whole_patch_and_no_norm_does_not():
    assert unet.seen_share(SIGHT, (20, 24)) == 1
    assert unet.seen_share(replace(SIGHT, norm="none"), (20, 24)) < 1


@pytest.mark.parametrize("entry", unet.PUBLISHED, ids=lambda e: f"task {e.task} {e.dimensions}D")
def test_the_formula_gives_nvidia_s_counts(entry):
    plan = unet.published_plan(entry)
    counts = unet.parameters_by_level(plan, decoder_kernel_from_below=True)
    assert sum(counts) == entry.parameters
    if entry.task == 5:
        assert sum(unet.parameters_by_level(plan)) == entry.parameters - 221_184


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_the_formula_counts_what_is_built(deep_supervision):
    plan = unet.thick_slices(edge=16)
    counts = unet.parameters_by_level(plan, heads=2 if deep_supervision else 1)
    assert unet.built_parameters(plan, deep_supervision) == sum(counts)


def test_a_bias_too_many_is_noticed(monkeypatch):
    real = tf.keras.layers.Conv2D

    def with_bias(*arguments, **options):
        return real(*arguments, **options | {"use_bias": True})

    monkeypatch.setattr(blocks.tf.keras.layers, "Conv2D", with_bias)
    assert unet.built_parameters(FLAT) == sum(unet.parameters_by_level(FLAT)) + 4 * 4 + 4 * 8 + 32


def test_activations_are_counted_on_the_network():
    plan = unet.tiny_plan(2, edge=8, stages=2)
    fine, coarse = 8 * 8, 4 * 4
    assert unet.activations_by_level(plan) == [fine * (2 * 4 + 3 * 4 + 2), coarse * 2 * 8]


# Pictures --------------------------------------------------------------------------------------


def words_of(plan):
    (axes,) = unet_figures.architecture_figure(plan).axes
    return [text.get_text() for text in axes.texts]


def test_the_drawing_changes_with_the_plan():
    one, other = words_of(FLAT), words_of(unet.thick_slices(edge=24))
    assert {"4 channels", "bottleneck: 16", "0:  16×16 voxels", "head: 2 classes"} <= set(one)
    assert {"0:  24×24×24 voxels", "     kernel 1×3×3", "÷ 1×2×2", "÷ 2×2×2"} <= set(other)
    assert one.count("head: 2 classes") == 2
    assert "level 2: 4×4 voxels, 16 channels" in unet_figures.architecture_text(FLAT)


@pytest.mark.parametrize(
    "plan",
    [FLAT, *map(unet.published_plan, unet.PUBLISHED[1:3])],
    ids=["2D, 3 levels", "3D, 4 levels", "prostate"],
)
def test_nothing_in_the_drawing_overlaps(plan):
    figure = unet_figures.architecture_figure(plan)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    for number, box in enumerate(boxes):
        assert not [other for other in boxes[:number] if box.overlaps(other)]
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
    for patch in axes.patches:
        frame = patch.get_window_extent()
        for box in boxes:
            assert not box.overlaps(frame) or frame.x0 <= box.x0 < box.x1 <= frame.x1

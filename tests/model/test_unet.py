"""The U-Net against published parameter counts, its own formula, and its grids."""

from dataclasses import replace
from typing import Any

import pytest
import tensorflow as tf

from nnunet_lib.model import Precision, build_unet, head_strides
from nnunet_lib.planning import Normalisation, Plan


def isotropic(dimensions: int, patch: tuple[int, ...], stages: int, **changes: object) -> Plan:
    """A plan whose stages halve every axis."""
    cap = 320 if dimensions == 3 else 512
    fields: dict[str, Any] = {
        "dataset": "made up",
        "dimensions": dimensions,
        "channels": ("MRI",),
        "labels": ("background", "one", "two"),
        "axis_order": (0, 1, 2),
        "target_spacing": (1.0,) * dimensions,
        "patch_size": patch,
        "batch_size": 2,
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * (stages - 1)),
        "kernels": ((3,) * dimensions,) * stages,
        "filters": tuple(min(32 * 2**i, cap) for i in range(stages)),
    }
    fields |= changes
    return Plan(normalisation=(Normalisation("z_score"),) * len(fields["channels"]), **fields)


PROSTATE = isotropic(
    3,
    (20, 320, 256),
    stages=7,
    channels=("T2", "ADC"),
    strides=((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2)),
    kernels=((1, 3, 3), (1, 3, 3), *((3, 3, 3),) * 5),
)


@pytest.mark.parametrize(
    ("plan", "published"),
    [
        # NVIDIA's nnU-Net for TensorFlow 2, without deep-supervision heads.
        (isotropic(3, (40, 56, 40), stages=4), 5_601_187),
        (
            isotropic(
                3,
                (128, 128, 128),
                stages=6,
                channels=("a", "b", "c", "d"),
                labels=("background", "1", "2", "3"),
            ),
            31_192_868,
        ),
        # Five levels below the first at most, where nnU-Net itself goes down to six.
        (
            replace(
                PROSTATE,
                strides=PROSTATE.strides[:6],
                kernels=PROSTATE.kernels[:6],
                filters=PROSTATE.filters[:6],
            ),
            # NVIDIA's decoder takes a level's kernel from the level below; ours from the level
            # itself, as nnU-Net's does: 1x3x3 instead of 3x3x3, twice, on 64 channels.
            30_555_075 - (27 - 9) * (128 * 64 + 64 * 64),
        ),
        (isotropic(2, (56, 40), stages=4), 1_926_499),
    ],
    ids=["hippocampus 3D", "brain tumour 3D", "prostate 3D", "hippocampus 2D"],
)
def test_parameter_counts_are_the_published_ones(plan: Plan, published: int) -> None:
    assert build_unet(plan, deep_supervision=False).count_params() == published


def test_only_transposed_and_output_convolutions_have_a_bias() -> None:
    model = build_unet(isotropic(3, (16, 16, 16), stages=3))
    biased = {layer.name for layer in model.layers if getattr(layer, "bias", None) is not None}
    assert biased == {
        layer.name
        for layer in model.layers
        if "transposed" in layer.name or layer.name.startswith("head_")
        if layer.weights
    }


def test_heads_lie_on_the_three_finest_grids() -> None:
    plan = isotropic(3, (32, 16, 16), stages=5, strides=(
        (1, 1, 1), (2, 1, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1)
    ), filters=(4, 4, 4, 4, 4))  # fmt: skip
    shapes = [tuple(head.shape[1:-1]) for head in build_unet(plan).outputs]
    assert shapes == [(32, 16, 16), (16, 16, 8), (8, 8, 4)]
    spans = head_strides(plan, 3)
    assert [
        tuple(p // s for p, s in zip(plan.patch_size, span, strict=True)) for span in spans
    ] == shapes


def test_a_network_of_two_stages_has_one_head() -> None:
    assert len(build_unet(isotropic(2, (8, 8), stages=2)).outputs) == 1


def test_the_kernels_are_the_plans() -> None:
    model = build_unet(PROSTATE)
    assert model.get_layer("down_0_first_convolution").kernel_size == (1, 3, 3)
    assert model.get_layer("down_2_first_convolution").kernel_size == (3, 3, 3)
    assert model.get_layer("down_5_first_convolution").strides == (1, 2, 2)
    assert model.outputs[0].shape[1:] == (20, 320, 256, 3)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_weights_and_logits_are_float32_in_any_precision(precision: Precision) -> None:
    plan = isotropic(3, (8, 8, 8), stages=3, filters=(4, 8, 8))
    whole, mixed = build_unet(plan), build_unet(plan, precision=precision)
    assert {variable.dtype for variable in mixed.variables} == {tf.float32}
    assert [v.name for v in mixed.variables] == [v.name for v in whole.variables]
    assert {head.dtype for head in mixed.outputs} == {tf.float32}
    rounded = {layer.compute_dtype for layer in mixed.layers if "norm" not in layer.name}
    assert rounded == {precision, "float32"}  # float32 for the patch and the logits
    joined = mixed.get_layer("up_0_joined")
    assert joined.output.dtype == precision
    assert tf.keras.mixed_precision.global_policy().name == "float32"

"""The U-Net against published parameter counts, its own formula, and its grids."""

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import Precision, build_unet, head_strides, variable_arrays
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


class Reference:
    """A U-Net by its formulas: one case (*spatial, channels), in float64, with the same weights."""

    def __init__(self, plan: Plan, model: tf.keras.Model) -> None:
        self.plan, self.weights = plan, variable_arrays(model.variables)

    def block(self, image: np.ndarray, strides: tuple[int, ...], name: str) -> np.ndarray:
        """Convolution centred on every stride-th voxel, instance norm, leaky ReLU."""
        kernel = self.weights[f"{name}_convolution/kernel:0"]  # (*k, in, out)
        axes = tuple(range(len(strides)))
        margins = [(width // 2,) * 2 for width in kernel.shape[:-2]]
        padded = np.pad(image, [*margins, (0, 0)])
        views = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:-2], axes)
        views = np.moveaxis(
            views[tuple(slice(None, None, step) for step in strides)], len(axes), -1
        )
        features = np.tensordot(views, kernel, len(axes) + 1)  # (*s / strides, out)
        features -= features.mean(axis=axes)
        features /= np.sqrt(features.var(axis=axes) + 1e-5)
        scaled = features * self.weights[f"{name}_norm/gamma:0"]
        scaled += self.weights[f"{name}_norm/beta:0"]
        return np.where(scaled < 0, self.plan.negative_slope * scaled, scaled)

    def stage(self, image: np.ndarray, strides: tuple[int, ...], name: str) -> np.ndarray:
        first = self.block(image, strides, f"{name}_first")
        return self.block(first, (1,) * len(strides), f"{name}_second")

    def up(self, image: np.ndarray, strides: tuple[int, ...], name: str) -> np.ndarray:
        """Each voxel times the kernel fills its own block of voxels."""
        kernel = self.weights[f"{name}/kernel:0"]  # (*strides, out, in)
        axes = len(strides)
        blocks = np.tensordot(image, kernel, (-1, -1))  # (*s, *strides, out)
        order = chain.from_iterable((axis, axes + axis) for axis in range(axes))
        shape = np.multiply(image.shape[:-1], strides)
        return blocks.transpose(*order, -1).reshape(*shape, -1) + self.weights[f"{name}/bias:0"]

    def heads(self, image: np.ndarray) -> list[np.ndarray]:
        """Logits, finest first."""
        features = []
        for index, strides in enumerate(self.plan.strides):
            image = self.stage(image, strides, f"down_{index}")
            features.append(image)
        logits: list[np.ndarray] = []
        for index in reversed(range(len(features) - 1)):
            raised = self.up(image, self.plan.strides[index + 1], f"up_{index}_transposed")
            joined = np.concatenate([raised, features[index]], axis=-1)
            image = self.stage(joined, (1,) * len(self.plan.patch_size), f"up_{index}")
            head = f"head_{index}_convolution"
            kernel, bias = (self.weights[f"{head}/{part}:0"] for part in ("kernel", "bias"))
            logits.insert(0, image @ kernel.reshape(kernel.shape[-2:]) + bias)
        return logits


@pytest.mark.parametrize(
    "plan",
    [
        isotropic(
            3,
            (4, 6, 8),
            stages=3,
            channels=("T2", "ADC"),
            strides=((1, 1, 1), (1, 2, 2), (2, 1, 2)),
            kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
            filters=(3, 4, 5),
        ),
        isotropic(2, (8, 12), stages=3, filters=(4, 3, 5), negative_slope=0.2),
    ],
    ids=["3D", "2D"],
)
def test_logits_are_those_of_the_formulas(plan: Plan) -> None:
    """What weights mean: another order, centre or constant would need another CHECKPOINT_FORMAT.

    Intensities are so small that the epsilon of the norms counts.
    """
    random, model = np.random.default_rng(0), build_unet(plan)
    for variable in model.variables:
        variable.assign(random.normal(0.3, 0.5, variable.shape))
    patches = random.normal(0, 1e-3, (2, *plan.patch_size, len(plan.channels)))
    expected = [Reference(plan, model).heads(patch) for patch in patches]
    for cases in (1, 2):  # of which one alone takes another way
        found = model(tf.constant(patches[:cases], tf.float32), training=False)
        for head, logits in zip(found, zip(*expected[:cases], strict=True), strict=True):
            np.testing.assert_allclose(head, logits, rtol=0, atol=1e-3 * np.abs(logits).max())


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

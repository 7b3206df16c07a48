"""The U-Net, built from the plan alone.

Taught in lesson 04. Ronneberger et al., arXiv:1505.04597; Isensee et al., Nature Methods
18, 203-211 (2021).
"""

import tensorflow as tf

from nnunet_lib.model.blocks import Blocks
from nnunet_lib.model.compute import Precision
from nnunet_lib.planning import Plan

MAXIMUM_HEADS = 3


def number_of_heads(plan: Plan, deep_supervision: bool) -> int:
    """How many decoder levels give logits: with deep supervision the three finest, if so many."""
    return min(MAXIMUM_HEADS, len(plan.strides) - 1) if deep_supervision else 1


def head_strides(plan: Plan, heads: int) -> tuple[tuple[int, ...], ...]:
    """How many voxels of the patch one voxel of each head spans, an axis; finest head first.

    The product of the strides down to the head's level; the finest head's are 1.
    """
    spans = [(1,) * len(plan.patch_size)]
    for strides in plan.strides[1:heads]:
        spans.append(tuple(a * b for a, b in zip(spans[-1], strides, strict=True)))
    return tuple(spans)


def build_unet(
    plan: Plan, deep_supervision: bool = True, precision: Precision = "float32"
) -> tf.keras.Model:
    """Build the U-Net that a plan describes.

    Args:
        plan: gives dimensions, channels, classes, patch, strides, kernels, filters and norm.
        deep_supervision: also give logits of the next coarser decoder levels.
        precision: of convolutions and activations. The weights are float32 in any, and those
            trained in one fit another.

    Returns:
        A model from (batch, *patch, channels) to a list of logits, finest first. The finest
        have the patch's size; each next one is coarser by that level's strides. Without deep
        supervision the list has one entry.
    """
    patch = tf.keras.Input((*plan.patch_size, len(plan.channels)), name="patch")
    blocks = Blocks.of(plan, precision)
    *skips, bottleneck = _encode(patch, plan, blocks)
    levels = _decode(bottleneck, skips, plan, blocks)  # finest first
    heads = number_of_heads(plan, deep_supervision)
    logits = [
        blocks.head(level, len(plan.labels), f"head_{index}")
        for index, level in enumerate(levels[:heads])
    ]
    return tf.keras.Model(patch, logits, name="unet")


def _encode(patch: tf.Tensor, plan: Plan, blocks: Blocks) -> list[tf.Tensor]:
    """The way down: one feature map a stage, finest first, the bottleneck last."""
    features = [patch]
    stages = zip(plan.filters, plan.kernels, plan.strides, strict=True)
    for index, (filters, kernel, strides) in enumerate(stages):
        features.append(blocks.stage(features[-1], filters, kernel, strides, f"down_{index}"))
    return features[1:]


def _decode(
    bottleneck: tf.Tensor, skips: list[tf.Tensor], plan: Plan, blocks: Blocks
) -> list[tf.Tensor]:
    """The way up: one feature map a level, finest first.

    Each level refines the grid by its stride, puts the encoder's features of that grid beside it,
    and mixes the two: what is there comes from below, where exactly from the side.
    """
    levels = [bottleneck]
    ones = (1,) * len(plan.patch_size)
    for index in reversed(range(len(skips))):
        filters = plan.filters[index]
        raised = blocks.up(levels[0], filters, plan.strides[index + 1], f"up_{index}_transposed")
        joined = blocks.join([raised, skips[index]], f"up_{index}_joined")
        mixed = blocks.stage(joined, filters, plan.kernels[index], ones, f"up_{index}")
        levels.insert(0, mixed)
    return levels[:-1]

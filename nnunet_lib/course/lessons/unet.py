"""What lesson 04 claims, as numbers. Formulas here are arithmetic on the plan alone.

The networks are tiny: what is claimed about grids, reach and scale does not depend on how many
filters a network has.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from nnunet_lib.errors import InputError
from nnunet_lib.model import Blocks, build_unet
from nnunet_lib.planning import (
    PRESETS,
    Fingerprint,
    IntensityStatistics,
    Normalisation,
    Plan,
    PlannerSettings,
    divisors,
    plan_from_preset,
    plan_topology,
)

Interval = tuple[int, int]

CPU = "/CPU:0"
"""Where lessons compute what must be right to the last digits, or exactly zero.

A GPU since Ampere rounds the factors of float32 products to TF32, with 10 bits of mantissa.
"""

# What legal patches are made for, in mm: cubes, squares, thick slices, oblong pixels.
SPACINGS = ((1.0, 1.0, 1.0), (1.0, 1.0), (3.6, 0.6, 0.6), (1.0, 2.5))
SMALLEST_PATCH, LARGEST_PATCH = 12, 24


@dataclass(frozen=True)
class Published:
    """A parameter count in NVIDIA's nnU-Net for TensorFlow 2, without deep-supervision heads."""

    task: int
    dimensions: int
    labels: int
    parameters: int


PUBLISHED = (
    Published(task=1, dimensions=3, labels=4, parameters=31_192_868),
    Published(task=4, dimensions=3, labels=3, parameters=5_601_187),
    Published(task=5, dimensions=3, labels=3, parameters=30_555_075),
    Published(task=4, dimensions=2, labels=3, parameters=1_926_499),
)


# Plans -----------------------------------------------------------------------------------------


def tiny_plan(dimensions: int, edge: int, stages: int = 3, **changes: Any) -> Plan:
    """A plan of few filters for patches of `edge` voxels an axis, which halves every axis."""
    fields: dict[str, Any] = {
        "dataset": "tiny",
        "dimensions": dimensions,
        "channels": ("scan",),
        "labels": ("background", "structure"),
        "axis_order": (0, 1, 2),
        "target_spacing": (1.0,) * dimensions,
        "normalisation": (Normalisation("z_score"),),
        "patch_size": (edge,) * dimensions,
        "batch_size": 2,
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * (stages - 1)),
        "kernels": ((3,) * dimensions,) * stages,
        "filters": tuple(4 * 2**stage for stage in range(stages)),
    }
    return Plan(**fields | changes)


def thick_slices(edge: int) -> Plan:
    """A tiny 3D plan whose first level neither halves nor mixes slices, as for Prostate."""
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    kernels = ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    return tiny_plan(3, edge, strides=strides, kernels=kernels)


def published_plan(entry: Published) -> Plan:
    """The plan of NVIDIA's preset, whose fingerprint only gives names and axes."""
    preset = PRESETS[entry.task - 1]
    channels = ("CT",) if preset.ct else tuple(f"MRI {i}" for i in range(preset.channels))
    fingerprint = Fingerprint(
        dataset=preset.name,
        channels=channels,
        labels=("background", *(f"structure {value}" for value in range(1, entry.labels))),
        spacings=(preset.spacing,),
        shapes=(preset.patch_3d,),
        median_relative_size=1.0,
        intensities=(IntensityStatistics(0, 0, 1, 0, 0, 0, 0),) * len(channels),
    )
    return plan_from_preset(fingerprint, preset, PlannerSettings(entry.dimensions))


# Grids -----------------------------------------------------------------------------------------


def legal_patches(number: int, seed: int = 0) -> list[Plan]:
    """Plans of one filter for patches that the planner's rules make of random sizes."""
    generator = np.random.default_rng(seed)
    plans = []
    for index in range(number):
        spacing = SPACINGS[index % len(SPACINGS)]
        size = generator.integers(SMALLEST_PATCH, LARGEST_PATCH, len(spacing), endpoint=True)
        made = plan_topology(spacing, size.tolist())
        plan = tiny_plan(
            len(spacing),
            LARGEST_PATCH,
            patch_size=made.patch_size,
            strides=made.strides,
            kernels=made.kernels,
            filters=(1,) * len(made.strides),
        )
        plans.append(plan)
    return plans


def wrong_grids(plans: Iterable[Plan]) -> int:
    """How many plans' networks, when run, answer on another grid than the patch's own."""
    wrong = 0
    for plan in plans:
        patch = np.zeros((1, *plan.patch_size, len(plan.channels)), np.float32)
        finest = new_network(plan)(patch)  # (1, *patch, classes)
        wrong += tuple(finest.shape) != (1, *plan.patch_size, len(plan.labels))
    return wrong


def illegal_accepted(plans: Iterable[Plan]) -> int:
    """How many patches, one voxel too large along a halved axis, a plan accepts."""
    accepted = 0
    for plan in plans:
        for axis, step in enumerate(divisors(plan.strides)):
            larger = list(plan.patch_size)
            larger[axis] += 1
            accepted += step > 1 and _is_accepted(plan, larger)
    return accepted


def _is_accepted(plan: Plan, patch_size: Sequence[int]) -> bool:
    try:
        replace(plan, patch_size=tuple(patch_size))
    except InputError:
        return False
    return True


# Norms -----------------------------------------------------------------------------------------


def middle_patch(image: np.ndarray, plan: Plan) -> np.ndarray:
    """The middle of a scan, z-scored: (*spatial) -> (1, *patch, 1), the last axes in 2D."""
    while image.ndim > plan.dimensions:
        image = image[image.shape[0] // 2]
    missing = [max(p - n, 0) for p, n in zip(plan.patch_size, image.shape, strict=True)]
    image = np.pad(image, [(m // 2, m - m // 2) for m in missing], mode="edge")
    starts = [(n - p) // 2 for p, n in zip(plan.patch_size, image.shape, strict=True)]
    pairs = zip(starts, plan.patch_size, strict=True)
    middle = image[tuple(slice(start, start + size) for start, size in pairs)].astype(np.float32)
    return ((middle - middle.mean()) / middle.std())[None, ..., None]


def new_network(plan: Plan, seed: int = 0) -> tf.keras.Model:
    """An untrained network that gives the finest logits alone, with seeded weights."""
    tf.keras.utils.set_random_seed(seed)
    model = build_unet(plan, deep_supervision=False)
    return tf.keras.Model(model.inputs, model.outputs[0])


def scaling_change(plan: Plan, patch: np.ndarray, factors: Sequence[float], seed: int = 0) -> float:
    """The largest change of logits when the patch is multiplied, in standard deviations."""
    network = new_network(plan, seed)
    logits = network(patch)
    return max(relative_change(network(patch * np.float32(f)), logits) for f in factors)


def relative_change(changed: tf.Tensor, logits: tf.Tensor) -> float:
    """Root mean square of the difference, in standard deviations of the logits."""
    return float(np.sqrt(np.mean(np.square(changed - logits))) / np.std(logits))


def shift_change_without_padding(patch: np.ndarray, shift: float, seed: int = 0) -> float:
    """What a shift changes in one convolution and instance norm that never leave the patch.

    The norm is NumPy's: (y - mean) / standard deviation over the voxels of each channel.
    """
    dimensions = patch.ndim - 2
    kernel = np.random.default_rng(seed).normal(size=(3,) * dimensions + (1, 4))
    outputs = []
    for moved in (patch, patch + shift):
        features = tf.nn.convolution(moved.astype(np.float64), kernel, padding="VALID").numpy()
        axes = tuple(range(1, dimensions + 1))
        mean, deviation = features.mean(axes, keepdims=True), features.std(axes, keepdims=True)
        outputs.append((features - mean) / deviation)  # (1, *smaller patch, 4)
    return relative_change(outputs[1], outputs[0])


def shift_change_of_one_block(plan: Plan, patch: np.ndarray, shift: float, seed: int = 0) -> float:
    """The same for the library's own block, which fills up with zeros outside the patch."""
    tf.keras.utils.set_random_seed(seed)
    inputs = tf.keras.Input(patch.shape[1:])
    ones = (1,) * plan.dimensions
    block = Blocks.of(plan).convolution(inputs, 4, plan.kernels[0], ones, "block")
    model = tf.keras.Model(inputs, block)
    return relative_change(model(patch + np.float32(shift)), model(patch))


def neighbour_change(plan: Plan, patch: np.ndarray, seed: int = 0) -> float:
    """How much a case's logits change with the other case of its batch, as in training."""
    network = new_network(plan, seed)
    other = np.random.default_rng(seed).normal(2.0, 3.0, patch.shape).astype(np.float32)
    with_itself = network(np.concatenate([patch, patch]), training=True)[0]
    with_other = network(np.concatenate([patch, other]), training=True)[0]
    return relative_change(with_other, with_itself)


# Receptive field -------------------------------------------------------------------------------


def input_gradient(plan: Plan, voxel: Sequence[int], positive: bool, seed: int = 0) -> np.ndarray:
    """|d logit at `voxel` / d patch|, of shape patch_size.

    Args:
        plan: its norm decides; `none` is the identity.
        voxel: of the finest output.
        positive: set every kernel to one positive number, so that no two paths cancel and every
            leaky ReLU is open.
        seed: of weights and patch.
    """
    patch = np.random.default_rng(seed).uniform(0.5, 1.5, (1, *plan.patch_size, 1))
    with tf.device(CPU):
        network = new_network(plan, seed)
        if positive:
            _make_positive(network)
        image = tf.constant(patch, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(image)
            logit = network(image)[(0, *voxel, 1)]
        gradient = tape.gradient(logit, image)
    return np.abs(gradient.numpy()[0, ..., 0])


def _make_positive(network: tf.keras.Model) -> None:
    """Each kernel sums to one over what it reads, so that features neither grow nor vanish."""
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            shape = tuple(layer.kernel.shape)
            layer.kernel.assign(np.full(shape, shape[-1] / math.prod(shape), np.float32))


def outside_the_formula(plan: Plan, voxels: Iterable[Sequence[int]]) -> int:
    """Voxels where gradient and formula disagree on whether an output voxel sees them."""
    wrong = 0
    for voxel in voxels:
        seen = input_gradient(replace(plan, norm="none"), voxel, positive=True) > 0
        expected = np.zeros(plan.patch_size, bool)
        expected[tuple(slice(a, b + 1) for a, b in receptive_box(plan, voxel))] = True
        wrong += int((seen != expected).sum())
    return wrong


def seen_share(plan: Plan, voxel: Sequence[int], seed: int = 0) -> float:
    """The share of the patch that one output voxel depends on, with the plan's own norm."""
    return float((input_gradient(plan, voxel, positive=False, seed=seed) > 0).mean())


def receptive_box(plan: Plan, voxel: Sequence[int]) -> tuple[Interval, ...]:
    """First and last input voxel, an axis, that an output voxel sees: arithmetic on the plan."""
    axes = range(plan.dimensions)
    return tuple(_Line.of(plan, axis).up(0, (voxel[axis],) * 2) for axis in axes)


def receptive_field(plan: Plan) -> tuple[int, ...]:
    """The most voxels an axis that an output voxel sees, if the patch does not cut it off."""
    edges = [step * 1024 for step in divisors(plan.strides)]
    boundless = replace(plan, patch_size=tuple(edges))
    sizes = []
    for axis, step in enumerate(divisors(plan.strides)):
        line = _Line.of(boundless, axis)
        starts = range(edges[axis] // 2, edges[axis] // 2 + step)
        sizes.append(max(last - first + 1 for first, last in (line.up(0, (s, s)) for s in starts)))
    return tuple(sizes)


@dataclass(frozen=True)
class _Line:
    """One axis of a plan. Intervals are first and last voxel, on the grid of some level."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    kernels: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan, axis: int) -> "_Line":
        strides = tuple(stride[axis] for stride in plan.strides)
        steps = np.cumprod(strides).tolist()
        sizes = tuple(plan.patch_size[axis] // step for step in steps)
        return cls(sizes, strides, tuple(kernel[axis] for kernel in plan.kernels))

    def up(self, level: int, seen: Interval) -> Interval:
        """What of the patch the decoder's features `seen` at a level depend on."""
        if level == len(self.sizes) - 1:
            return self.down(level, seen)
        for _ in range(2):  # convolutions
            seen = self._read(level, seen, stride=1)
        step = self.strides[level + 1]
        side = self.down(level, seen)  # the skip connection
        below = self.up(level + 1, (seen[0] // step, seen[1] // step))
        return min(side[0], below[0]), max(side[1], below[1])

    def down(self, level: int, seen: Interval) -> Interval:
        """The same for the encoder's features."""
        seen = self._read(level, seen, stride=1)
        seen = self._read(level, seen, self.strides[level])
        return seen if level == 0 else self.down(level - 1, seen)

    def _read(self, level: int, seen: Interval, stride: int) -> Interval:
        """What a convolution with zero padding reads; strides halve even sizes."""
        size, kernel = self.sizes[level] * stride, self.kernels[level]
        before = kernel // 2  # zeros, as many on either side
        first, last = seen[0] * stride - before, seen[1] * stride - before + kernel - 1
        return max(first, 0), min(last, size - 1)


# Counting --------------------------------------------------------------------------------------


def parameters_by_level(
    plan: Plan, heads: int = 1, decoder_kernel_from_below: bool = False
) -> list[int]:
    """Parameters of each level, finest first, by the formula.

    A convolution has (product of kernel) · channels in · channels out, and its norm 2 · channels
    out. A transposed convolution and a head have a bias, one number a channel out.

    Args:
        plan: gives kernels, strides and filters.
        heads: how many of the finest levels have logits.
        decoder_kernel_from_below: NVIDIA's rule for the kernel of a decoder level.
    """
    counts = []
    for level, filters in enumerate(plan.filters):
        kernel = math.prod(plan.kernels[level])
        entering = plan.filters[level - 1] if level else len(plan.channels)
        count = _stage(kernel, entering, filters)
        if level + 1 < len(plan.filters):
            below = level + 1 if decoder_kernel_from_below else level
            count += math.prod(plan.strides[level + 1]) * plan.filters[level + 1] * filters
            count += filters + _stage(math.prod(plan.kernels[below]), 2 * filters, filters)
        counts.append(count + (level < heads) * (filters + 1) * len(plan.labels))
    return counts


def _stage(kernel: int, entering: int, filters: int) -> int:
    """Two convolutions and their norms."""
    return kernel * (entering + filters) * filters + 2 * 2 * filters


def built_parameters(plan: Plan, deep_supervision: bool = False) -> int:
    """Parameters of the network that the library builds, counted variable by variable."""
    model = build_unet(plan, deep_supervision)
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def activations_by_level(plan: Plan) -> list[int]:
    """Numbers that convolutions leave behind for one patch, a level: counted on the network."""
    model = build_unet(plan, deep_supervision=False)
    counts = [0] * len(plan.filters)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            _, level, *_ = layer.name.split("_")  # up_0_second_convolution
            counts[int(level)] += math.prod(layer.output.shape[1:])
    return counts

"""What lesson 07 claims, as numbers. Rules about formats are NumPy's arithmetic alone.

The network is tiny, because a CPU computes float16 convolutions slowly: four filters at most, and
patches of 16 voxels an axis. The rules of rounding do not depend on its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nnunet_lib.course.lessons.common import relative_difference
from nnunet_lib.course.lessons.unet import tiny_plan
from nnunet_lib.model import ComputeSettings, Precision, build_unet, head_strides
from nnunet_lib.training import TrainingSettings, deep_supervision_loss, make_optimiser, precision
from nnunet_lib.training.step import make_gradients, make_step

FloatArray = npt.NDArray[Any]

EDGE = 16
PLAN = tiny_plan(3, EDGE, stages=2, filters=(2, 4), batch_size=1)
STEPS = 20
"""Training steps over which float16 and float32 are compared."""
PREPARATION = 150
"""Steps in float32 that make a network sure of itself, as one is after some epochs."""
COPIES = 512
"""Patches of 16 voxels an axis that together have as many voxels as one of 128."""

SMALLEST = 2.0**-24
"""float16's smallest positive number. Half of it and less becomes zero: ties go to even."""
SCALES = (1.0, 2.0**3, 2.0**6, 2.0**9, precision.INITIAL_SCALE)
TOO_BRIGHT = 1e6
"""Times this, the intensities of a z-scored patch are beyond float16's 65504."""
GROWTH_STEPS = 2
"""Good steps until the scale doubles, where one is to see it grow."""
UPDATE, UPDATES = 0.75 * 2.0**-16, 64
"""An update that lies halfway between no two float16 numbers, and how often it is made."""


@dataclass(frozen=True)
class Patch:
    """One training example: image (1, 16, 16, 16, 1) float32, label likewise, uint8, 0 or 1."""

    image: FloatArray
    label: FloatArray


@dataclass(frozen=True)
class Learner:
    """A network with all that its training step needs."""

    model: tf.keras.Model
    optimiser: tf.keras.optimizers.Optimizer
    settings: TrainingSettings

    @property
    def scale(self) -> float:
        """The loss scale as it is now; 1 without one."""
        return float(getattr(self.optimiser, "loss_scale", 1.0))


# The network and its patch ---------------------------------------------------------------------


def patch_around(image: FloatArray, label: FloatArray) -> Patch:
    """The z-scored patch around the middle of the foreground, of a scan (z, y, x)."""
    missing = [(0, max(EDGE - size, 0)) for size in image.shape]
    image, label = np.pad(image, missing, mode="edge"), np.pad(label, missing)
    centre = np.argwhere(label > 0).mean(axis=0)
    highest = np.array(image.shape) - EDGE
    start = np.clip(np.round(centre).astype(int) - EDGE // 2, 0, highest)
    window = tuple(slice(first, first + EDGE) for first in start)
    values = image[window].astype(np.float32)
    scored = (values - values.mean()) / values.std()
    shape = (1, *scored.shape, 1)
    return Patch(scored.reshape(shape), (label[window] > 0).astype(np.uint8).reshape(shape))


def new_learner(
    name: Precision, seed: int = 0, growth_steps: int = precision.GROWTH_STEPS
) -> Learner:
    """A seeded network in that precision, with Adam and the library's loss scaling."""
    settings = TrainingSettings(compute=ComputeSettings(name), learning_rate=5e-3, epochs=1)
    tf.keras.utils.set_random_seed(seed)
    model = build_unet(PLAN, precision=name)
    optimiser = make_optimiser(settings)
    scaled = precision.with_loss_scaling(optimiser, settings.compute, growth_steps)
    return Learner(model, scaled, settings)


def train(learner: Learner, patch: Patch, steps: int) -> list[float]:
    """The losses of so many steps of the library's training on one patch."""
    step = make_step(learner.model, learner.optimiser, PLAN, learner.settings)
    image, label = tf.constant(patch.image), tf.constant(patch.label)
    return [float(step(image, label)) for _ in range(steps)]


# Underflow -------------------------------------------------------------------------------------


def voxel_gradients(
    model: tf.keras.Model, patch: Patch, scales: Sequence[float], copies: int = COPIES
) -> list[FloatArray]:
    """d(scaled loss) / d(logits) in float32, one array (16, 16, 16, classes) a scale.

    These are the first numbers on the way back through the network, and with mixed precision the
    first that are rounded to float16. One forward pass serves all scales.

    Args:
        model: a float32 network.
        patch: what it looks at.
        scales: fixed loss scales.
        copies: how many such patches the batch has. The loss is a mean over all voxels, so each
            one's gradient shrinks with their number, as in a larger patch.
    """
    finest = tf.nest.flatten(model(patch.image))[0]  # Keras gives one head without a list
    logits = tf.repeat(finest, copies, axis=0)  # (copies, 16, 16, 16, classes)
    label = tf.repeat(tf.constant(patch.label), copies, axis=0)
    optimisers = [_with_fixed_scale(scale) for scale in scales]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        loss = deep_supervision_loss([logits], label, head_strides(PLAN, 1))
        objectives = [precision.scaled(loss, optimiser) for optimiser in optimisers]
    return [tape.gradient(objective, logits)[0].numpy() for objective in objectives]


def _with_fixed_scale(scale: float) -> tf.keras.optimizers.Optimizer:
    """An optimiser that asks for this scale and never changes it."""
    return tf.keras.mixed_precision.LossScaleOptimizer(
        tf.keras.optimizers.SGD(), dynamic=False, initial_scale=scale
    )


def zeros_in(gradients: FloatArray, name: str) -> float:
    """The share of numbers that are not zero, and become zero in that format of TensorFlow's."""
    rounded = tf.cast(gradients, name)
    return float(np.mean((gradients != 0) & (tf.cast(rounded, tf.float32).numpy() == 0)))


def too_small(gradients: FloatArray, scale: float = 1.0) -> float:
    """The share with 0 < |g| <= 2^-25 / scale: the rule, computed in float64."""
    sizes = np.abs(gradients.astype(np.float64))
    return float(np.mean((sizes > 0) & (sizes <= SMALLEST / 2 / scale)))


def worst_gap(plain: FloatArray, scaled: Sequence[FloatArray], scales: Sequence[float]) -> float:
    """How far the share of float16's zeros is from the rule, over all scales.

    The rule is asked about the plain gradients, the zeros are counted in the scaled ones.
    """
    pairs = zip(scaled, scales, strict=True)
    return max(abs(zeros_in(each, "float16") - too_small(plain, scale)) for each, scale in pairs)


# Formats ---------------------------------------------------------------------------------------


def rounded(values: FloatArray, name: str) -> FloatArray:
    """float32 numbers rounded to `float16`, `bfloat16` or `tf32`, given as float32 again."""
    if name == "tf32":
        return rounded_to_tf32(values)
    return np.asarray(tf.cast(tf.cast(values, name), tf.float32))


def rounded_to_tf32(values: FloatArray) -> FloatArray:
    """To the nearest with 10 bits of mantissa, ties to even: float32 has 23, so 13 go."""
    bits = values.astype(np.float32).view(np.uint32)
    odd = (bits >> np.uint32(13)) & np.uint32(1)
    nearest = bits + np.uint32(0xFFF) + odd
    return (nearest & np.uint32(0xFFFFE000)).view(np.float32)


def rounding_error(values: FloatArray, name: str) -> float:
    """The largest relative error, among numbers within float16's normal range (from 2^-14 on)."""
    normal = values[(np.abs(values) >= 2.0**-14) & (np.abs(values) < 65504)]
    return float(np.max(np.abs(rounded(normal, name) - normal) / np.abs(normal)))


# Loss scaling ----------------------------------------------------------------------------------


def gradient_error(learner: Learner, reference: Learner, patch: Patch) -> float:
    """|g - h| / |h|: a network's weight gradients g against h of one with the same weights."""
    learner.model.set_weights(reference.model.get_weights())
    ours, theirs = (_weight_gradients(each, patch) for each in (learner, reference))
    return relative_difference(ours, theirs)


def as_in_a_large_patch(learner: Learner, scale: float) -> Learner:
    """The same network with a fixed scale, and gradients as small as in a patch of 128 an axis.

    A loss divided by `COPIES` has them without the 512 copies, which would take minutes here.
    """
    return Learner(learner.model, _with_fixed_scale(scale / COPIES), learner.settings)


def _weight_gradients(learner: Learner, patch: Patch) -> FloatArray:
    """All gradients of the library's step in one line, before clipping."""
    gradients_of = make_gradients(learner.model, learner.optimiser, PLAN, learner.settings)
    _, gradients = gradients_of(tf.constant(patch.image), tf.constant(patch.label))
    return np.concatenate([gradient.numpy().ravel() for gradient in gradients])


@dataclass(frozen=True)
class StepRecord:
    """One training step: whether it was made to overflow, and what came of it."""

    planted: bool
    scale: float
    """The loss scale after the step, as a multiple of that before the first."""
    largest_change: float
    """Of any weight."""


def overflow_record(learner: Learner, patch: Patch, planted: Sequence[bool]) -> list[StepRecord]:
    """Train one step an entry; where it says so, the image is beyond float16's range."""
    step = make_step(learner.model, learner.optimiser, PLAN, learner.settings)
    first = learner.scale
    records = []
    for overflow in planted:
        before = learner.model.get_weights()
        factor = np.float32(TOO_BRIGHT if overflow else 1)
        step(tf.constant(patch.image * factor), tf.constant(patch.label))
        pairs = zip(learner.model.get_weights(), before, strict=True)
        change = np.max([np.max(np.abs(after - old)) for after, old in pairs])  # NaN stays NaN
        records.append(StepRecord(overflow, learner.scale / first, float(change)))
    return records


def scales_of(records: Sequence[StepRecord]) -> str:
    """The scales after each step, as one line."""
    return ", ".join(f"{record.scale:g}" for record in records)


def change_in(records: Sequence[StepRecord], planted: bool) -> float:
    """The largest change in the planted steps; the smallest such in the others."""
    changes = [record.largest_change for record in records if record.planted == planted]
    return float(np.max(changes) if planted else np.min(changes))


# The policy ------------------------------------------------------------------------------------


def precisions(model: tf.keras.Model) -> list[tuple[str, str, str]]:
    """(kind of layer, type of its weights, type it computes in), each combination once."""
    rows = [
        (type(layer).__name__, layer.variable_dtype if layer.weights else "–", layer.compute_dtype)
        for layer in model.layers
    ]
    return list(dict.fromkeys(rows))


def convolutions_not_in(model: tf.keras.Model, name: str) -> int:
    """How many of its convolutions, transposed ones and heads too, compute in another precision."""
    kind = tf.keras.layers.Conv3D  # a transposed one is one of these for Keras
    return sum(isinstance(layer, kind) and layer.compute_dtype != name for layer in model.layers)


# Master weights --------------------------------------------------------------------------------


def smallest_arrival(model: tf.keras.Model) -> float:
    """The least that any weight has moved, as a share of all its updates.

    Keras's SGD subtracts `UPDATE` from every weight of the network, `UPDATES` times, from the
    variables that the library gave it.
    """
    variables = model.trainable_variables
    before = [variable.numpy().astype(np.float64) for variable in variables]
    optimiser = tf.keras.optimizers.SGD(UPDATE)
    optimiser.build(variables)
    ones = [tf.ones_like(variable) for variable in variables]
    for _ in range(UPDATES):
        optimiser.apply_gradients(zip(ones, variables, strict=True))
    moved = [old - new.numpy() for old, new in zip(before, variables, strict=True)]
    return float(min(np.min(each) for each in moved) / (UPDATE * UPDATES))


def kernels_of(model: tf.keras.Model) -> FloatArray:
    """All convolution weights of a network in one line, rounded to float16."""
    kernels = [each.numpy().ravel() for each in model.trainable_variables if each.shape.rank > 1]
    return np.concatenate(kernels).astype(np.float16)


def stuck_in_float16(weights: FloatArray) -> npt.NDArray[np.bool_]:
    """Which float16 weights are where they were after all updates, in TensorFlow's arithmetic."""
    variable = tf.Variable(weights, dtype=tf.float16)
    for _ in range(UPDATES):
        variable.assign_sub(tf.fill(variable.shape, tf.constant(UPDATE, tf.float16)))
    return np.asarray(variable.numpy() == weights)


def stuck_by_rule(weights: FloatArray) -> npt.NDArray[np.bool_]:
    """Which should be: those whose next float16 number below is more than two updates away."""
    below = np.nextafter(weights, np.float16(-np.inf))
    return np.asarray(weights.astype(np.float64) - below.astype(np.float64) > 2 * UPDATE)


# Agreement -------------------------------------------------------------------------------------


def largest_difference(first: Sequence[float], second: Sequence[float]) -> float:
    """Between the losses of two trainings, step by step; NaN if there is one."""
    return float(np.max(np.abs(np.subtract(first, second))))

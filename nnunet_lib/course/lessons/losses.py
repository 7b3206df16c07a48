"""What lesson 05 claims, as numbers. References are NumPy's arithmetic, or were done by hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from nnunet_lib.course.lessons.common import relative_difference
from nnunet_lib.course.lessons.unet import CPU, tiny_plan
from nnunet_lib.evaluation import dice, surface_scores
from nnunet_lib.model import build_unet, head_strides
from nnunet_lib.planning import Plan
from nnunet_lib.training import (
    TrainingSettings,
    cross_entropy,
    make_optimiser,
    segmentation_loss,
    soft_dice,
)
from nnunet_lib.training.step import make_gradients

Loss = Callable[[Any, Any], tf.Tensor]
LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "1 - soft Dice": lambda logits, labels: 1 - soft_dice(logits, labels),
    "the mean of both": segmentation_loss,
}


def uneven_weights(weights: Sequence[float]) -> float:
    """How far weights are from 1, 1/2, 1/4, ... over their sum, as fractions have it."""
    heads = len(weights)
    exact = [Fraction(2 ** (heads - 1 - index), 2**heads - 1) for index in range(heads)]
    return max(abs(weight - float(share)) for weight, share in zip(weights, exact, strict=True))


# Gradients -------------------------------------------------------------------------------------

SMOOTHING = 1e-5
"""What the lesson adds to both sums of soft Dice: its own number, not the library's."""


def gradient_error(loss: Loss, formula: Callable[..., float], classes: int, seed: int = 0) -> float:
    """Relative error of TensorFlow's gradient against finite differences of NumPy's formula.

    One central difference for each logit: (f(x + h) - f(x - h)) / 2h, in float64.
    """
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(2, 3, 4, classes))
    labels = generator.integers(0, classes, (2, 3, 4, 1))
    variable = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = loss(variable, labels)
    gradient = tape.gradient(value, variable).numpy()
    return relative_difference(gradient, _differences(formula, logits, labels))


def _differences(
    formula: Callable[..., float], logits: np.ndarray, labels: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    result = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        ahead, behind = logits.copy(), logits.copy()
        ahead[place] += step
        behind[place] -= step
        result[place] = (formula(ahead, labels) - formula(behind, labels)) / (2 * step)
    return result


def numpy_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over voxels of -log p of the true class."""
    true = np.take_along_axis(_softmax(logits), labels, axis=-1)
    return float(-np.log(true).mean())


def numpy_soft_dice(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over foreground classes of (2 Σ p g + s) / (Σ p + Σ g + s), sums over the whole batch.

    s is `SMOOTHING`, which matters for a class that no voxel has.
    """
    p = _softmax(logits)[..., 1:]  # (batch, *spatial, foreground class)
    g = labels == np.arange(1, logits.shape[-1])  # likewise
    axes = tuple(range(p.ndim - 1))
    overlap, size = 2 * (p * g).sum(axes), p.sum(axes) + g.sum(axes)
    return float(np.mean((overlap + SMOOTHING) / (size + SMOOTHING)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(axis=-1, keepdims=True)


# What each loss makes of doubt -----------------------------------------------------------------

VOXELS, MARKED, FOREGROUND = 900, 27, 9
"""3% of the voxels carry a mark, and a third of these are foreground. No other voxel is."""
LEARNING_STEPS, LEARNING_RATE = 2000, 0.1


@dataclass(frozen=True)
class Belief:
    """What a model that sees only the mark has learned.

    Attributes:
        marked: probability of foreground that it gives a marked voxel.
        unmarked: the same for one without a mark.
        dice: of the label map that follows, each voxel's more probable class.
    """

    marked: float
    unmarked: float
    dice: float


def marked_voxels() -> tuple[np.ndarray, np.ndarray]:
    """Marks (voxel,), 0 or 1, and labels (1, voxel, 1)."""
    place = np.arange(VOXELS)
    return (place < MARKED).astype(int), (place < FOREGROUND).astype(int)[None, :, None]


def converged(loss: Loss) -> Belief:
    """Let a table of logits, one row for each mark, learn under a loss until nothing moves."""
    marks, labels = marked_voxels()
    table = tf.Variable(tf.zeros((2, 2)))  # (mark, class)
    optimiser = tf.keras.optimizers.Adam(LEARNING_RATE)
    optimiser.build([table])

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            value = loss(tf.gather(table, marks)[None], labels)  # logits (1, voxel, class)
        optimiser.apply_gradients([(tape.gradient(value, table), table)])

    for _ in range(LEARNING_STEPS):
        step()
    probability = _softmax(table.numpy())[:, 1]
    return Belief(float(probability[1]), float(probability[0]), hard_dice(probability, marks))


def hard_dice(probability: np.ndarray, marks: np.ndarray) -> float:
    """2 |P ∩ T| / (|P| + |T|), counted here; probability is one a mark."""
    predicted, true = probability[marks] > 0.5, marked_voxels()[1][0, :, 0] == 1
    return float(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))


def losses_by_probability(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Each loss as a function of what marked voxels are given; unmarked ones get nearly 0."""
    marks, labels = marked_voxels()
    curves = {}
    for name, loss in LOSSES.items():
        values = []
        for probability in probabilities:
            foreground = np.where(marks == 1, probability, 1e-6)
            logits = np.log(np.stack([1 - foreground, foreground], axis=-1))
            values.append(float(loss(logits[None].astype(np.float32), labels)))
        curves[name] = np.array(values)
    return curves


# Deep supervision ------------------------------------------------------------------------------


SEEDS = range(5)
"""First weights for the median of `deepest_gain`; a single start may give anything from 1 to 7."""


def supervised_plan(labels: Sequence[str]) -> Plan:
    """A tiny 3D network of three levels, two of which have heads."""
    return tiny_plan(3, edge=32, stages=3, labels=tuple(labels), filters=(4,) * 3)


def flat_plan(labels: Sequence[str]) -> Plan:
    """A tiny 2D network with three heads, whose float32 sums lose few digits: it has no norms."""
    options: dict[str, Any] = {"labels": tuple(labels), "filters": (4,) * 4, "norm": "none"}
    return tiny_plan(2, edge=16, stages=4, **options)


def structure_patch(
    image: np.ndarray, label: np.ndarray, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """A patch around the structures of a scan (z, y, x): (1, *patch, 1) each, the image z-scored.

    In 2D it lies in the slice with most of them.
    """
    if plan.dimensions == 2:
        busiest = int((label > 0).sum(axis=(1, 2)).argmax())
        image, label = image[busiest], label[busiest]
    middle = [int(np.mean(places)) for places in np.nonzero(label)]
    reach = [size // 2 for size in plan.patch_size]
    framed = [np.pad(array, [(r, r) for r in reach], mode="edge") for array in (image, label)]
    box = tuple(slice(m, m + size) for m, size in zip(middle, plan.patch_size, strict=True))
    patch, truth = (array[box][None, ..., None] for array in framed)
    patch = patch.astype(np.float32)
    return (patch - patch.mean()) / patch.std(), truth.astype(np.uint8)


@dataclass(frozen=True)
class Supervised:
    """A network of a plan with its heads, and one patch to learn from."""

    plan: Plan
    image: np.ndarray
    label: np.ndarray
    seed: int = 0
    model: tf.keras.Model = field(init=False)

    def __post_init__(self) -> None:
        """Build the network, with seeded weights."""
        tf.keras.utils.set_random_seed(self.seed)
        with tf.device(CPU):
            object.__setattr__(self, "model", build_unet(self.plan))

    def total(self) -> list[np.ndarray]:
        """The gradient that training takes: one array a variable."""
        settings = TrainingSettings()
        with tf.device(CPU):
            optimiser = make_optimiser(settings)
            gradients_of = make_gradients(self.model, optimiser, self.plan, settings)
            _, gradients = gradients_of(tf.constant(self.image), tf.constant(self.label))
        return self._arrays(gradients)

    def of_head(self, head: int) -> list[np.ndarray]:
        """The gradient of one head's loss alone, against the middle label of each block."""
        strides = head_strides(self.plan, len(self.model.outputs))[head]
        middles = (slice(None), *(slice(step // 2, None, step) for step in strides))
        network = tf.keras.Model(self.model.inputs, self.model.outputs[head])
        with tf.device(CPU):
            with tf.GradientTape() as tape:
                logits, truth = network(self.image), self.label[middles]
                loss = (cross_entropy(logits, truth) + 1 - soft_dice(logits, truth)) / 2
            gradients = tape.gradient(loss, self.model.trainable_variables)
        return self._arrays(gradients)

    def finer_than(self, head: int) -> list[int]:
        """Which variables belong to decoder levels, and heads, finer than a head's."""
        prefixes = tuple(f"{part}_{level}_" for part in ("up", "head") for level in range(head))
        names = [variable.name for variable in self.model.trainable_variables]
        return [index for index, name in enumerate(names) if name.startswith(prefixes)]

    def decoder_norm(self, gradients: Sequence[np.ndarray], level: int) -> float:
        """Length of the part of a gradient that belongs to one decoder level."""
        names = [variable.name for variable in self.model.trainable_variables]
        pairs = zip(names, gradients, strict=True)
        parts = [array for name, array in pairs if name.startswith(f"up_{level}_")]
        return math.sqrt(sum(float(np.sum(np.square(part, dtype=np.float64))) for part in parts))

    def _arrays(self, gradients: Sequence[tf.Tensor | None]) -> list[np.ndarray]:
        """NumPy's, zeros where TensorFlow finds no path."""
        pairs = zip(gradients, self.model.trainable_variables, strict=True)
        return [np.zeros(v.shape) if g is None else g.numpy() for g, v in pairs]


def weighted_sum_error(supervised: Supervised) -> float:
    """Relative error of the total gradient against 1, 1/2, 1/4, ... of the heads', summing to 1."""
    heads = len(supervised.model.outputs)
    factors = 0.5 ** np.arange(heads)
    parts = [supervised.of_head(head) for head in range(heads)]
    expected = [
        sum(factor * part for factor, part in zip(factors / factors.sum(), each, strict=True))
        for each in zip(*parts, strict=True)
    ]
    pair = supervised.total(), expected
    total, wanted = (np.concatenate([np.ravel(array) for array in arrays]) for arrays in pair)
    return relative_difference(total, wanted)


def sent_to_finer_levels(supervised: Supervised) -> float:
    """The largest gradient that any head sends to a decoder level finer than itself."""
    worst = 0.0
    for head in range(1, len(supervised.model.outputs)):
        gradients = supervised.of_head(head)
        worst = max(worst, *(np.abs(gradients[i]).max() for i in supervised.finer_than(head)))
    return float(worst)


def deepest_gain(supervised: Supervised) -> float:
    """By what factor deep supervision lengthens the gradient of the deepest decoder level."""
    deepest = len(supervised.plan.filters) - 2
    alone = supervised.decoder_norm(supervised.of_head(0), deepest)
    return supervised.decoder_norm(supervised.total(), deepest) / alone


def median_gain(supervised: Supervised, seeds: Sequence[int] = SEEDS) -> float:
    """The median of `deepest_gain` over first weights."""
    return median(deepest_gain(replace(supervised, seed=seed)) for seed in seeds)


def decoder_norms(supervised: Supervised) -> tuple[list[float], list[float]]:
    """Length of the gradient in each decoder level: of the finest head alone, and of all heads."""
    both = supervised.of_head(0), supervised.total()
    levels = range(len(supervised.plan.filters) - 1)
    alone, total = ([supervised.decoder_norm(each, level) for level in levels] for each in both)
    return alone, total


# Metrics ---------------------------------------------------------------------------------------

TOLERANCE = 1.0  # mm


@dataclass(frozen=True)
class Pair:
    """A prediction and a truth whose scores can be worked out by hand.

    Attributes:
        name: what it shows.
        prediction: (z, y, x), 0 or 1.
        truth: (z, y, x), 0 or 1.
        spacing: millimetres (z, y, x).
        dice: by hand, as the two others.
        hd95_mm: millimetres.
        surface_dice: within `TOLERANCE`.
    """

    name: str
    prediction: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]
    dice: float
    hd95_mm: float
    surface_dice: float


def hand_made_pairs() -> tuple[Pair, ...]:
    """Four pairs; the working stands beside each number."""
    return (_thin(), _stray(), _grown_small(), _grown_large())


def _thin() -> Pair:
    """A line of 20 voxels, predicted one voxel, 3 mm, beside the truth."""
    prediction, truth = np.zeros((2, 7, 7, 24), np.uint8)
    truth[3, 3, 2:22] = 1
    prediction[3, 4, 2:22] = 1
    # No voxel in common, and each is 3 mm from its partner.
    return Pair("a thin line, one voxel off", prediction, truth, (1.0, 3.0, 1.0), 0.0, 3.0, 0.0)


def _stray() -> Pair:
    """A perfect cube of 3 voxels an edge, and two stray voxels 10 mm away."""
    prediction, truth = np.zeros((2, 9, 9, 20), np.uint8)
    truth[3:6, 3:6, 2:5] = prediction[3:6, 3:6, 2:5] = 1
    prediction[4:6, 4, 14] = 1
    return Pair(
        "perfect, and two stray voxels",
        prediction,
        truth,
        (1.0, 1.0, 1.0),
        dice=2 * 27 / (27 + 29),
        # 28 surface voxels: 26 zeros, then 10 twice. 0.95 · 27 = 25.65, so 0.65 of the way to 10.
        hd95_mm=6.5,
        surface_dice=(26 + 26) / (28 + 26),
    )


def _grown_small() -> Pair:
    """A cube of 4 voxels an edge, predicted one voxel too large on every side."""
    return Pair(
        "small, 1 mm too large all round",
        *_cubes(4),
        (1.0, 1.0, 1.0),
        dice=2 * 64 / (64 + 216),
        # 216 - 64 = 152 surface voxels: 96 on faces at 1, 48 on edges at √2, 8 corners at √3.
        # 0.95 · 151 = 143.45: 0.45 of the way from the last √2 to the first √3.
        hd95_mm=math.sqrt(2) + 0.45 * (math.sqrt(3) - math.sqrt(2)),
        surface_dice=(96 + 56) / (152 + 56),  # the truth's 64 - 8 = 56 all lie at 1
    )


def _grown_large() -> Pair:
    """The same for a cube of 20 voxels an edge."""
    return Pair(
        "large, 1 mm too large all round",
        *_cubes(20),
        (1.0, 1.0, 1.0),
        dice=2 * 8000 / (8000 + 10648),
        # 2648 surface voxels: 2400 at 1, 240 at √2, 8 at √3. 0.95 · 2647 = 2514.65 is at √2.
        hd95_mm=math.sqrt(2),
        surface_dice=(2400 + 2168) / (2648 + 2168),  # 8000 - 18³ = 2168, all at 1
    )


def _cubes(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth: cubes with the same middle, of edge + 2 and edge voxels."""
    truth = np.pad(np.ones((edge,) * 3, np.uint8), 2)
    return np.pad(np.ones((edge + 2,) * 3, np.uint8), 1), truth


def dice_error(pairs: Sequence[Pair]) -> float:
    """The largest difference between the library's Dice and the one by hand."""
    return max(abs((dice(p.prediction, p.truth) or 0.0) - p.dice) for p in pairs)


def hd95_error(pairs: Sequence[Pair]) -> float:
    """The same for HD95, in millimetres; infinite where the library finds none."""
    return max(abs(_or_infinite(_surface(pair).hd95_mm) - pair.hd95_mm) for pair in pairs)


def surface_dice_error(pairs: Sequence[Pair]) -> float:
    """The same for surface Dice."""
    return max(abs(_or_infinite(_surface(pair).surface_dice) - pair.surface_dice) for pair in pairs)


def _surface(pair: Pair) -> Any:
    return surface_scores(pair.prediction, pair.truth, pair.spacing, tolerance=TOLERANCE)


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value

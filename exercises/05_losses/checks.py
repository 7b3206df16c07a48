"""What is checked of the exercises of lesson 05, and which mistakes are known."""

import numpy as np
from scipy import ndimage
from scipy.special import log_softmax, logsumexp, softmax

from nnunet_lib.course.exercises import Exercise, Mistake, Property
from nnunet_lib.evaluation import dice, surface_scores

CALLS = 5

# 05.entropy ----------------------------------------------------------------------------------


def draw_logits(rng):
    """Two draws as they come, then logits with which exp fails, or a logarithm after it.

    First all are that large, or that far below 0. Then a single one is: that of a voxel's right
    class, or of a wrong one. Then a wrong one is so far above that its odds against the right
    class are infinite, while the right one's probability is just above 0. Last, a single one,
    right or wrong, is too large even when its voxel's mean is subtracted.
    """
    calls = []
    for everywhere, right, wrong in (*[(0, 0, 0)] * 2, *LARGE):
        voxels, classes = int(rng.integers(5, 9)), int(rng.integers(3, 6))
        labels = rng.integers(0, classes, voxels)
        logits = rng.normal(0, 2, (voxels, classes)) + everywhere
        voxel, other = rng.integers(voxels), rng.integers(1, classes)
        logits[voxel, labels[voxel]] += right
        if wrong:
            raised = (labels[voxel] + other) % classes
            logits[voxel, raised] = logits[voxel, labels[voxel]] + wrong
        calls.append({"logits": logits, "labels": labels})
    return calls


LARGE = (
    (900, 0, 0),
    (-900, 0, 0),
    (0, 900, 0),
    (0, 0, 900),
    (0, 0, 720),
    (0, 2000, 0),
    (0, 0, 2000),
)
"""What is added to all logits, to one voxel's right class, and to that for a wrong one."""
FAR = 100


def surprise(logits, labels):
    """By SciPy, voxel by voxel."""
    pairs = zip(logits, labels, strict=True)
    return float(np.mean([logsumexp(row) - row[label] for row, label in pairs]))


def floor(logits, labels):
    """How far the largest logit is above the right one, on average; cross-entropy is more.

    0 where no wrong class is far above: a loss too small there has another cause than a ceiling.
    """
    of_right_class = np.take_along_axis(logits, labels[:, None], axis=-1)
    above = logits.max(axis=-1, keepdims=True) - of_right_class
    return above.mean() if above.max() > FAR else 0.0


def overflowing(logits, labels):
    with np.errstate(all="ignore"):
        odds = np.exp(logits)
        log_p = np.log(odds / odds.sum(axis=-1, keepdims=True))
        return -log_p[np.arange(len(labels)), labels].mean()


def overflowing_sum(logits, labels):
    with np.errstate(all="ignore"):
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return -log_p[np.arange(len(labels)), labels].mean()


def by_pairs(logits, labels):
    with np.errstate(all="ignore"):
        of_right_class = np.take_along_axis(logits, labels[:, None], axis=-1)
        return np.log(np.exp(logits - of_right_class).sum(axis=-1)).mean()


def logarithm_last(logits):
    with np.errstate(all="ignore"):
        return np.log(softmax(logits, axis=-1))


def shifted_alike(logits):
    with np.errstate(all="ignore"):
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def shifted_by_mean(logits):
    with np.errstate(all="ignore"):
        shifted = logits - logits.mean(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def shifted_by_class(logits):
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(axis=0)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sum_added(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted + np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def summed_over_voxels(logits):
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=0))


def of_log_p(log_p):
    """What the rest of the function makes of wrong logarithms."""

    def gives(logits, labels):
        return -np.take_along_axis(log_p(logits), labels[:, None], axis=-1).mean()

    return gives


ENTROPY = Exercise(
    function="cross_entropy",
    draw=draw_logits,
    reference=surprise,
    hint="Subtract logits.max(axis=-1, keepdims=True) first: the softmax stays the same, and no "
    "exponential is larger than 1. Then apply the formula as it stands.",
    properties=(
        Property(
            "large logits give a finite number",
            lambda result, logits, labels: bool(np.isfinite(result)),
            "With logits near 900, or near -900, the result is no finite number. Which step makes "
            "it so? Subtract each voxel's largest logit beforehand, and take no logarithm of a "
            "probability: it may have become 0.",
        ),
        Property(
            "cross-entropy is never below 0",
            lambda result, logits, labels: result >= 0,
            "A probability is at most 1, and its logarithm at most 0. Yours is larger somewhere.",
        ),
        Property(
            "the loss of a voxel has no ceiling",
            lambda result, logits, labels: result >= floor(logits, labels) - 1e-3,
            "Where a wrong class is 900 above the right one, that voxel costs 900. A logit or a "
            "probability that is clipped, or a probability to which a small number is added, "
            "cannot cost as much. Take the logarithm before the exponentials are summed away, as "
            "the formula does.",
        ),
    ),
    mistakes=(
        Mistake(
            "overflow",
            "With ordinary logits you are right. Near 900 the exponential is infinite, and near "
            "-900 it is 0. The softmax does not change if the same number is subtracted from all "
            "logits of a voxel: which number makes it safe?",
            gives=overflowing,
        ),
        Mistake(
            "overflow of the sum",
            "With ordinary logits you are right. But the sum of exponentials overflows near 900. "
            "The softmax does not change if the same number is subtracted from all logits of a "
            "voxel: which number makes it safe?",
            gives=overflowing_sum,
        ),
        Mistake(
            "logarithm of the softmax",
            "The softmax is safe now. But where a wrong class is 900 above the right one, the "
            "right one's probability is about 1e-391, which becomes 0. Take the logarithm before "
            "the exponentials are summed away: the formula has log p as a difference "
            "(log-softmax).",
            gives=of_log_p(logarithm_last),
        ),
        Mistake(
            "the right class subtracted",
            "You subtract the right class's logit. Where a wrong class is 900 above it, the "
            "exponential is still infinite. Which logit of a voxel leaves nothing above 0 when it "
            "is subtracted?",
            gives=by_pairs,
        ),
        Mistake(
            "one number for all voxels",
            "You subtract the largest of *all* logits. Where one voxel has 900, all others are "
            "moved to -900, and their exponentials become 0. Each voxel has a largest logit of "
            "its own.",
            gives=of_log_p(shifted_alike),
        ),
        Mistake(
            "mean subtracted",
            "You subtract each voxel's mean. A single logit of 2000 among three is still 1333 "
            "above it, and its exponential is infinite. Which logit of a voxel leaves nothing "
            "above 0 when it is subtracted?",
            gives=of_log_p(shifted_by_mean),
        ),
        Mistake(
            "largest of each class",
            "You subtract from each class its largest logit over all *voxels*. So the classes of "
            "one voxel lose different numbers, and its softmax is another. It stays the same only "
            "if all of them lose the same number.",
            gives=of_log_p(shifted_by_class),
        ),
        Mistake(
            "wrong axis",
            "You sum over the voxels. The probabilities of one voxel's *classes* sum to 1: along "
            "which axis do they lie?",
            gives=of_log_p(lambda logits: log_softmax(logits, axis=0)),
        ),
        Mistake(
            "sum along the wrong axis",
            "You subtract each voxel's largest logit, which is right, and sum over the voxels. "
            "The probabilities of one voxel's *classes* sum to 1: along which axis do they lie?",
            gives=of_log_p(summed_over_voxels),
        ),
        Mistake(
            "sign",
            "These are the right numbers with a minus. A logarithm of a probability is below 0; "
            "the formula has a minus before it.",
            gives=lambda logits, labels: -surprise(logits, labels),
        ),
        Mistake(
            "sum added",
            "You add the logarithm of the sum to the logits. The softmax *divides* by the sum: "
            "what does a logarithm make of a division?",
            gives=of_log_p(sum_added),
        ),
        Mistake(
            "over everything",
            "You sum over all voxels and classes at once. Each voxel has probabilities of its own, "
            "which sum to 1: along which axis do they lie?",
            gives=of_log_p(log_softmax),
        ),
        Mistake(
            "no logarithm",
            "These are the probabilities. What is asked for is their logarithm.",
            gives=of_log_p(lambda logits: np.exp(log_softmax(logits, axis=-1))),
        ),
        Mistake(
            "base 2",
            "You are right but for a factor: these are logarithms to the base 2. The formula has "
            "the natural one.",
            gives=of_log_p(lambda logits: log_softmax(logits, axis=-1) / np.log(2)),
        ),
    ),
)

# 05.gradient ---------------------------------------------------------------------------------


class Cubic:
    """A loss that bends so much that a step of 0.1 tells the formulas apart, and joins entries."""

    def __init__(self, rng, shape):
        self.cubic, self.square, self.line = rng.uniform(1, 3, (3, *shape))

    def __call__(self, x):
        alone = self.cubic * x**3 + self.square * x**2 + self.line * x
        return float(alone.sum() + x.sum() ** 2)


def draw_losses(rng):
    calls = []
    for call in range(CALLS):
        shape = tuple(int(size) for size in rng.integers(2, 4, 1 + call % 3))
        x, h = np.zeros(shape), 0.1
        while not rounds(x, h):
            x = rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
            h = float(rng.uniform(0.1, 0.3))
        calls.append({"loss": Cubic(rng, shape), "x": x, "h": h})
    return calls


def rounds(x, h):
    """Whether x does not quite come back when it is moved away, and back by adding."""
    return not any(np.array_equal(x, back) for back in (x + h - h, x + h - 2 * h + h))


def moved_back(function, loss, x, h):
    """The gradient, and whether x came back but for rounding; then x is put right."""
    before = x.copy()
    gradient = function(loss, x, h)
    rounded = not np.array_equal(x, before) and np.allclose(x, before, rtol=0, atol=1e-9)
    if rounded:
        x[...] = before
    return None if gradient is None else {"gradient": gradient, "x": BACK[rounded]}


BACK = ("not off by rounding", "off by rounding")


def told(gradient):
    """What `moved_back` makes of a function that does not round x."""
    return lambda loss, x, h: {"gradient": gradient(loss, x, h), "x": BACK[0]}


def central(loss, x, h):
    """By calculus: a central difference adds h² times the cubic's factor to the derivative."""
    derivative = 3 * loss.cubic * x**2 + 2 * loss.square * x + loss.line + 2 * x.sum()
    return derivative + h**2 * loss.cubic


def one_sided(loss, x, h):
    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([(loss(x + step) - loss(x)) / h for step in steps]).reshape(x.shape)


def all_at_once(loss, x, h):
    return np.full_like(x, (loss(x + h) - loss(x - h)) / (2 * h))


def never_moved_back(loss, x, h):
    """Each entry is left at x - h, before the next one's turn."""
    x, gradient = x.copy(), np.empty_like(x)
    for index in np.ndindex(x.shape):
        x[index] += h
        above = loss(x)
        x[index] -= 2 * h
        gradient[index] = (above - loss(x)) / (2 * h)
    return gradient


GRADIENT = Exercise(
    function="numeric_gradient",
    draw=draw_losses,
    probe=moved_back,
    reference=told(central),
    hint="for index in np.ndindex(x.shape): make step = np.zeros_like(x), set step[index] = h, and "
    "put (loss(x + step) - loss(x - step)) / (2 * h) at the same index of the result.",
    properties=(
        Property(
            "x is as before, to the last bit",
            lambda result, loss, x, h: result["x"] == BACK[0],
            "x is nearly as before. But (x + h) - 2h + h is rounded three times, and need not be "
            "x to the last bit. Keep the old value and put it back, or work on a copy.",
        ),
        Property(
            "the gradient has the shape of x",
            lambda result, loss, x, h: result["gradient"].shape == x.shape,
            "A gradient has one number for each entry of x, so it is an array of the same shape.",
        ),
    ),
    mistakes=(
        Mistake(
            "forward",
            "You move up only. The error of that is as large as h; moving up *and* down, the "
            "largest part of it cancels.",
            gives=told(one_sided),
        ),
        Mistake(
            "backward",
            "You move down only. The error of that is as large as h; moving up *and* down, the "
            "largest part of it cancels.",
            gives=told(lambda loss, x, h: one_sided(loss, x, -h)),
        ),
        Mistake(
            "divided by h",
            "You are wrong by a factor of 2. How far do the two places lie apart?",
            gives=told(lambda loss, x, h: 2 * central(loss, x, h)),
        ),
        Mistake(
            "multiplied by h",
            "You are wrong by a factor that grows with h. Look at your brackets: a / 2 * h is "
            "(a / 2) · h.",
            gives=told(lambda loss, x, h: central(loss, x, h) * h**2),
        ),
        Mistake(
            "all at once",
            "You move all entries together, so they all get the same number. A partial derivative "
            "moves one entry, and leaves the others.",
            gives=told(all_at_once),
        ),
        Mistake(
            "never moved back",
            "The first entry is right. When it is the next one's turn, has the first gone back to "
            "where it was?",
            gives=told(never_moved_back),
        ),
    ),
)

# 05.doubt ------------------------------------------------------------------------------------


def draw_doubts(rng):
    """Foreground in the minority three times, in the majority twice; p below and above 1/2."""
    calls = []
    for call in range(CALLS):
        marked = int(rng.integers(20, 60))
        share = rng.uniform(0.15, 0.35) if call % 2 == 0 else rng.uniform(0.6, 0.8)
        parts = [rng.uniform(0.02, 0.1, 2), rng.uniform(0.12, 0.48, 9), rng.uniform(0.52, 0.97, 9)]
        calls.append(
            {
                "marked": marked,
                "foreground": max(1, round(share * marked)),
                "probabilities": rng.permutation(np.concatenate(parts)),
            }
        )
    return calls


def by_voxels(marked, foreground, probabilities, losses=None, hard=None):
    """Voxel by voxel: each p is given to an array of voxels, and each loss taken of it."""
    truth = (np.arange(marked) < foreground).astype(float)
    hard = hard or (lambda p, g: 2 * (g * (p > 0.5)).sum() / (g.sum() + (p > 0.5).sum()))
    settled, least = [], []
    for loss in losses or (binary_entropy, lambda p, g: 1 - soft_dice(p, g)):
        values = [loss(np.full(marked, p), truth) for p in probabilities]
        settled.append(probabilities[np.argmin(values)])
        least.append(min(values))
    return *settled, *least, *(hard(np.full(marked, p), truth) for p in settled)


def binary_entropy(p, g):
    return -np.log(np.where(g > 0, p, 1 - p)).mean()


def soft_dice(p, g):
    return 2 * (p * g).sum() / (p.sum() + g.sum())


def overlap_below(p, g):
    return 2 * (p * g).sum() / ((p * g).sum() + g.sum())


def soft_union(p, g):
    return (p * g).sum() / (p + g - p * g).sum()


def foreground_entropy(p, g):
    return -(g * np.log(p)).mean()


def balanced_entropy(p, g):
    return -(np.log(p[g > 0]).mean() + np.log(1 - p[g == 0]).mean()) / 2


def world(p, marked, foreground):
    """The p and the truth of each voxel."""
    return np.full(marked, p), (np.arange(marked) < foreground).astype(float)


def entropy_of(p, marked, foreground):
    return binary_entropy(*world(p, marked, foreground))


def with_losses(entropy, overlap):
    def gives(marked, foreground, probabilities):
        losses = (entropy, lambda p, g: 1 - overlap(p, g))
        return by_voxels(marked, foreground, probabilities, losses)

    return gives


def with_hard(hard):
    return lambda marked, foreground, probabilities: by_voxels(
        marked, foreground, probabilities, hard=hard
    )


def intersection_over_union(p, g):
    segmented = p > 0.5
    return (g * segmented).sum() / np.maximum(g, segmented).sum()


def indices(marked, foreground, probabilities):
    one, other, *rest = by_voxels(marked, foreground, probabilities)
    places = [int(np.flatnonzero(probabilities == p)[0]) for p in (one, other)]
    return *places, *rest


def as_overlap(marked, foreground, probabilities):
    """D in place of 1 - D."""
    *settled, entropy, loss, one, other = by_voxels(marked, foreground, probabilities)
    return *settled, entropy, 1 - loss, one, other


DOUBT = Exercise(
    function="in_doubt",
    draw=draw_doubts,
    reference=by_voxels,
    hint="With f of m voxels foreground: cross-entropy -(f log p + (m - f) log(1 - p)) / m, and "
    "D = 2 f p / (m p + f). Take p[loss.argmin()] and loss.min() of each. If p > 1/2, Dice is "
    "2 f / (m + f).",
    properties=(
        Property(
            "both answers are among the probabilities",
            lambda result, marked, foreground, probabilities: all(
                np.isclose(probabilities, p).any() for p in result[:2]
            ),
            "The first two numbers should be probabilities from the ones that you were given.",
        ),
        Property(
            "there are six numbers",
            lambda result, marked, foreground, probabilities: len(result) == 6,
            "Return six numbers, in the order of the task: two p, the two least losses, two Dice.",
        ),
        Property(
            "Dice is between 0 and 1",
            lambda result, marked, foreground, probabilities: all(0 <= d <= 1 for d in result[4:]),
            "The last two numbers are Dice coefficients, which lie between 0 and 1.",
        ),
        Property(
            "the first loss is the mean cross-entropy of the first p",
            lambda result, marked, foreground, probabilities: np.isclose(
                result[2], entropy_of(result[0], marked, foreground)
            ),
            "Your third number is not the mean cross-entropy of your first p. Each marked voxel "
            "has one term, of the class that it is; take their mean.",
        ),
        Property(
            "the second loss is 1 - D of the second p",
            lambda result, marked, foreground, probabilities: np.isclose(
                result[3], 1 - soft_dice(*world(result[1], marked, foreground))
            ),
            "Your fourth number is not 1 - D of your second p. The sums run over *all* marked "
            "voxels: what is p in each of them, and what is g?",
        ),
        Property(
            "the second p has the least 1 - D",
            lambda result, marked, foreground, probabilities: np.isclose(
                result[1], probabilities.max()
            ),
            "Some other p has a smaller 1 - D than yours. Is it the least 1 - D, or the least D?",
        ),
    ),
    mistakes=(
        Mistake(
            "foreground only",
            "Your cross-entropy asks the foreground alone, so it likes the largest p best. The "
            "marked voxels that are *not* foreground are surprised by that: add their term.",
            gives=with_losses(foreground_entropy, soft_dice),
        ),
        Mistake(
            "balanced",
            "You give both classes the same weight, and cross-entropy then settles near 1/2. Every "
            "voxel has one vote: take the mean over voxels, not over classes.",
            gives=with_losses(balanced_entropy, soft_dice),
        ),
        Mistake(
            "most Dice is least",
            "Cross-entropy is right. For the other you look for the least *Dice*. The loss is "
            "1 - D, so the best p has the largest D.",
            gives=with_losses(binary_entropy, lambda p, g: 1 - soft_dice(p, g)),
        ),
        Mistake(
            "Dice for its loss",
            "The two p are right. But your fourth number is D itself, and the loss is 1 - D.",
            gives=as_overlap,
        ),
        Mistake(
            "sum over voxels",
            "The two p are right. But your cross-entropy is the sum over all marked voxels, and "
            "the mean is asked for.",
            gives=with_losses(lambda p, g: binary_entropy(p, g) * g.size, soft_dice),
        ),
        Mistake(
            "overlap below the line",
            "The two p are right, but 1 - D is not: below the line, the sum of p runs over *all* "
            "marked voxels, those that are not foreground as well.",
            gives=with_losses(binary_entropy, overlap_below),
        ),
        Mistake(
            "soft union",
            "The two p are right, but you divide by a union. D divides *twice* the overlap by the "
            "sum of the two sizes.",
            gives=with_losses(binary_entropy, soft_union),
        ),
        Mistake(
            "soft scores",
            "The two p are right. But the scores are those of the probabilities. A segmentation is "
            "all of the marked voxels, or none: decide first, then take its Dice.",
            gives=with_hard(soft_dice),
        ),
        Mistake(
            "intersection over union",
            "The two p are right. Your score divides by the union; Dice divides twice the overlap "
            "by the *sum* of the two sizes.",
            gives=with_hard(intersection_over_union),
        ),
        Mistake(
            "all segmented",
            "The two p are right. But you score both as if all voxels were segmented. What does a "
            "model segment whose p is below 1/2?",
            gives=with_hard(lambda p, g: 2 * g.sum() / (g.size + g.sum())),
        ),
        Mistake(
            "places",
            "You give the places of the best probabilities in the array (argmin). Look up what "
            "stands there.",
            gives=indices,
        ),
    ),
)

# 05.scores -----------------------------------------------------------------------------------


def draw_masks(rng):
    """Two blobs on voxels whose axes differ, one of them with a rod far off; no distance ties.

    The rod is the prediction's and the truth's in turn, so that each direction is the larger once.
    Last, voxels of 1 mm and that tolerance: there many distances are just as large, and exact.
    """
    calls = []
    while len(calls) < CALLS:
        spacing = rng.permutation([rng.uniform(0.5, 0.7), rng.uniform(0.9, 1.3), 2.0])
        shape = (12, 14, 16)
        truth = blob(rng, shape)
        prediction = np.roll(truth, rng.integers(-1, 2, 3), (0, 1, 2)) ^ bumps(rng, truth)
        prediction[2, 2, 2:13] = True
        if len(calls) % 2:
            prediction, truth = truth, prediction
        inputs = {"prediction": prediction, "truth": truth, "spacing": spacing.tolist()}
        tolerance = float(rng.uniform(0.8, 1.2))
        distances = np.concatenate(distances_of(prediction, truth, spacing))
        if np.abs(distances - tolerance).min() > 1e-3:
            calls.append(inputs | {"tolerance": tolerance})
    return [*calls, inputs | {"spacing": [1.0, 1.0, 1.0], "tolerance": 1.0}]


def blob(rng, shape):
    """A box in the middle with the corners gone: a ball, in voxels of unequal axes."""
    grid = np.stack(np.indices(shape), axis=-1) - np.array(shape) / 2 + rng.uniform(0, 0.5, 3)
    return np.linalg.norm(grid / rng.uniform(3, 4, 3), axis=-1) < 1


def bumps(rng, mask):
    """About a tenth of the voxels on either side of the surface."""
    rim = ndimage.binary_dilation(mask) ^ ndimage.binary_erosion(mask)
    return rim & (rng.uniform(size=mask.shape) < 0.1)


def surface(mask, faces=1):
    inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, faces))
    return mask & ~inner


def distances_of(prediction, truth, spacing, surface=surface):
    """From each surface to the other, by all pairs of voxels."""
    one, other = (np.argwhere(surface(mask)) * spacing for mask in (prediction, truth))
    apart = np.linalg.norm(one[:, None] - other[None], axis=-1)  # (voxel, voxel)
    return apart.min(axis=1), apart.min(axis=0)


def by_library(prediction, truth, spacing, tolerance):
    maps = prediction.astype(np.uint8), truth.astype(np.uint8)
    found = surface_scores(*maps, spacing, tolerance=tolerance)
    return dice(*maps), found.hd95_mm, found.surface_dice


def hd95_of(there, back):
    return max(np.percentile(there, 95), np.percentile(back, 95))


def scored(hd95=hd95_of, near=None, overlap=dice, surface=surface, spaced=True):
    """All three scores, with one part that may be wrong."""

    def gives(prediction, truth, spacing, tolerance):
        voxels = spacing if spaced else [1.0, 1.0, 1.0]
        there, back = distances_of(prediction, truth, voxels, surface)
        share = (near or together)(there, back, tolerance)
        maps = prediction.astype(np.uint8), truth.astype(np.uint8)
        return overlap(*maps), hd95(there, back), share

    return gives


def towards_outside(prediction, truth, spacing, tolerance):
    """The distances from the surface to what is none, for want of a `~`."""
    one, other = surface(prediction), surface(truth)
    there = ndimage.distance_transform_edt(other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(one, sampling=spacing)[other]
    maps = prediction.astype(np.uint8), truth.astype(np.uint8)
    return dice(*maps), hd95_of(there, back), together(there, back, tolerance)


def together(there, back, tolerance):
    return np.mean(np.concatenate([there, back]) <= tolerance)


SCORES = Exercise(
    function="scores",
    draw=draw_masks,
    reference=by_library,
    hint="surface = mask & ~binary_erosion(mask). From one surface's voxels to the other: "
    "distance_transform_edt(~other, sampling=spacing)[one]. Then np.percentile of each direction, "
    "their max, and the mean of np.concatenate([there, back]) <= tolerance.",
    mistakes=(
        Mistake(
            "voxels",
            "Dice is right. Your distances are in voxels, but these scans have axes of unequal "
            "spacing: where do the millimetres come in?",
            gives=scored(spaced=False),
        ),
        Mistake(
            "maximum",
            "Dice and surface Dice are right. Your HD95 is the Hausdorff distance itself, which a "
            "single stray voxel decides. Take the 95th percentile of each direction.",
            gives=scored(hd95=lambda there, back: max(there.max(), back.max())),
        ),
        Mistake(
            "together",
            "Dice and surface Dice are right. For HD95 you take one percentile of both directions "
            "together. Some tools do; here it is one for each, and the larger of the two.",
            gives=scored(hd95=lambda there, back: np.percentile(np.concatenate([there, back]), 95)),
        ),
        Mistake(
            "there only",
            "Dice and surface Dice are right. For HD95 you look from the prediction only. What the "
            "prediction *misses* can be seen from the truth alone: take the larger of the two.",
            gives=scored(hd95=lambda there, back: np.percentile(there, 95)),
        ),
        Mistake(
            "back only",
            "Dice and surface Dice are right. For HD95 you look from the truth only. A stray voxel "
            "can be seen from the prediction alone: take the larger of the two.",
            gives=scored(hd95=lambda there, back: np.percentile(back, 95)),
        ),
        Mistake(
            "whole masks",
            "Dice is right. You take distances between whole masks, and the inside, where both "
            "agree, makes them small. First take the surfaces.",
            gives=scored(surface=lambda mask: mask),
        ),
        Mistake(
            "edges and corners",
            "Dice is right. Your surface has too many voxels: some touch the outside with an edge "
            "or a corner only. It takes a face.",
            gives=scored(surface=lambda mask: surface(mask, faces=3)),
        ),
        Mistake(
            "distances to the outside",
            "Dice is right. The distance transform measures from each True voxel to the nearest "
            "that is *False*. What should be False in it, if you want the distance to a surface?",
            gives=towards_outside,
        ),
        Mistake(
            "inside for surface",
            "Dice is right. Erosion keeps the *inside* of a mask, and takes its surface away. You "
            "want the voxels that it takes.",
            gives=scored(surface=ndimage.binary_erosion),
        ),
        Mistake(
            "below the tolerance",
            "Dice and HD95 are right. For surface Dice a distance that is just the tolerance is "
            "near as well: at most, not below. With voxels of 1 mm many are just 1 mm.",
            gives=scored(near=lambda there, back, t: np.mean(np.concatenate([there, back]) < t)),
        ),
        Mistake(
            "mean of shares",
            "Dice and HD95 are right. For surface Dice you average two shares. The larger surface "
            "has more voxels: put all distances together first.",
            gives=scored(
                near=lambda there, back, t: ((there <= t).mean() + (back <= t).mean()) / 2
            ),
        ),
        Mistake(
            "intersection over union",
            "HD95 and surface Dice are right. Your first number divides by the union; Dice divides "
            "twice the overlap by the sum of the two sizes.",
            gives=scored(overlap=lambda one, other: (one & other).sum() / (one | other).sum()),
        ),
    ),
)

# 05.dice -------------------------------------------------------------------------------------


def draw_predictions(rng):
    """All structures there; one absent and not predicted, twice; one absent and predicted."""
    calls = []
    for call in range(CALLS):
        classes, voxels = int(rng.integers(3, 5)), int(rng.integers(20, 40))
        labels = rng.integers(0, classes, voxels)
        labels[:classes] = np.arange(classes)
        probabilities = rng.dirichlet(np.ones(classes), voxels)
        if call > 0:
            labels[labels == 1] = 0
        if call in (1, 2):
            probabilities[:, 0] += probabilities[:, 1]
            probabilities[:, 1] = 0.0
        if call == 2:
            probabilities = np.eye(classes)[labels]  # perfect
        smoothing = 1e-5 if call == 1 else float(rng.uniform(0.3, 1))
        calls.append({"probabilities": probabilities, "labels": labels, "smoothing": smoothing})
    return calls


def overlap_loss(probabilities, labels, smoothing, ratio=None, first=1):
    """Structure by structure, from the voxels' indices."""
    ratio = ratio or (lambda hits, size, s: (2 * hits + s) / (size + s))
    scores = []
    for structure in range(first, probabilities.shape[1]):
        p = probabilities[:, structure]
        hits, size = p[labels == structure].sum(), p.sum() + np.count_nonzero(labels == structure)
        with np.errstate(all="ignore"):
            scores.append(ratio(hits, size, smoothing))
    return 1 - np.mean(scores)


def with_ratio(ratio):
    return lambda probabilities, labels, smoothing: overlap_loss(
        probabilities, labels, smoothing, ratio
    )


DICE = Exercise(
    function="soft_dice_loss",
    draw=draw_predictions,
    reference=overlap_loss,
    hint="For an absent class both sums are 0. Then (0 + s) / (0 + s) is 1: s stands once above "
    "and once below, and is not multiplied by 2.",
    properties=(
        Property(
            "the loss lies between 0 and 1",
            lambda result, **inputs: -1e-9 <= result <= 1 + 1e-9,
            "A loss below 0 or above 1: for some class your fraction is larger than 1, or no "
            "number. Work it out for a class that is nowhere.",
        ),
    ),
    mistakes=(
        Mistake(
            "below alone",
            "Your fraction is smaller than it should be. Work out by hand what it gives for a "
            "class whose overlap and size are both 0, and what it should give.",
            gives=with_ratio(lambda hits, size, s: 2 * hits / (size + s)),
        ),
        Mistake(
            "doubled",
            "An absent class scores 2 now, so that the loss can fall below 0. What is multiplied "
            "by 2 in the formula, and what is not?",
            gives=with_ratio(lambda hits, size, s: 2 * (hits + s) / (size + s)),
        ),
        Mistake(
            "above alone",
            "Above the fraction the term is right. What keeps a class that is nowhere from a "
            "division by 0?",
            gives=with_ratio(lambda hits, size, s: (2 * hits + s) / size),
        ),
        Mistake(
            "outside",
            "You add the term to the finished fraction. Then it does not keep 0/0 away, and all "
            "other classes score more than they should.",
            gives=with_ratio(lambda hits, size, s: 2 * hits / size + s),
        ),
        Mistake(
            "no smoothing",
            "Without the term a class that is nowhere gives 0/0, and one NaN makes the whole loss "
            "NaN. Where does the formula have it?",
            gives=with_ratio(lambda hits, size, s: 2 * hits / size),
        ),
        Mistake(
            "half of it below",
            "Close. Work out by hand what an absent class scores: above and below must be the same "
            "number then.",
            gives=with_ratio(lambda hits, size, s: (2 * hits + s) / (size + 2 * s)),
        ),
        Mistake(
            "background",
            "The term is right. But the mean runs over the structures alone: why has the "
            "background come in?",
            gives=lambda probabilities, labels, smoothing: overlap_loss(
                probabilities, labels, smoothing, first=0
            ),
        ),
    ),
)

# 05.heads ------------------------------------------------------------------------------------


def draw_heads(rng):
    """One head to six, in a random order."""
    return [{"losses": rng.uniform(0.2, 2, int(heads))} for heads in rng.permutation(6) + 1]


def added(losses, shares=None):
    """By integers: 2^(n-1), ..., 2, 1 parts of their sum."""
    heads = len(losses)
    parts = np.array(
        shares(heads) if shares else [2 ** (heads - 1 - head) for head in range(heads)]
    )
    weights = parts / parts.sum()
    return weights.tolist(), float(weights @ losses)


def with_weights(weights):
    def gives(losses):
        found = np.array(weights(len(losses)))
        return found.tolist(), float(found @ losses)

    return gives


HEADS = Exercise(
    function="deep_supervision",
    draw=draw_heads,
    reference=added,
    hint="1 + 1/2 = 2 - 1/2, 1 + 1/2 + 1/4 = 2 - 1/4. So with n heads the sum is 2 less the *last* "
    "term that was added, and that is 1/2 to the power of n - 1.",
    properties=(
        Property(
            "the weights sum to 1",
            lambda result, losses: bool(np.isclose(np.sum(result[0]), 1)),
            "Print the sum of the weights for 1, 2 and 3 heads. What do you divide by, and what "
            "should you?",
        ),
        Property(
            "each weight is half of the one before",
            lambda result, losses: np.allclose(2 * np.array(result[0])[1:], result[0][:-1]),
            "A head weighs half of the one before it, the finest most.",
        ),
        Property(
            "the total is the weighted sum of the losses",
            lambda result, losses: bool(np.isclose(result[1], np.dot(result[0], losses))),
            "The weights are fine. The total is each loss times its weight, added up.",
        ),
    ),
    mistakes=(
        Mistake(
            "one term too many",
            "The weights halve, but do not sum to 1. Work out the series by hand for one head and "
            "for two, and compare it with what you divide by.",
            gives=with_weights(lambda n: 0.5 ** np.arange(n) / (2 - 0.5**n)),
        ),
        Mistake(
            "endless series",
            "You divide by the sum of the *endless* series, which is 2. There are only as many "
            "terms as heads.",
            gives=with_weights(lambda n: 0.5 ** (np.arange(n) + 1)),
        ),
        Mistake(
            "not divided",
            "The weights are 1, 1/2, 1/4, ..., whose sum grows with the number of heads. Divide by "
            "it.",
            gives=with_weights(lambda n: 0.5 ** np.arange(n)),
        ),
        Mistake(
            "always three heads",
            "With three heads you are right. With any other number the sum is another one: it "
            "depends on `heads`.",
            gives=with_weights(lambda n: 0.5 ** np.arange(n) / 1.75),
        ),
        Mistake(
            "coarsest first",
            "The weights sum to 1, but the coarsest head weighs most. The losses begin with the "
            "finest.",
            gives=lambda losses: added(losses, lambda n: 2 ** np.arange(n)),
        ),
        Mistake(
            "all alike",
            "The weights sum to 1, but all heads weigh the same. Each should have half the weight "
            "of the one before.",
            gives=lambda losses: added(losses, np.ones),
        ),
    ),
)

EXERCISES = {
    "05.entropy": ENTROPY,
    "05.gradient": GRADIENT,
    "05.doubt": DOUBT,
    "05.scores": SCORES,
    "05.dice": DICE,
    "05.heads": HEADS,
}

"""Answers that the checks of lesson 05 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 05.entropy | mistake: overflow
import numpy as np


def cross_entropy(logits, labels):
    odds = np.exp(logits)
    p = odds / odds.sum(axis=1, keepdims=True)
    return -np.mean(np.log(p[np.arange(len(labels)), labels]))


# %% 05.entropy | mistake: overflow of the sum
import numpy as np


def cross_entropy(logits, labels):
    log_p = logits - np.log(np.sum(np.exp(logits), axis=1))[:, np.newaxis]
    return -np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: largest of each class
import numpy as np


def cross_entropy(logits, labels):
    safe = logits - logits.max(axis=0)
    log_p = safe - np.log(np.exp(safe).sum(axis=-1, keepdims=True))
    of_right_class = np.take_along_axis(log_p, labels[:, np.newaxis], axis=-1)
    return -of_right_class.mean()


# %% 05.entropy | mistake: wrong axis
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=0)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=0))
    return -np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: sum along the wrong axis
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=0))
    return -np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: sign
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: sum added
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted + np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: over everything
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    return -np.mean(log_p[np.arange(len(labels)), labels])


# %% 05.entropy | mistake: no logarithm
from scipy.special import softmax


def cross_entropy(logits, labels):
    p = softmax(logits, axis=-1)
    return -p[range(len(labels)), labels].mean()


# %% 05.entropy | mistake: base 2
import numpy as np
from scipy.special import log_softmax


def cross_entropy(logits, labels):
    log_p = log_softmax(logits, axis=-1) / np.log(2)
    return -log_p[np.arange(len(labels)), labels].mean()


# %% 05.entropy | mistake: logarithm of the softmax
import numpy as np


def cross_entropy(logits, labels):
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = odds / odds.sum(axis=-1, keepdims=True)
    return -np.log(p)[np.arange(len(labels)), labels].mean()


# %% 05.entropy | mistake: the right class subtracted
import numpy as np


def cross_entropy(logits, labels):
    losses = []
    for row, label in zip(logits, labels):
        losses.append(np.log(np.exp(row - row[label]).sum()))
    return np.mean(losses)


# %% 05.entropy | mistake: one number for all voxels
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.max()
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


# %% 05.entropy | mistake: the loss of a voxel has no ceiling
import numpy as np
from scipy.special import softmax


def cross_entropy(logits, labels):
    p = softmax(logits, axis=-1)
    return -np.log(p[np.arange(len(labels)), labels] + 1e-12).mean()


# %% 05.entropy | mistake: large logits give a finite number
import numpy as np


def cross_entropy(logits, labels):
    odds = np.exp(logits)
    p = odds / odds.sum(axis=1, keepdims=True)
    return -np.mean(np.log(p[np.arange(len(labels)), labels] + 1e-3))


# %% 05.entropy | mistake: mean subtracted
import numpy as np


def cross_entropy(logits, labels):
    shifted = logits - logits.mean(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, labels[:, np.newaxis], axis=-1).mean()


# %% 05.entropy | right: voxel by voxel, the largest first
import math


def cross_entropy(logits, labels):
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist()):
        largest = max(row)
        total += largest + math.log(sum(math.exp(x - largest) for x in row)) - row[label]
    return total / len(labels)


# %% 05.entropy | right: NumPy's sum of exponentials
import numpy as np


def cross_entropy(logits, labels):
    of_right_class = logits[np.arange(len(labels)), labels]
    return np.mean(np.logaddexp.reduce(logits, axis=-1) - of_right_class)


# %% 05.entropy | right: SciPy's
from scipy.special import log_softmax


def cross_entropy(logits, labels):
    return -log_softmax(logits, axis=1)[range(len(labels)), labels].mean()


# %% 05.gradient | mistake: forward
import numpy as np


def numeric_gradient(loss, x, h):
    gradient, here = np.zeros(x.shape), loss(x)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] += h
        gradient[index] = (loss(moved) - here) / h
    return gradient


# %% 05.gradient | mistake: backward
import numpy as np


def numeric_gradient(loss, x, h):
    gradient, here = np.zeros(x.shape), loss(x)
    for index in np.ndindex(x.shape):
        moved = x.copy()
        moved[index] -= h
        gradient[index] = (here - loss(moved)) / h
    return gradient


# %% 05.gradient | mistake: divided by h
import numpy as np


def numeric_gradient(loss, x, h):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += h
        below[index] -= h
        gradient[index] = (loss(above) - loss(below)) / h
    return gradient


# %% 05.gradient | mistake: multiplied by h
import numpy as np


def numeric_gradient(loss, x, h):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += h
        below[index] -= h
        gradient[index] = (loss(above) - loss(below)) / 2 * h
    return gradient


# %% 05.gradient | mistake: all at once
import numpy as np


def numeric_gradient(loss, x, h):
    return np.ones_like(x) * (loss(x + h) - loss(x - h)) / (2 * h)


# %% 05.gradient | mistake: never moved back
import numpy as np


def numeric_gradient(loss, x, h):
    x = x.copy()
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        x[index] = x[index] + h
        above = loss(x)
        x[index] = x[index] - 2 * h
        gradient[index] = (above - loss(x)) / (2 * h)
    return gradient


# %% 05.gradient | mistake: the gradient has the shape of x
def numeric_gradient(loss, x, h):
    return (loss(x + h) - loss(x - h)) / (2 * h)


# %% 05.gradient | mistake: x is as before, to the last bit
import numpy as np


def numeric_gradient(loss, x, h):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        x[index] += h
        above = loss(x)
        x[index] -= 2 * h
        gradient[index] = (above - loss(x)) / (2 * h)
        x[index] += h
    return gradient


# %% 05.gradient | mistake: changes its input
import numpy as np


def numeric_gradient(loss, x, h):
    copy, gradient = x.copy(), np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        gradient[index] = (loss(copy + step) - loss(copy - step)) / (2 * h)
        x[index] = 0
    return gradient


# %% 05.gradient | right: moved in place, the old value put back
import numpy as np


def numeric_gradient(loss, x, h):
    gradient = np.zeros_like(x)
    for index, value in np.ndenumerate(x.copy()):
        x[index] = value + h
        above = loss(x)
        x[index] = value - h
        gradient[index] = (above - loss(x)) / (2 * h)
        x[index] = value
    return gradient


# %% 05.gradient | right: moved and moved back
import numpy as np


def numeric_gradient(loss, x, h):
    x = np.array(x)
    gradient = []
    for place in range(x.size):
        value = x.flat[place]
        x.flat[place] = value + h
        above = loss(x)
        x.flat[place] = value - h
        below = loss(x)
        x.flat[place] = value
        gradient.append((above - below) / (h + h))
    return np.reshape(gradient, x.shape)


# %% 05.doubt | mistake: foreground only
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -foreground * np.log(p) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: balanced
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(np.log(p) + np.log(1 - p)) / 2
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: most Dice is least
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: Dice for its loss
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), 1 - loss.min(), *hard]


# %% 05.doubt | mistake: sum over voxels
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -foreground * np.log(p) - (marked - foreground) * np.log(1 - p)
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: overlap below the line
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (foreground * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: soft union
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    overlap = foreground * p
    loss = 1 - overlap / (marked * p + foreground - overlap)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: the second loss is 1 - D of the second p
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    chosen = [p[entropy.argmin()], p.max()]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), p.max(), *hard]


# %% 05.doubt | mistake: the second p has the least 1 - D
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmax()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.max(), *hard]


# %% 05.doubt | mistake: the first loss is the mean cross-entropy of the first p
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / foreground
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, entropy.min(), loss.min(), *hard]


# %% 05.doubt | mistake: there are six numbers
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen = [p[entropy.argmin()], p[loss.argmin()]]
    hard = [2 * foreground / (marked + foreground) if one > 0.5 else 0 for one in chosen]
    return [*chosen, *hard]


# %% 05.doubt | mistake: soft scores
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen, least = [p[entropy.argmin()], p[loss.argmin()]], [entropy.min(), loss.min()]
    return *chosen, *least, 1 - loss[entropy.argmin()], 1 - loss.min()


# %% 05.doubt | mistake: intersection over union
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen, least = [p[entropy.argmin()], p[loss.argmin()]], [entropy.min(), loss.min()]
    return chosen + least + [foreground / marked if one > 0.5 else 0 for one in chosen]


# %% 05.doubt | mistake: all segmented
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    chosen, least = [p[entropy.argmin()], p[loss.argmin()]], [entropy.min(), loss.min()]
    hard = 2 * foreground / (marked + foreground)
    return *chosen, *least, hard, hard


# %% 05.doubt | mistake: places
import numpy as np


def in_doubt(marked, foreground, probabilities):
    p = probabilities
    entropy = -(foreground * np.log(p) + (marked - foreground) * np.log(1 - p)) / marked
    loss = 1 - 2 * foreground * p / (marked * p + foreground)
    places = [int(entropy.argmin()), int(loss.argmin())]
    hard = [2 * foreground / (marked + foreground) * (p[i] > 0.5) for i in places]
    return *places, entropy.min(), loss.min(), *hard


# %% 05.doubt | mistake: both answers are among the probabilities
def in_doubt(marked, foreground, probabilities):
    share = foreground / marked
    dice = 2 * foreground / (marked + foreground)
    return share, 1.0, 0.0, 1 - dice, dice if share > 0.5 else 0.0, dice


# %% 05.doubt | right: what calculus says of both losses
import math


def in_doubt(marked, foreground, probabilities):
    def entropy(p):
        f = foreground / marked
        return f * math.log(1 / p) + (1 - f) * math.log(1 / (1 - p))

    honest, decided = min(probabilities, key=entropy), max(probabilities)
    least = 1 - 2 * decided / (decided * marked / foreground + 1)
    dice = 2 / (marked / foreground + 1)
    hard = dice * (honest > 0.5), dice * (decided > 0.5)
    return honest, decided, entropy(honest), least, *hard


# %% 05.doubt | right: voxel by voxel
import numpy as np


def in_doubt(marked, foreground, probabilities):
    truth = np.arange(marked) < foreground
    pairs = []
    for p in probabilities:
        given = np.full(marked, p)
        entropy = -np.log(np.where(truth, given, 1 - given)).mean()
        pairs.append((entropy, 1 - 2 * given[truth].sum() / (given.sum() + truth.sum())))
    best = np.argmin(pairs, axis=0)
    found = [probabilities[i] for i in best]
    hard = [2 * foreground / (marked + foreground) * (p > 0.5) for p in found]
    return np.array([*found, *np.min(pairs, axis=0), *hard])


# %% 05.scores | mistake: voxels
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other)[one]
    back = ndimage.distance_transform_edt(~one)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: maximum
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    both = np.concatenate([there, back])
    return dice, both.max(), np.mean(both <= tolerance)


# %% 05.scores | mistake: together
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    both = np.concatenate([there, back])
    return dice, np.percentile(both, 95), np.mean(both <= tolerance)


# %% 05.scores | mistake: there only
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    return dice, np.percentile(there, 95), np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: back only
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    return dice, np.percentile(back, 95), np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: whole masks
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    there = ndimage.distance_transform_edt(~truth, sampling=spacing)[prediction]
    back = ndimage.distance_transform_edt(~prediction, sampling=spacing)[truth]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: edges and corners
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    cube = np.ones((3, 3, 3))
    one = prediction & ~ndimage.binary_erosion(prediction, cube)
    other = truth & ~ndimage.binary_erosion(truth, cube)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: below the tolerance
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one, other = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth))
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, (np.concatenate([there, back]) < tolerance).mean()


# %% 05.scores | mistake: mean of shares
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, np.mean([np.mean(there <= tolerance), np.mean(back <= tolerance)])


# %% 05.scores | mistake: intersection over union
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one = prediction ^ ndimage.binary_erosion(prediction)
    other = truth ^ ndimage.binary_erosion(truth)
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    overlap = (prediction & truth).sum() / (prediction | truth).sum()
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return overlap, hd95, np.mean(np.concatenate([there, back]) <= tolerance)


# %% 05.scores | mistake: distances to the outside
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one, other = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, truth))
    there = ndimage.distance_transform_edt(other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, (np.concatenate([there, back]) <= tolerance).mean()


# %% 05.scores | mistake: inside for surface
import numpy as np
from scipy import ndimage


def scores(prediction, truth, spacing, tolerance):
    one, other = (mask & ndimage.binary_erosion(mask) for mask in (prediction, truth))
    there = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    back = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    dice = 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum())
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, (np.concatenate([there, back]) <= tolerance).mean()


# %% 05.scores | right: trees of neighbours, surfaces by shifting
import numpy as np
from scipy.spatial import KDTree


def surface(mask):
    inner = mask.copy()
    for axis in range(3):
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return np.argwhere(mask & ~inner)


def scores(prediction, truth, spacing, tolerance):
    one, other = (surface(mask) * np.array(spacing) for mask in (prediction, truth))
    there, back = KDTree(other).query(one)[0], KDTree(one).query(other)[0]
    hits = np.count_nonzero(prediction & truth)
    dice = hits / (hits + np.count_nonzero(prediction ^ truth) / 2)
    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    hd95 = np.max([np.quantile(there, 0.95), np.quantile(back, 0.95)])
    return dice, hd95, near / (len(one) + len(other))


# %% 05.dice | mistake: doubled
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = (probabilities * truth).sum(axis=0)
    size = probabilities.sum(axis=0) + truth.sum(axis=0)
    return 1 - (2 * (overlap + smoothing) / (size + smoothing))[1:].mean()


# %% 05.dice | mistake: below alone
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * np.einsum("vc,vc->c", probabilities, truth)
    size = (probabilities + truth).sum(axis=0) + smoothing
    return np.mean(1 - overlap[1:] / size[1:])


# %% 05.dice | mistake: above alone
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * (probabilities * truth).sum(axis=0)
    size = probabilities.sum(axis=0) + truth.sum(axis=0)
    return 1 - ((overlap + smoothing) / size)[1:].mean()


# %% 05.dice | mistake: outside
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * (probabilities * truth).sum(axis=0)
    size = probabilities.sum(axis=0) + truth.sum(axis=0)
    return 1 - (overlap / size + smoothing)[1:].mean()


# %% 05.dice | mistake: no smoothing
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * (probabilities * truth).sum(axis=0)
    size = probabilities.sum(axis=0) + truth.sum(axis=0)
    return 1 - (overlap / size)[1:].mean()


# %% 05.dice | mistake: half of it below
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * (probabilities * truth).sum(axis=0) + smoothing
    size = probabilities.sum(axis=0) + smoothing + truth.sum(axis=0) + smoothing
    return 1 - (overlap / size)[1:].mean()


# %% 05.dice | mistake: background
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    truth = np.eye(probabilities.shape[-1])[labels]
    overlap = 2 * (probabilities * truth).sum(axis=0)
    size = probabilities.sum(axis=0) + truth.sum(axis=0)
    return 1 - ((overlap + smoothing) / (size + smoothing)).mean()


# %% 05.dice | right: half of everything, class by class
import numpy as np


def soft_dice_loss(probabilities, labels, smoothing):
    losses = []
    for structure, p in enumerate(probabilities.T):
        g = np.equal(labels, structure)
        top = p @ g + smoothing / 2
        losses.append(1 - top / ((p.sum() + g.sum() + smoothing) / 2))
    return sum(losses[1:]) / len(losses[1:])


# %% 05.heads | mistake: one term too many
import numpy as np


def deep_supervision(losses):
    heads = len(losses)
    weights = [0.5**head for head in range(heads)]
    weights = np.array(weights) / sum(0.5**head for head in range(heads + 1))
    return weights, (weights * losses).sum()


# %% 05.heads | mistake: endless series
def deep_supervision(losses):
    weights = [0.5**head / 2 for head in range(len(losses))]
    return weights, sum(w * loss for w, loss in zip(weights, losses))


# %% 05.heads | mistake: not divided
def deep_supervision(losses):
    weights = [0.5**head for head in range(len(losses))]
    return weights, sum(w * loss for w, loss in zip(weights, losses))


# %% 05.heads | mistake: always three heads
def deep_supervision(losses):
    weights = [0.5**head / 1.75 for head in range(len(losses))]
    return weights, sum(w * loss for w, loss in zip(weights, losses))


# %% 05.heads | mistake: coarsest first
import numpy as np


def deep_supervision(losses):
    weights = 2.0 ** np.arange(len(losses))
    weights /= weights.sum()
    return weights, weights @ losses


# %% 05.heads | mistake: all alike
import numpy as np


def deep_supervision(losses):
    return np.full(len(losses), 1 / len(losses)), np.mean(losses)


# %% 05.heads | mistake: the total is the weighted sum of the losses
import numpy as np


def deep_supervision(losses):
    weights = 0.5 ** np.arange(len(losses))
    weights /= weights.sum()
    return weights, np.mean(weights * losses)


# %% 05.heads | right: from the coarsest head up
import numpy as np


def deep_supervision(losses):
    weights = [1.0]
    for _ in losses[1:]:
        weights.insert(0, 2 * weights[0])
    weights = np.array(weights) / sum(weights)
    return weights.tolist(), float(np.sum(weights * np.asarray(losses)))

"""Answers that the checks of lesson 10 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 10.bill | mistake: short axis
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        windows = math.ceil((size - length) / (length * (1 - overlap))) + 1
        patches *= windows
    return patches


# %% 10.bill | mistake: rounded down
def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        patches *= int(max(0, size - length) // (length * (1 - overlap))) + 1
    return patches


# %% 10.bill | mistake: whole steps, rounded down
def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        patches *= max(0, size - length) // int(length * (1 - overlap)) + 1
    return patches


# %% 10.bill | mistake: whole steps
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        step = round(length * (1 - overlap))
        patches *= max(0, math.ceil((size - length) / step)) + 1
    return patches


# %% 10.bill | mistake: whole steps, rounded up
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        step = math.ceil(length * (1 - overlap))
        patches *= max(0, math.ceil((size - length) / step)) + 1
    return patches


# %% 10.bill | mistake: first window
import numpy as np


def bill(shape, patch, overlap, flips):
    rest = np.maximum(0, np.array(shape) - patch)
    windows = np.ceil(rest / (np.array(patch) * (1 - overlap)))
    return int(windows.prod()) * (8 if flips else 1)


# %% 10.bill | mistake: one too many
def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        windows = int(max(0, size - length) / (length * (1 - overlap))) + 1
        patches *= windows + 1
    return patches


# %% 10.bill | mistake: overlap ignored
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        patches *= math.ceil(max(size, length) / length)
    return patches


# %% 10.bill | mistake: parentheses
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch, strict=True):
        windows = math.ceil(max(0, size - length) / length * (1 - overlap)) + 1
        patches *= windows
    return patches


# %% 10.bill | mistake: overlap for step
import math


def bill(shape, patch, overlap, flips):
    patches = 2 ** len(shape) if flips else 1
    for size, length in zip(shape, patch):
        patches *= math.ceil(max(0, size - length) / (length * overlap)) + 1
    return patches


# %% 10.bill | right: by walking
def bill(shape, patch, overlap, flips):
    patches = 1
    for size, length in zip(shape, patch):
        covered, windows = length, 1
        while covered < size:
            covered += length * (1 - overlap)
            windows += 1
        patches *= windows
    return patches * 2 ** (len(shape) * flips)


# %% 10.bill | right: NumPy
import numpy as np


def bill(shape, patch, overlap, flips):
    shape = np.maximum(shape, patch)
    windows = np.ceil((shape - patch) / np.multiply(patch, 1 - overlap)) + 1
    return windows.prod() * (8 if flips else 1)


# %% 10.shares | mistake: constant
import numpy as np


def shares(length, step):
    weights = np.ones(length)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: voxels
import numpy as np


def shares(length, step):
    weights = np.exp(-((np.arange(length) - (length - 1) / 2) ** 2) / 2)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: not halved
import numpy as np


def shares(length, step):
    distance = (np.arange(length) - (length - 1) / 2) / (length / 8)
    weights = np.exp(-(distance**2))
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: not squared
import numpy as np


def shares(length, step):
    distance = np.abs(np.arange(length) - (length - 1) / 2) / (length / 8)
    weights = np.exp(-distance / 2)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: a voxel short
import numpy as np


def shares(length, step):
    distance = np.linspace(-4, 4, length)
    weights = np.exp(-(distance**2) / 2)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: middle
import numpy as np


def shares(length, step):
    distance = (np.arange(length) - length / 2) / (length / 8)
    weights = np.exp(-(distance**2) / 2)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: whole middle
import numpy as np


def shares(length, step):
    distance = 8 * (np.arange(length) - length // 2) / length
    weights = np.exp(-0.5 * distance**2)
    first, second = weights[step:], weights[: length - step]
    return second / (first + second)


# %% 10.shares | mistake: a share is between 0 and 1
import numpy as np


def shares(length, step):
    distance = (np.arange(length) - (length - 1) / 2) / (length / 8)
    weights = -(distance**2) / 2
    first, second = weights[step:], weights[: length - step]
    return second - first


# %% 10.shares | right: a logistic curve
import math


def shares(length, step):
    middle, eighth = (length - 1) / 2, length / 8
    result = []
    for voxel in range(length - step):
        d = (voxel - middle) / eighth
        d_first = (voxel + step - middle) / eighth
        result.append(1 / (1 + math.exp((d**2 - d_first**2) / 2)))
    return result


# %% 10.starts | mistake: full steps
def starts(size, length, overlap):
    step = int(length * (1 - overlap))
    found = [0]
    while found[-1] + length < size:
        found.append(min(found[-1] + step, size - length))
    return found


# %% 10.starts | mistake: beyond the end
import math


def starts(size, length, overlap):
    step = length * (1 - overlap)
    return [int(n * step) for n in range(math.ceil((size - length) / step) + 1)]


# %% 10.starts | mistake: end left out
def starts(size, length, overlap):
    return list(range(0, size - length + 1, int(length * (1 - overlap))))


# %% 10.starts | mistake: rounded steps
import math


def starts(size, length, overlap):
    steps = math.ceil((size - length) / (length * (1 - overlap)))
    step = round((size - length) / max(steps, 1))
    return [n * step for n in range(steps + 1)]


# %% 10.starts | mistake: whole steps
import math


def starts(size, length, overlap):
    steps = math.ceil((size - length) / int(length * (1 - overlap)))
    return [round(n * (size - length) / max(steps, 1)) for n in range(steps + 1)]


# %% 10.starts | mistake: cut off
import math


def starts(size, length, overlap):
    steps = math.ceil((size - length) / (length * (1 - overlap)))
    return [n * (size - length) // max(1, steps) for n in range(steps + 1)]


# %% 10.starts | mistake: single window
import math


def starts(size, length, overlap):
    steps = math.ceil((size - length) / (length * (1 - overlap)))
    return [round(n * (size - length) / steps) for n in range(steps + 1)]


# %% 10.starts | mistake: the starts are integers
import math

import numpy as np


def starts(size, length, overlap):
    windows = math.ceil((size - length) / (length * (1 - overlap))) + 1
    return np.linspace(0, size - length, windows)


# %% 10.starts | right: NumPy
import numpy as np


def starts(size, length, overlap):
    windows = int(np.ceil((size - length) / (length * (1 - overlap)))) + 1
    return np.rint(np.linspace(0, size - length, windows)).astype(int)


# %% 10.flips | mistake: not flipped back
from itertools import product

import numpy as np


def flipped_mean(predict, image):
    total = 0
    for flips in product((1, -1), repeat=3):
        z, y, x = flips
        total = total + predict(image[::z, ::y, ::x]).reshape(*image.shape, -1)
    return total / 8


# %% 10.flips | mistake: one axis at a time
import numpy as np


def flipped_mean(predict, image):
    answers = [predict(image)]
    for axis in range(3):
        answers.append(np.flip(predict(np.flip(image, axis)), axis))
    return sum(answers) / len(answers)


# %% 10.flips | mistake: without the original
from itertools import combinations

import numpy as np


def flipped_mean(predict, image):
    answers = []
    for number in (1, 2, 3):
        for axes in combinations(range(3), number):
            answers.append(np.flip(predict(np.flip(image, axes)), axes))
    return np.mean(answers, axis=0)


# %% 10.flips | mistake: none or all
import numpy as np


def flipped_mean(predict, image):
    mirrored = np.flip(predict(np.flip(image)), (0, 1, 2))
    return (predict(image) + mirrored) / 2


# %% 10.flips | mistake: sum
from itertools import combinations

import numpy as np


def flipped_mean(predict, image):
    total = predict(image)
    for number in (1, 2, 3):
        for axes in combinations(range(3), number):
            total += np.flip(predict(np.flip(image, axes)), axes)
    return total


# %% 10.flips | mistake: class axis
from itertools import combinations

import numpy as np


def flipped_mean(predict, image):
    answers = []
    for number in range(4):
        for axes in combinations((-3, -2, -1), number):
            answers.append(np.flip(predict(np.flip(image, axes)), axes))
    return np.mean(answers, axis=0)


# %% 10.flips | right: one axis after the other
import numpy as np


def flipped_mean(predict, image):
    def over(axis, scan):
        if axis == 3:
            return predict(scan)
        mirrored = np.flip(over(axis + 1, np.flip(scan, axis)), axis)
        return (over(axis + 1, scan) + mirrored) / 2

    return over(0, image)


# %% 10.flips | right: steps of minus one
from itertools import product


def flipped_mean(predict, image):
    total = None
    for z, y, x in product((1, -1), repeat=3):
        answer = predict(image[::z, ::y, ::x])[::z, ::y, ::x] / 8
        total = answer if total is None else total + answer
    return total


# %% 10.blend | mistake: starts at one
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] += weights
    return total / (counted[:, None] + 1)


# %% 10.blend | mistake: not divided
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    for answer, start in zip(answers, starts):
        total[start : start + len(weights)] += weights[:, None] * answer
    return total


# %% 10.blend | mistake: number of windows
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] += 1
    return total / counted[:, None]


# %% 10.blend | mistake: last weight
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] = weights
    return total / counted[:, None]


# %% 10.blend | mistake: last window
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] = weights[:, None] * answer
        counted[place] = weights
    return total / counted[:, None]


# %% 10.blend | mistake: at least one
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] += weights
    return total / np.maximum(counted, 1)[:, None]


# %% 10.blend | mistake: each voxel lies between the smallest and the largest answer that it gets
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.full(size, 1e-3)
    for answer, start in zip(answers, starts):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] += weights
    return total / counted[:, None]


# %% 10.blend | right: shares first
import numpy as np


def blend(answers, starts, weights, size):
    share = np.zeros((len(starts), size))
    for row, start in zip(share, starts):
        row[start : start + len(weights)] = weights
    share /= share.sum(axis=0)
    result = np.zeros((size, answers[0].shape[-1]))
    for row, answer, start in zip(share, answers, starts):
        place = slice(start, start + len(weights))
        result[place] += row[place, None] * answer
    return result


# %% 10.blend | right: the first window begins the sum
import numpy as np


def blend(answers, starts, weights, size):
    both = np.zeros((size, answers[0].shape[1] + 1))  # the last column holds the weights
    for answer, start in zip(answers, starts):
        rows = np.column_stack([answer, np.ones(len(weights))])
        both[start : start + len(weights)] += rows * weights[:, None]
    return both[:, :-1] / both[:, -1:]


# %% 10.blend | right: a little more, so as not to divide by zero
import numpy as np


def blend(answers, starts, weights, size):
    total = np.zeros((size, answers[0].shape[1]))
    counted = np.zeros(size)
    for answer, start in zip(answers, starts, strict=True):
        place = slice(start, start + len(weights))
        total[place] += weights[:, None] * answer
        counted[place] += weights
    return total / (counted[:, None] + 1e-8)

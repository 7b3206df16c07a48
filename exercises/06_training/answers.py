"""Answers that the checks of lesson 06 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""


# %% 06.rates | mistake: a step too far
def astray(records, total, base):
    differences = []
    for record in records:
        scheduled = base * (1 - record["step"] / total) ** 0.9
        differences.append((record["learning_rate"] - scheduled) / base)
    return differences


# %% 06.rates | mistake: straight line
def astray(records, total, base):
    differences = []
    for record in records:
        passed = (record["step"] - 1) / total
        differences.append((record["learning_rate"] - base * (1 - passed)) / base)
    return differences


# %% 06.rates | mistake: power of the wrong share
def astray(records, total, base):
    differences = []
    for record in records:
        passed = (record["step"] - 1) / total
        differences.append((record["learning_rate"] - base * (1 - passed**0.9)) / base)
    return differences


# %% 06.rates | mistake: base rate
def astray(records, total, base):
    differences = []
    for record in records:
        scheduled = (1 - (record["step"] - 1) / total) ** 0.9
        differences.append((record["learning_rate"] - scheduled) / base)
    return differences


# %% 06.rates | mistake: rises
def astray(records, total, base):
    differences = []
    for record in records:
        scheduled = base * ((record["step"] - 1) / total) ** 0.9
        differences.append((record["learning_rate"] - scheduled) / base)
    return differences


# %% 06.rates | right: steps that are left
import numpy as np


def astray(records, total, base):
    left = np.array([total + 1 - record["step"] for record in records])
    recorded = np.array([record["learning_rate"] for record in records])
    return recorded / base - np.power(left / total, 0.9)


# %% 06.rates | right: the library's schedule
from nnunet_lib.training.schedules import learning_rate_factor


def astray(records, total, base):
    shares = [(record["step"] - 1) / total for record in records]
    factors = [learning_rate_factor("poly", share) for share in shares]
    return [r["learning_rate"] / base - f for r, f in zip(records, factors)]


# %% 06.loop | mistake: uphill
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        gradient = differentiate(weights, batch)
        if np.linalg.norm(gradient) > longest:
            gradient = gradient / np.linalg.norm(gradient) * longest
        weights = weights + rate * gradient
    return weights


# %% 06.loop | mistake: first weights
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    result = weights.copy()
    for batch in batches:
        gradient = differentiate(weights, batch)
        length = np.linalg.norm(gradient)
        if length > longest:
            gradient = gradient / length * longest
        result -= rate * gradient
    return result


# %% 06.loop | mistake: one step
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        gradient = differentiate(weights, batch)
        length = np.linalg.norm(gradient)
        if length > longest:
            gradient = gradient / length * longest
        weights = weights - rate * gradient
        return weights


# %% 06.loop | mistake: each number clipped
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        gradient = np.clip(differentiate(weights, batch), -longest, longest)
        weights = weights - rate * gradient
    return weights


# %% 06.loop | mistake: not clipped
def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        weights = weights - rate * differentiate(weights, batch)
    return weights


# %% 06.loop | mistake: always that long
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        gradient = differentiate(weights, batch)
        weights = weights - rate * longest * gradient / np.linalg.norm(gradient)
    return weights


# %% 06.loop | mistake: changes its input
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        gradient = differentiate(weights, batch)
        length = np.linalg.norm(gradient)
        weights -= rate * gradient * min(1, longest / length)
    return weights


# %% 06.loop | mistake: one batch, given again and again, is learned by heart
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    for number, batch in enumerate(batches):
        gradient = differentiate(weights, batch)
        length = np.linalg.norm(gradient)
        weights = weights - rate / (number + 1) ** 2 * gradient * min(1, longest / length)
    return weights


# %% 06.loop | right: divided by the excess
import numpy as np


def train(weights, batches, differentiate, rate, longest):
    now = np.array(weights, float)
    for batch in batches:
        gradient = differentiate(now, batch)
        excess = max(1.0, np.sqrt(np.sum(gradient**2)) / longest)
        now -= rate * gradient / excess
    return now


# %% 06.loop | right: a step as a function
import math


def step(weights, gradient, rate, longest):
    length = math.sqrt(sum(g**2 for g in gradient.tolist()))
    factor = rate if length <= longest else rate * longest / length
    return weights - factor * gradient


def train(weights, batches, differentiate, rate, longest):
    for batch in batches:
        weights = step(weights, differentiate(weights, batch), rate, longest)
    return weights


# %% 06.adam | mistake: counted from 0
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: counted from 0, in NumPy
import numpy as np


def adam(gradients, rate):
    m, v, weights = np.zeros((3, gradients.shape[1]))
    path = []
    for t, gradient in enumerate(gradients):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        correction = np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = weights - rate * correction * m / (np.sqrt(v) + 1e-7)
        path.append(weights)
    return np.array(path)


# %% 06.adam | mistake: no correction
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for g in gradients:
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * m / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: only m corrected
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: not squared
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: one array
import numpy as np


def adam(gradients, rate):
    m, v, w = np.zeros((3, gradients.shape[1]))
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w -= rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: no root
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (v + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: epsilon under the root
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / np.sqrt(v + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: gradient for m
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    path = []
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * g / (np.sqrt(v) + 1e-7)
        path.append(w)
    return np.array(path)


# %% 06.adam | mistake: there are the weights after each update
import numpy as np


def adam(gradients, rate):
    m = v = w = np.zeros(gradients.shape[1])
    for t, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        w = w - rate * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    return w


# %% 06.adam | right: m and v corrected each by itself
import numpy as np


def adam(gradients, rate):
    m, v = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    path = np.zeros((len(gradients) + 1, gradients.shape[1]))
    for t, g in enumerate(gradients, start=1):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        path[t] = path[t - 1] - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    return path[1:]


# %% 06.adam | right: a weight at a time
import math


def adam(gradients, rate):
    paths = []
    for column in gradients.T.tolist():
        m = v = w = 0.0
        path = []
        for t, g in enumerate(column, start=1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            fraction = math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            w -= rate * fraction * m / (math.sqrt(v) + 1e-7)
            path.append(w)
        paths.append(path)
    return list(zip(*paths))


# %% 06.curve | mistake: seen losses
def read_curve(seen, held_out):
    best = seen.index(min(seen))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(seen) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: first rise
def read_curve(seen, held_out):
    best = len(held_out) - 1
    for point in range(len(held_out) - 1):
        if held_out[point + 1] > held_out[point]:
            best = point
            break
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: highest
import numpy as np


def read_curve(seen, held_out):
    best = int(np.argmax(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: against the first
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[0]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: absolute rise
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] - held_out[best] > 0.05:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: any later point
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if max(held_out[best:]) > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: any point
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if max(held_out) > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: falls at the end
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if held_out[-1] < held_out[-2]:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: lowest and highest seen
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if min(seen) > 0.9 * max(seen):
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: lowest seen
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if min(seen) > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: highest seen
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if seen[-1] > 0.9 * max(seen):
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: another order
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    if best == len(held_out) - 1:
        return "unfinished", best
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    return "remembering", best


# %% 06.curve | mistake: overfitting first
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if best == len(held_out) - 1:
        return "unfinished", best
    return "remembering", best


# %% 06.curve | mistake: unfinished first
def read_curve(seen, held_out):
    best = held_out.index(min(held_out))
    if best == len(held_out) - 1:
        return "unfinished", best
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", best
    if held_out[-1] > 1.05 * held_out[best]:
        return "overfitting", best
    return "remembering", best


# %% 06.curve | mistake: counted from 1
def read_curve(seen, held_out):
    best = min(held_out)
    point = held_out.index(best) + 1
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", point
    if point == len(held_out):
        return "unfinished", point
    if held_out[-1] > 1.05 * best:
        return "overfitting", point
    return "remembering", point


# %% 06.curve | mistake: the point is that of the lowest held-out loss
def read_curve(seen, held_out):
    best = min(held_out)
    if seen[-1] > 0.9 * seen[0]:
        return "not learning", 0
    if held_out[-1] == best:
        return "unfinished", 0
    return ("overfitting" if held_out[-1] > 1.05 * best else "remembering"), 0


# %% 06.curve | right: NumPy
import numpy as np


def read_curve(seen, held_out):
    best = int(np.argmin(held_out))
    word = "remembering"
    if held_out[-1] / np.min(held_out) > 1.05:
        word = "overfitting"
    if best + 1 == len(held_out):
        word = "unfinished"
    if seen[-1] / seen[0] > 0.9:
        word = "not learning"
    return [word, best]


# %% 06.curve | right: a loop for the lowest
def read_curve(seen, held_out):
    best = 0
    for point, loss in enumerate(held_out):
        if loss < held_out[best]:
            best = point
    rules = [
        ("not learning", seen[-1] > 0.9 * seen[0]),
        ("unfinished", best == len(held_out) - 1),
        ("overfitting", held_out[-1] > 1.05 * held_out[best]),
        ("remembering", True),
    ]
    return next(word for word, fits in rules if fits), best


# %% 06.resume | mistake: momentum forgotten
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return {"weights": self.weights, "momentum": self.momentum, "taken": self.taken}

    def resume(self, saved):
        self.weights = saved["weights"]
        self.taken = int(saved["taken"])


# %% 06.resume | mistake: steps forgotten
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return {"weights": self.weights, "momentum": self.momentum}

    def resume(self, saved):
        self.weights = saved["weights"]
        self.momentum = saved["momentum"]


# %% 06.resume | mistake: weights alone
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return {"weights": self.weights}

    def resume(self, saved):
        self.weights = saved["weights"]


# %% 06.resume | mistake: weights forgotten
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return {"weights": self.weights, "momentum": self.momentum, "taken": self.taken}

    def resume(self, saved):
        weights = saved["weights"]
        self.momentum = saved["momentum"].reshape(weights.shape)
        self.taken = int(saved["taken"])


# %% 06.resume | mistake: read but not saved
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return {"weights": self.weights, "taken": self.taken}

    def resume(self, saved):
        self.weights = saved["weights"]
        self.momentum = saved["momentum"]
        self.taken = int(saved["taken"])


# %% 06.resume | right: all that it has
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.weights = np.array(weights)
        self.momentum = np.zeros(self.weights.shape)
        self.taken = 0
        self.rate = rate
        self.total = total

    def step(self, gradient):
        rate = self.rate * (1 - self.taken / self.total)
        self.momentum = 0.9 * self.momentum - rate * gradient
        self.weights = self.weights + self.momentum
        self.taken += 1

    def checkpoint(self):
        return vars(self)

    def resume(self, saved):
        for name, value in saved.items():
            setattr(self, name, value)


# %% 06.resume | right: one array, and in place
import numpy as np


class Trainer:
    def __init__(self, weights, rate, total):
        self.state = np.stack([weights, np.zeros(len(weights))])
        self.rates = [rate * (1 - taken / total) for taken in range(total)]

    @property
    def weights(self):
        return self.state[0]

    def step(self, gradient):
        self.state[1] *= 0.9
        self.state[1] -= self.rates.pop(0) * gradient
        self.state[0] += self.state[1]

    def checkpoint(self):
        return {"state": self.state, "rates": self.rates}

    def resume(self, saved):
        self.state = saved["state"]
        self.rates = saved["rates"].tolist()


# %% 06.folds | mistake: the scans of a patient are held out together
import numpy as np


def split(scans, folds, seed):
    names = np.random.default_rng(seed).permutation(sorted(scans))
    return [names[fold::folds].tolist() for fold in range(folds)]


# %% 06.folds | mistake: two folds differ by one patient at most
import random


def split(scans, folds, seed):
    generator = random.Random(seed)
    parts = [[] for _ in range(folds)]
    places = dict.fromkeys(sorted(set(scans.values())), 0)
    for patient in places:
        places[patient] = generator.choice([0, 0, 0, *range(folds)])
    for scan, patient in scans.items():
        parts[places[patient]].append(scan)
    return parts


# %% 06.folds | mistake: the same seed gives the same folds
import numpy as np


def split(scans, folds, seed):
    patients = np.random.default_rng().permutation(sorted(set(scans.values())))
    parts = [set(part.tolist()) for part in np.array_split(patients, folds)]
    return [[scan for scan, patient in scans.items() if patient in part] for part in parts]


# %% 06.folds | mistake: the order in which scans are listed does not matter
import numpy as np


def split(scans, folds, seed):
    patients = np.random.default_rng(seed).permutation(list(dict.fromkeys(scans.values())))
    parts = [set(part.tolist()) for part in np.array_split(patients, folds)]
    return [[scan for scan, patient in scans.items() if patient in part] for part in parts]


# %% 06.folds | mistake: another seed gives other folds
import numpy as np


def split(scans, folds, seed):
    parts = np.array_split(sorted(set(scans.values())), folds)
    return [[scan for scan in scans if scans[scan] in part] for part in parts]


# %% 06.folds | mistake: each scan is held out by exactly one fold
import numpy as np


def split(scans, folds, seed):
    patients = np.random.default_rng(seed).permutation(sorted(set(scans.values())))
    first = {patient: scan for scan, patient in sorted(scans.items(), reverse=True)}
    return [[first[patient] for patient in part] for part in np.array_split(patients, folds)]


# %% 06.folds | mistake: there is a list for each fold
import numpy as np


def split(scans, folds, seed):
    patients = np.random.default_rng(seed).permutation(sorted(set(scans.values())))
    held_out = patients[: len(patients) // folds]
    return [scan for scan in scans if scans[scan] in held_out]


# %% 06.folds | right: dealt like cards
import random


def split(scans, folds, seed):
    patients = sorted(set(scans.values()))
    random.Random(seed).shuffle(patients)
    fold_of = {patient: place % folds for place, patient in enumerate(patients)}
    parts = [set() for _ in range(folds)]
    for scan, patient in scans.items():
        parts[fold_of[patient]].add(scan)
    return [sorted(part) for part in parts]


# %% 06.folds | right: the library's folds of patients
from nnunet_lib.loading import split_folds


def split(scans, folds, seed):
    parts = split_folds(set(scans.values()), folds, seed)
    return [[s for s, patient in scans.items() if patient in part.validation] for part in parts]

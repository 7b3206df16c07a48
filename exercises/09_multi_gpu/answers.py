"""Answers that the checks of lesson 09 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""


# %% 09.gain | mistake: half a ring
def gain(ranks, step, size, latency, bandwidth):
    exchange = (ranks - 1) * (latency + size / (ranks * bandwidth))
    return ranks * step / (step + exchange)


# %% 09.gain | mistake: whole tensor
def gain(ranks, step, size, latency, bandwidth):
    exchange = 2 * (ranks - 1) * (latency + size / bandwidth)
    return ranks * step / (step + exchange)


# %% 09.gain | mistake: one latency
def gain(ranks, step, size, latency, bandwidth):
    exchange = latency + 2 * (ranks - 1) / ranks * size / bandwidth
    return ranks * step / (step + exchange)


# %% 09.gain | mistake: no latency
def gain(ranks, step, size, latency, bandwidth):
    exchange = 2 * (ranks - 1) / ranks * size / bandwidth
    return ranks * step / (step + exchange)


# %% 09.gain | mistake: latency shared
def gain(ranks, step, size, latency, bandwidth):
    exchange = 2 * (ranks - 1) * (latency + size / bandwidth) / ranks
    return ranks * step / (step + exchange)


# %% 09.gain | mistake: one step more
def gain(ranks, step, size, latency, bandwidth):
    exchange = 2 * ranks * latency + 2 * size / bandwidth
    return ranks * step / (step + exchange)


# %% 09.gain | right: by patches a second
def gain(ranks, step, size, latency, bandwidth):
    steps = 2 * ranks - 2
    exchange = steps * latency + steps / ranks * size / bandwidth
    alone, together = 1 / step, ranks / (step + exchange)
    return together / alone


# %% 09.start | mistake: one array
import numpy as np


def train(drawn, gradients, rate):
    weights = [drawn[0].copy()] * len(drawn)
    for of_ranks in gradients:
        mean = np.mean(of_ranks, axis=0)
        for own in weights:
            own -= rate * mean
    return weights


# %% 09.start | mistake: no broadcast
import numpy as np


def train(drawn, gradients, rate):
    weights = [own.copy() for own in drawn]
    for of_ranks in gradients:
        mean = np.mean(of_ranks, axis=0)
        for own in weights:
            own -= rate * mean
    return weights


# %% 09.start | mistake: mean of weights
import numpy as np


def train(drawn, gradients, rate):
    weights = [sum(drawn) / len(drawn) for _ in drawn]
    for of_ranks in gradients:
        mean = np.mean(of_ranks, axis=0)
        for own in weights:
            own -= rate * mean
    return weights


# %% 09.start | mistake: last rank
import numpy as np


def train(drawn, gradients, rate):
    weights = [drawn[-1].copy() for _ in drawn]
    for of_ranks in gradients:
        mean = np.mean(of_ranks, axis=0)
        for own in weights:
            own -= rate * mean
    return weights


# %% 09.start | mistake: there are as many weights as ranks
import numpy as np


def train(drawn, gradients, rate):
    weights = drawn[0].copy()
    for of_ranks in gradients:
        weights = weights - rate * np.mean(of_ranks, axis=0)
    return [weights]


# %% 09.start | right: one array for all, and a row a rank
import numpy as np


def train(drawn, gradients, rate):
    weights = np.tile(drawn[0], (len(drawn), 1))
    for of_ranks in gradients:
        weights -= rate * np.mean(of_ranks, axis=0)
    return weights


# %% 09.dice | mistake: mean of ranks
import numpy as np


def batch_dice(probabilities, targets):
    scores = []
    for p, t in zip(probabilities, targets):
        scores.append(2 * np.sum(p * t) / (np.sum(p) + np.sum(t)))
    return sum(scores) / len(scores)


# %% 09.dice | mistake: weighted mean
import numpy as np


def batch_dice(probabilities, targets):
    total, foreground = 0.0, 0.0
    for p, t in zip(probabilities, targets):
        score = 2 * np.sum(p * t) / (np.sum(p) + np.sum(t))
        total += score * t.sum()
        foreground += t.sum()
    return total / foreground


# %% 09.dice | mistake: without two
import numpy as np


def batch_dice(probabilities, targets):
    p, t = np.array(probabilities), np.array(targets)
    return np.sum(p * t) / (np.sum(p) + np.sum(t))


# %% 09.dice | mistake: first rank
def batch_dice(probabilities, targets):
    p, t = probabilities[0], targets[0]
    return 2 * (p * t).sum() / (p.sum() + t.sum())


# %% 09.dice | mistake: arrays added
def batch_dice(probabilities, targets):
    p, t = sum(probabilities), sum(targets)
    return 2 * (p * t).sum() / (p.sum() + t.sum())


# %% 09.dice | right: a mean weighted by the denominators
import numpy as np


def batch_dice(probabilities, targets):
    scores, sizes = [], []
    for p, t in zip(probabilities, targets):
        sizes.append(p.sum() + t.sum())
        scores.append(2 * np.dot(p.ravel(), t.ravel()) / sizes[-1])
    return np.average(scores, weights=sizes)


# %% 09.ring | mistake: one array
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for step in range(size - 1):
        for rank in range(size):
            chunk = (rank - step) % size
            now[(rank + 1) % size, chunk] += now[rank, chunk]
        states.append(now)
    for step in range(size - 1):
        for rank in range(size):
            chunk = (rank + 1 - step) % size
            now[(rank + 1) % size, chunk] = now[rank, chunk]
        states.append(now)
    return np.array(states)


# %% 09.ring | mistake: adds twice
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for first in (0, 1):
        for step in range(size - 1):
            for rank in range(size):
                chunk = (rank + first - step) % size
                now[(rank + 1) % size, chunk] += now[rank, chunk]
            states.append(now.copy())
    return np.array(states)


# %% 09.ring | mistake: never adds
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for first in (0, 1):
        for step in range(size - 1):
            for rank in range(size):
                chunk = (rank + first - step) % size
                now[(rank + 1) % size, chunk] = now[rank, chunk]
            states.append(now.copy())
    return np.array(states)


# %% 09.ring | mistake: same chunks again
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for adds in (True, False):
        for step in range(size - 1):
            for rank in range(size):
                chunk, receiver = (rank - step) % size, (rank + 1) % size
                now[receiver, chunk] = now[rank, chunk] + adds * now[receiver, chunk]
            states.append(now.copy())
    return np.array(states)


# %% 09.ring | mistake: other way round
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for first in (0, 1):
        for step in range(size - 1):
            sent = now.copy()
            for rank in range(size):
                chunk, receiver = (rank + first - step) % size, (rank - 1) % size
                old = 0 if first else now[receiver, chunk]
                now[receiver, chunk] = sent[rank, chunk] + old
            states.append(now.copy())
    return np.array(states)


# %% 09.ring | mistake: first phase only
import numpy as np


def ring(tensors):
    size = len(tensors)
    now, states = tensors.copy(), []
    for step in range(size - 1):
        for rank in range(size):
            chunk = (rank - step) % size
            now[(rank + 1) % size, chunk] += now[rank, chunk]
        states.append(now.copy())
    return np.array(states)


# %% 09.ring | mistake: there are 2 (N - 1) states
import numpy as np


def ring(tensors):
    return np.array([tensors, np.broadcast_to(tensors.sum(axis=0), tensors.shape)])


# %% 09.ring | right: messages in a list
def ring(tensors):
    size = len(tensors)
    rows, states = tensors.tolist(), []
    for step in range(2 * (size - 1)):
        adds = step < size - 1
        first = 0 if adds else size  # N - 1 steps later the chunks are one further
        messages = []
        for rank in range(size):
            chunk = (rank - step + first) % size
            messages.append((chunk, rows[rank][chunk]))
        for rank in range(size):
            chunk, value = messages[rank - 1]
            rows[rank][chunk] = rows[rank][chunk] * adds + value
        states.append([list(row) for row in rows])
    return states


# %% 09.rate | mistake: not scaled
def rate(progress, base, ranks, warmup):
    return base * (1 - progress) ** 0.9


# %% 09.rate | mistake: square root
def rate(progress, base, ranks, warmup):
    top = base * ranks**0.5
    climbed = min(1, progress / warmup)
    return (base + (top - base) * climbed) * (1 - progress) ** 0.9


# %% 09.rate | mistake: no warm-up
def rate(progress, base, ranks, warmup):
    return base * ranks * (1 - progress) ** 0.9


# %% 09.rate | mistake: from zero
def rate(progress, base, ranks, warmup):
    climbed = min(1, progress / warmup)
    return base * ranks * climbed * (1 - progress) ** 0.9


# %% 09.rate | mistake: divided
def rate(progress, base, ranks, warmup):
    top = base / ranks
    climbed = min(1, progress / warmup)
    return (base + (top - base) * climbed) * (1 - progress) ** 0.9


# %% 09.rate | mistake: everything scaled twice
def rate(progress, base, ranks, warmup):
    base = base * ranks
    top = base * ranks
    climbed = min(1, progress / warmup)
    return (base + (top - base) * climbed) * (1 - progress) ** 0.9


# %% 09.rate | right: a factor
def rate(progress, base, ranks, warmup):
    factor = ranks
    if progress < warmup:
        factor = 1 + (ranks - 1) * progress / warmup
    return factor * base * (1 - progress) ** 0.9


# %% 09.agree | mistake: both faults
def work(clocks, limit):
    ranks = range(len(clocks[0]))
    return [(len([1 for read in clocks if read[rank] < limit]), True) for rank in ranks]


# %% 09.agree | mistake: own clock
def work(clocks, limit):
    done = []
    for rank in range(len(clocks[0])):
        steps = 0
        while steps < len(clocks) and clocks[steps][rank] < limit:
            steps += 1
        done.append((steps, rank == 0))
    return done


# %% 09.agree | mistake: all write
def work(clocks, limit):
    steps = 0
    while steps < len(clocks) and clocks[steps][0] < limit:
        steps += 1
    return [(steps, True) for _ in clocks[0]]


# %% 09.agree | mistake: first who is late
def work(clocks, limit):
    steps = 0
    while steps < len(clocks) and not any(read >= limit for read in clocks[steps]):
        steps += 1
    return [(steps, rank == 0) for rank in range(len(clocks[0]))]


# %% 09.agree | mistake: last who is late
def work(clocks, limit):
    steps = 0
    while steps < len(clocks) and not all(read >= limit for read in clocks[steps]):
        steps += 1
    return [(steps, rank == 0) for rank in range(len(clocks[0]))]


# %% 09.agree | right: decided first
import numpy as np


def work(clocks, limit):
    of_first = np.array(clocks)[:, 0]
    steps = int(np.count_nonzero(of_first < limit))
    done = [[steps, False] for _ in clocks[0]]
    done[0][1] = True
    return done

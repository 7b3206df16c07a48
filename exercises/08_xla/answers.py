"""Answers that the checks of lesson 08 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""


# %% 08.traffic | mistake: read again and again
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    fused = sum(sizes[name] for name in read if name not in made)
    return without, fused + sum(sizes[name] for name in made if name not in read)


# %% 08.traffic | mistake: what stays inside
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    return without, sum(sizes.values())


# %% 08.traffic | mistake: results left out
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    return without, sum(sizes[name] for name in set(read) - set(made))


# %% 08.traffic | mistake: inputs left out
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    return without, sum(sizes[name] for name in made if name not in read)


# %% 08.traffic | mistake: last output
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    fused = sum(sizes[name] for name in set(read) if name not in made) + sizes[made[-1]]
    return without, fused


# %% 08.traffic | mistake: first inputs
def traffic(operations, sizes):
    read = [name for inputs, _ in operations for name in inputs]
    made = [output for _, output in operations]
    without = sum(sizes[name] for name in read + made)
    first, _ = operations[0]
    results = set(made).difference(read)
    return without, sum(sizes[name] for name in [*first, *results])


# %% 08.traffic | right: tensor by tensor
def traffic(operations, sizes):
    without = fused = 0
    outputs = {output for _, output in operations}
    for name in sizes:
        reads = sum(list(inputs).count(name) for inputs, _ in operations)
        without += sizes[name] * (reads + (name in outputs))
        if not reads or name not in outputs:
            fused += sizes[name]
    return without, fused


# %% 08.entry | mistake: all computations
import re


def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    found = re.findall(r" = \S+ ([\w-]+)\(", text)
    return [operation for operation in found if operation not in silent]


# %% 08.entry | mistake: to the end of the text
import re


def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    found = re.findall(r" = \S+ ([\w-]+)\(", text[text.index("ENTRY") :])
    return [operation for operation in found if operation not in silent]


# %% 08.entry | mistake: root left out
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("ENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines()[1:]:
        if line.strip().startswith("%"):
            operation = line.split(" = ")[1].split(" ")[1].split("(")[0]
            if operation not in silent:
                found.append(operation)
    return found


# %% 08.entry | mistake: nothing left out
import re


def launched(text):
    entry = text[text.index("ENTRY") :].split("\n}")[0]
    return re.findall(r" = \S+ ([\w-]+)\(", entry)


# %% 08.entry | mistake: silent word anywhere
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line and not any(word in line for word in silent):
            found.append(line.split(" = ")[1].split(" ")[1].split("(")[0])
    return found


# %% 08.entry | mistake: silent word right of =
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line:
            right = line.split(" = ")[1]
            if not any(word in right for word in silent):
                found.append(right.split(" ")[1].split("(")[0])
    return found


# %% 08.entry | mistake: part of the word
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line:
            operation = line.split(" = ")[1].split(" ")[1].split("(")[0]
            if not any(word in operation for word in silent):
                found.append(operation)
    return found


# %% 08.entry | mistake: names
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("ENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line:
            name = line.split(" = ")[0].split("%")[1].split(".")[0]
            if name not in silent:
                found.append(name)
    return found


# %% 08.entry | mistake: first bracket
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line:
            operation = line.split("(")[0].split()[-1]
            if operation not in silent:
                found.append(operation)
    return found


# %% 08.entry | mistake: the list holds words
def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = []
    for line in entry.splitlines():
        if " = " in line:
            operation = line.split(" = ")[1].split("(")[0].split(" ")[-1]
            if operation not in silent:
                found.append(operation)
    return found


# %% 08.entry | mistake: hyphen
import re


def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("\nENTRY") :].split("\n}")[0]
    found = re.findall(r" = \S+ (\w+)\(", entry)
    return [operation for operation in found if operation not in silent]


# %% 08.entry | mistake: each once
import re


def launched(text):
    silent = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
    entry = text[text.index("ENTRY") :].split("\n}")[0]
    found = []
    for operation in re.findall(r" = \S+ ([\w-]+)\(", entry):
        if operation not in silent and operation not in found:
            found.append(operation)
    return found


# %% 08.entry | right: one regular expression for the entry, one for a line
import re


def launched(text):
    entry = re.search(r"^ENTRY[^\n]*\n(.*?)^\}", text, re.MULTILINE | re.DOTALL).group(1)
    kinds = [re.match(r" *(?:ROOT )?%\S+ = \S+ ([a-z-]+)\(", line) for line in entry.split("\n")]
    silent = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element")
    return [kind.group(1) for kind in kinds if kind and kind.group(1) not in silent]


# %% 08.compare | mistake: bit for bit
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    return np.linalg.norm(h - g) / np.linalg.norm(g), np.array_equal(g, h)


# %% 08.compare | mistake: allclose
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    return np.linalg.norm(h - g) / np.linalg.norm(g), np.allclose(h, g)


# %% 08.compare | mistake: NaN agrees
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    change = np.linalg.norm(h - g) / np.linalg.norm(g)
    if change > bound:
        return change, False
    return change, True


# %% 08.compare | mistake: below the bound
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    change = np.linalg.norm(h - g) / np.linalg.norm(g)
    return change, change < bound


# %% 08.compare | mistake: worst parameter
import numpy as np


def compare(plain, compiled, bound):
    change = np.max([np.linalg.norm(h - g) / np.linalg.norm(g) for g, h in zip(plain, compiled)])
    return change, change <= bound


# %% 08.compare | mistake: mean of parameters
import numpy as np


def compare(plain, compiled, bound):
    change = np.mean([np.linalg.norm(h - g) / np.linalg.norm(g) for g, h in zip(plain, compiled)])
    return change, change <= bound


# %% 08.compare | mistake: number by number
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    change = np.max(np.abs((h - g) / g))
    return change, change <= bound


# %% 08.compare | mistake: largest number
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    change = np.abs(h - g).max() / np.abs(g).max()
    return change, change <= bound


# %% 08.compare | mistake: squares
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain]).astype(float)
    h = np.concatenate([array.ravel() for array in compiled]).astype(float)
    change = np.sum((h - g) ** 2) / np.sum(g**2)
    return change, change <= bound


# %% 08.compare | mistake: divided by h
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain]).astype(float)
    h = np.concatenate([array.ravel() for array in compiled]).astype(float)
    change = np.linalg.norm(h - g) / np.linalg.norm(h)
    return change, change <= bound


# %% 08.compare | mistake: not relative
import numpy as np


def compare(plain, compiled, bound):
    g = np.concatenate([array.ravel() for array in plain])
    h = np.concatenate([array.ravel() for array in compiled])
    change = np.linalg.norm(h - g)
    return change, change <= bound


# %% 08.compare | right: lengths of lengths, in float32
import numpy as np


def compare(plain, compiled, bound):
    apart = [np.linalg.norm((h - g).ravel()) for g, h in zip(plain, compiled)]
    whole = [np.linalg.norm(g.ravel()) for g in plain]
    change = np.linalg.norm(apart) / np.linalg.norm(whole)
    return [change, not np.isnan(change) and change <= bound]


# %% 08.cost | mistake: one program
import math


def cost(shapes, plain, fused, compiling):
    voxels = sum(math.prod(shape) for shape in shapes)
    return voxels * plain / 1e9, voxels * fused / 1e9 + compiling


# %% 08.cost | mistake: a program a call
import math


def cost(shapes, plain, fused, compiling):
    voxels = [math.prod(shape) for shape in shapes]
    return sum(v * plain / 1e9 for v in voxels), sum(v * fused / 1e9 + compiling for v in voxels)


# %% 08.cost | mistake: forgets programs
import math


def cost(shapes, plain, fused, compiling):
    without = with_xla = 0
    previous = None
    for shape in shapes:
        without += math.prod(shape) * plain / 1e9
        with_xla += math.prod(shape) * fused / 1e9
        if shape != previous:
            with_xla += compiling
        previous = shape
    return without, with_xla


# %% 08.cost | mistake: number of voxels
import math


def cost(shapes, plain, fused, compiling):
    voxels = [math.prod(shape) for shape in shapes]
    return sum(voxels) * plain / 1e9, sum(voxels) * fused / 1e9 + len(set(voxels)) * compiling


# %% 08.cost | mistake: compiling left out
import math


def cost(shapes, plain, fused, compiling):
    voxels = sum(math.prod(shape) for shape in shapes)
    return voxels * plain / 1e9, voxels * fused / 1e9


# %% 08.cost | mistake: first call
import math


def cost(shapes, plain, fused, compiling):
    without, with_xla, seen = 0, 0, set()
    for shape in shapes:
        without += math.prod(shape) * plain / 1e9
        with_xla += math.prod(shape) * fused / 1e9 if shape in seen else compiling
        seen.add(shape)
    return without, with_xla


# %% 08.cost | mistake: nanoseconds
import math


def cost(shapes, plain, fused, compiling):
    voxels = sum(math.prod(shape) for shape in shapes)
    return voxels * plain, voxels * fused + len(set(shapes)) * compiling


# %% 08.cost | right: with a counter
from collections import Counter

import numpy as np


def cost(shapes, plain, fused, compiling):
    calls = Counter(shapes)
    voxels = np.prod(list(calls), axis=1) @ list(calls.values())
    return voxels * np.array([plain, fused]) * 1e-9 + [0, len(calls) * compiling]


# %% 08.retrace | mistake: traced for each rate
import tensorflow as tf


def make_step(gradient):
    @tf.function
    def step(weights, rate):
        return weights - float(rate) * gradient(weights)

    return step


# %% 08.retrace | mistake: traced in each step
import tensorflow as tf


def make_step(gradient):
    def step(weights, rate):
        traced = tf.function(lambda weights, rate: weights - rate * gradient(weights))
        return traced(weights, tf.constant(rate, tf.float32))

    return step


# %% 08.retrace | mistake: no graph
import tensorflow as tf


def make_step(gradient):
    def step(weights, rate):
        return weights - tf.constant(rate, tf.float32) * gradient(weights)

    return step


# %% 08.retrace | mistake: frozen rate
import tensorflow as tf


def make_step(gradient):
    latest = {}

    @tf.function
    def traced(weights):
        return weights - latest["rate"] * gradient(weights)

    def step(weights, rate):
        latest["rate"] = rate
        return traced(weights)

    return step


# %% 08.retrace | right: a signature
import tensorflow as tf


def make_step(gradient):
    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)]

    @tf.function(input_signature=signature)
    def step(weights, rate):
        return weights - rate * gradient(weights)

    return step


# %% 08.filled | mistake: padding counted
import numpy as np


def mean_loss(losses, patches, labels, size):
    total = 0.0
    for start in range(0, len(patches), size):
        image = np.zeros((size, *patches.shape[1:]), np.float32)
        truth = np.zeros((size, *labels.shape[1:]), np.uint8)
        real = len(patches[start : start + size])
        image[:real] = patches[start : start + size]
        truth[:real] = labels[start : start + size]
        total += losses(image, truth).sum()
    return total / len(patches)


# %% 08.filled | mistake: mean of all places
import numpy as np


def mean_loss(losses, patches, labels, size):
    missing = [(0, -len(patches) % size), (0, 0), (0, 0)]
    patches, labels = np.pad(patches, missing), np.pad(labels, missing)
    total = 0.0
    for start in range(0, len(patches), size):
        total += losses(patches[start : start + size], labels[start : start + size]).sum()
    return total / len(patches)


# %% 08.filled | mistake: mean of means
import numpy as np


def mean_loss(losses, patches, labels, size):
    means = []
    for start in range(0, len(patches), size):
        batch, truth = patches[start : start + size], labels[start : start + size]
        missing = [(0, size - len(batch)), (0, 0), (0, 0)]
        found = losses(np.pad(batch, missing), np.pad(truth, missing))
        means.append(found[: len(batch)].mean())
    return np.mean(means)


# %% 08.filled | mistake: last batch dropped
import numpy as np


def mean_loss(losses, patches, labels, size):
    full = len(patches) // size * size
    found = [
        losses(patches[start : start + size], labels[start : start + size])
        for start in range(0, full, size)
    ]
    return np.mean(found)


# %% 08.filled | mistake: sum over too many
import numpy as np


def mean_loss(losses, patches, labels, size):
    total = 0.0
    for start in range(0, len(patches) - size + 1, size):
        total += losses(patches[start : start + size], labels[start : start + size]).sum()
    return total / len(patches)


# %% 08.filled | mistake: full batch dropped
import numpy as np


def mean_loss(losses, patches, labels, size):
    total = 0.0
    for start in range(0, len(patches), size):
        batch, truth = patches[start : start + size], labels[start : start + size]
        missing = [(0, size - len(batch)), (0, 0), (0, 0)]
        found = losses(np.pad(batch, missing), np.pad(truth, missing))
        if start + size >= len(patches):
            found = found[: len(patches) % size]
        total += found.sum()
    return total / len(patches)


# %% 08.filled | mistake: another shape
def mean_loss(losses, patches, labels, size):
    total = 0.0
    for start in range(0, len(patches), size):
        total += losses(patches[start : start + size], labels[start : start + size]).sum()
    return total / len(patches)


# %% 08.filled | right: a mask
import numpy as np


def mean_loss(losses, patches, labels, size):
    missing = [(0, -len(patches) % size), (0, 0), (0, 0)]
    images = np.pad(patches, missing, mode="edge").reshape(-1, size, *patches.shape[1:])
    truths = np.pad(labels, missing).reshape(images.shape)
    found = np.concatenate([losses(image, truth) for image, truth in zip(images, truths)])
    return np.average(found, weights=np.arange(len(found)) < len(patches))

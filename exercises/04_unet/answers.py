"""Answers that the checks of lesson 04 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 04.patch | mistake: last level
import numpy as np


def legal_patch(patch, strides):
    steps = np.array(strides[-1])
    return np.ceil(np.array(patch) / steps) * steps


# %% 04.patch | mistake: sum
import numpy as np


def legal_patch(patch, strides):
    steps = np.sum(strides, axis=0)
    return -(-np.array(patch) // steps) * steps


# %% 04.patch | mistake: all axes alike
import math

import numpy as np


def legal_patch(patch, strides):
    step = max(math.prod(axis) for axis in zip(*strides))
    return [-(-size // step) * step for size in patch]


# %% 04.patch | mistake: levels counted
import numpy as np


def legal_patch(patch, strides):
    steps = 2 ** len(strides)
    return -(-np.array(patch) // steps) * steps


# %% 04.patch | mistake: no axis
import numpy as np


def legal_patch(patch, strides):
    steps = np.prod(strides)
    return -(-np.array(patch) // steps) * steps


# %% 04.patch | mistake: wrong axis
import numpy as np


def legal_patch(patch, strides):
    steps = np.prod(strides, axis=1)
    return -(-np.array(patch) // steps) * steps


# %% 04.patch | right: an axis at a time
def legal_patch(patch, strides):
    result = []
    for axis, size in enumerate(patch):
        step = 1
        for level in strides:
            step *= level[axis]
        while size % step:
            size += 1
        result.append(size)
    return tuple(result)


# %% 04.patch | right: the library's divisors
import numpy as np

from nnunet_lib.planning.topology import divisors


def legal_patch(patch, strides):
    steps = np.array(divisors(strides))
    return np.array(patch) + (-np.array(patch)) % steps


# %% 04.activations | mistake: encoder only
import numpy as np


def activations(patch, strides, filters, labels):
    grids = np.array(patch) // np.cumprod(strides, axis=0)
    counts = [int(np.prod(grid)) * width * 2 for grid, width in zip(grids, filters)]
    counts[0] += int(np.prod(patch)) * labels
    return counts


# %% 04.activations | mistake: not raised
import numpy as np


def activations(patch, strides, filters, labels):
    voxels = np.prod(np.array(patch) // np.cumprod(strides, axis=0), axis=1)
    outputs = np.full(len(filters), 4)
    outputs[-1] = 2
    counts = voxels * filters * outputs
    counts[0] += voxels[0] * labels
    return counts


# %% 04.activations | mistake: lowest level like the others
import numpy as np


def activations(patch, strides, filters, labels):
    voxels = np.prod(np.array(patch) // np.cumprod(strides, axis=0), axis=1)
    counts = 5 * voxels * np.array(filters)
    counts[0] += voxels[0] * labels
    return counts


# %% 04.activations | mistake: one convolution a stage
import numpy as np


def activations(patch, strides, filters, labels):
    voxels = np.prod(np.array(patch) // np.cumprod(strides, axis=0), axis=1)
    counts = 3 * voxels * np.array(filters)
    counts[-1] //= 3
    counts[0] += voxels[0] * labels
    return counts


# %% 04.activations | mistake: joined
import numpy as np


def activations(patch, strides, filters, labels):
    grids = np.array(patch) // np.cumprod(strides, axis=0)
    counts = []
    for level, grid in enumerate(grids):
        channels = 2 * filters[level]
        if level < len(filters) - 1:
            channels += filters[level] + 2 * filters[level] + 2 * filters[level]
        if level == 0:
            channels += labels
        counts.append(grid.prod() * channels)
    return counts


# %% 04.activations | right: down, up and head apart
import math


def activations(patch, strides, filters, labels):
    down, size = [], list(patch)
    for stride, width in zip(strides, filters):
        size = [n // s for n, s in zip(size, stride)]
        down.append(2 * math.prod(size) * width)
    up = [d * 3 / 2 for d in down[:-1]] + [0]
    head = [math.prod(patch) * labels] + [0] * (len(filters) - 1)
    return [d + u + h for d, u, h in zip(down, up, head)]


# %% 04.norm | mistake: batch axis
import numpy as np


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(features.ndim - 1))
    mean, variance = features.mean(axis=axes), features.var(axis=axes)
    return (features - mean) / np.sqrt(variance + epsilon) * gamma + beta


# %% 04.norm | mistake: channel axis
import numpy as np


def normalise(features, gamma, beta, epsilon):
    cases = []
    for case in features:
        cases.append(gamma * (case - case.mean()) / np.sqrt(case.var() + epsilon) + beta)
    return np.stack(cases)


# %% 04.norm | mistake: 3D only
import numpy as np


def normalise(features, gamma, beta, epsilon):
    mean = features.mean(axis=(1, 2, 3), keepdims=True)
    variance = features.var(axis=(1, 2, 3), keepdims=True)
    return gamma * (features - mean) / np.sqrt(variance + epsilon) + beta


# %% 04.norm | mistake: epsilon outside
import numpy as np


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    deviation = features.std(axis=axes, keepdims=True)
    mean = features.mean(axis=axes, keepdims=True)
    return gamma * (features - mean) / (deviation + epsilon) + beta


# %% 04.norm | mistake: no root
def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    variance = features.var(axis=axes, keepdims=True)
    mean = features.mean(axis=axes, keepdims=True)
    return gamma * (features - mean) / (variance + epsilon) + beta


# %% 04.norm | mistake: one voxel less
import warnings

import numpy as np

warnings.simplefilter("ignore")


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    variance = features.var(axis=axes, keepdims=True, ddof=1)
    mean = features.mean(axis=axes, keepdims=True)
    return gamma * (features - mean) / np.sqrt(variance + epsilon) + beta


# %% 04.norm | mistake: gamma and beta
import numpy as np


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    variance = features.var(axis=axes, keepdims=True)
    mean = features.mean(axis=axes, keepdims=True)
    return gamma + beta * (features - mean) / np.sqrt(variance + epsilon)


# %% 04.norm | mistake: the mean of every channel of every case is its beta
import numpy as np


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    variance = features.var(axis=axes, keepdims=True)
    return gamma * features / np.sqrt(variance + epsilon) + beta


# %% 04.norm | mistake: no epsilon
import numpy as np


def normalise(features, gamma, beta, epsilon):
    axes = tuple(range(1, features.ndim - 1))
    mean = features.mean(axis=axes, keepdims=True)
    return gamma * (features - mean) / features.std(axis=axes, keepdims=True) + beta


# %% 04.norm | right: one row a case, transposed
import numpy as np


def normalise(features, gamma, beta, epsilon):
    batch, channels = features.shape[0], features.shape[-1]
    rows = features.reshape(batch, -1, channels)
    centred = rows - rows.mean(1)[:, None]
    factor = gamma / (np.mean(centred**2, 1) + epsilon) ** 0.5
    return (centred * factor[:, None] + beta).reshape(features.shape)


# %% 04.norm | right: a loop
import math

import numpy as np


def normalise(features, gamma, beta, epsilon):
    result = np.zeros_like(features)
    for n in range(features.shape[0]):
        for c in range(features.shape[-1]):
            x = features[n, ..., c]
            y = (x - np.mean(x)) / math.sqrt(np.var(x) + epsilon)
            result[n, ..., c] = y * gamma[c] + beta[c]
    return result


# %% 04.parameters | mistake: no biases
import numpy as np


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i in range(len(filters)):
        k, f = int(np.prod(kernels[i])), filters[i]
        c = channels if i == 0 else filters[i - 1]
        n = k * c * f + k * f * f + 4 * f
        if i < len(filters) - 1:
            n += int(np.prod(strides[i + 1])) * filters[i + 1] * f
            n += k * 2 * f * f + k * f * f + 4 * f
        counts.append(n)
    counts[0] += filters[0] * labels
    return counts


# %% 04.parameters | mistake: bias of the transposed convolution
import numpy as np


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i in range(len(filters)):
        k, f = int(np.prod(kernels[i])), filters[i]
        c = channels if i == 0 else filters[i - 1]
        n = k * c * f + k * f * f + 4 * f
        if i < len(filters) - 1:
            n += int(np.prod(strides[i + 1])) * filters[i + 1] * f
            n += k * 2 * f * f + k * f * f + 4 * f
        counts.append(n)
    counts[0] += filters[0] * labels + labels
    return counts


# %% 04.parameters | mistake: bias of the head
import numpy as np


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i in range(len(filters)):
        k, f = int(np.prod(kernels[i])), filters[i]
        c = channels if i == 0 else filters[i - 1]
        n = k * c * f + k * f * f + 4 * f
        if i < len(filters) - 1:
            n += int(np.prod(strides[i + 1])) * filters[i + 1] * f + f
            n += k * 2 * f * f + k * f * f + 4 * f
        counts.append(n)
    counts[0] += filters[0] * labels
    return counts


# %% 04.parameters | mistake: bias everywhere
import math


def convolution(kernel, entering, leaving):
    return math.prod(kernel) * entering * leaving + leaving


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        c = channels if i == 0 else filters[i - 1]
        n = convolution(kernels[i], c, f) + convolution(kernels[i], f, f) + 4 * f
        if i < len(filters) - 1:
            n += convolution(strides[i + 1], filters[i + 1], f)
            n += convolution(kernels[i], 2 * f, f) + convolution(kernels[i], f, f) + 4 * f
        if i == 0:
            n += convolution([1], f, labels)
        counts.append(n)
    return counts


# %% 04.parameters | mistake: no norms
import math


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        k, c = math.prod(kernels[i]), filters[i - 1] if i else channels
        n = k * c * f + k * f * f
        if i < len(filters) - 1:
            n += math.prod(strides[i + 1]) * filters[i + 1] * f + f + 3 * k * f * f
        counts.append(n)
    counts[0] += labels * (filters[0] + 1)
    return counts


# %% 04.parameters | mistake: half the norm
import math


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        k, c = math.prod(kernels[i]), filters[i - 1] if i else channels
        n = k * c * f + f + k * f * f + f
        if i < len(filters) - 1:
            n += math.prod(strides[i + 1]) * filters[i + 1] * f + f
            n += 2 * k * f * f + f + k * f * f + f
        counts.append(n)
    counts[0] += labels * (filters[0] + 1)
    return counts


# %% 04.parameters | mistake: no skip connection
import math


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        k, c = math.prod(kernels[i]), filters[i - 1] if i else channels
        n = k * (c + f) * f + 4 * f
        if i < len(filters) - 1:
            n += math.prod(strides[i + 1]) * filters[i + 1] * f + f
            n += 2 * k * f * f + 4 * f
        counts.append(n)
    counts[0] += labels * (filters[0] + 1)
    return counts


# %% 04.parameters | mistake: own stride
import math


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        k, c = math.prod(kernels[i]), filters[i - 1] if i else channels
        n = k * (c + f) * f + 4 * f
        if i < len(filters) - 1:
            n += math.prod(strides[i]) * filters[i + 1] * f + f
            n += 3 * k * f * f + 4 * f
        counts.append(n)
    counts[0] += labels * (filters[0] + 1)
    return counts


# %% 04.parameters | mistake: kernel from below
import math


def parameters(channels, filters, kernels, strides, labels):
    counts = []
    for i, f in enumerate(filters):
        k, c = math.prod(kernels[i]), filters[i - 1] if i else channels
        n = k * (c + f) * f + 4 * f
        if i < len(filters) - 1:
            n += math.prod(strides[i + 1]) * filters[i + 1] * f + f
            n += 3 * math.prod(kernels[i + 1]) * f * f + 4 * f
        counts.append(n)
    counts[0] += labels * (filters[0] + 1)
    return counts


# %% 04.parameters | mistake: there is one number for each level
import math


def parameters(channels, filters, kernels, strides, labels):
    return [sum(math.prod(kernel) for kernel in kernels) * channels]


# %% 04.parameters | right: encoder, decoder and head apart
import numpy as np


def stage(kernel, entering, width):
    return np.prod(kernel) * entering * width + np.prod(kernel) * width**2 + 4 * width


def parameters(channels, filters, kernels, strides, labels):
    entering = [channels] + filters[:-1]
    down = [stage(k, c, f) for k, c, f in zip(kernels, entering, filters)]
    raised = [
        np.prod(s) * g * f + f for s, g, f in zip(strides[1:], filters[1:], filters, strict=False)
    ]
    mixed = [stage(k, 2 * f, f) for k, f in zip(kernels[:-1], filters[:-1])]
    total = np.array(down)
    total[:-1] += np.array(raised) + np.array(mixed)
    total[0] += filters[0] * labels + labels
    return total


# %% 04.sight | mistake: last stride only
def receptive_field(kernels, strides):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides):
        field = field + (kernel - 1) * jump
        jump = 1 * stride
    return field


# %% 04.sight | mistake: too early
def receptive_field(kernels, strides):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides):
        jump *= stride
        field += (kernel - 1) * jump
    return field


# %% 04.sight | mistake: strides added
def receptive_field(kernels, strides):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides):
        field += (kernel - 1) * jump
        jump += stride
    return field


# %% 04.sight | mistake: strides added where they halve
def receptive_field(kernels, strides):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides):
        field += (kernel - 1) * jump
        if stride > 1:
            jump += stride - 1
    return field


# %% 04.sight | mistake: whole kernel
def receptive_field(kernels, strides):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides):
        field += kernel * jump
        jump *= stride
    return field


# %% 04.sight | right: from the output back
def receptive_field(kernels, strides):
    field = 1
    for kernel, stride in list(zip(kernels, strides))[::-1]:
        field = (field - 1) * stride + kernel
    return field


# %% 04.sight | right: in one sum
import numpy as np


def receptive_field(kernels, strides):
    jumps = np.cumprod([1] + list(strides[:-1]))
    return 1 + np.dot(np.array(kernels) - 1, jumps)


# %% 04.join | mistake: along z
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzaybxco", below, weights)
    return np.concatenate([blocks.reshape(skip.shape) + bias, skip], 1)


# %% 04.join | mistake: along x
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzaybxco", below, weights)
    return np.concatenate([blocks.reshape(skip.shape) + bias, skip], axis=3)


# %% 04.join | mistake: added
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzaybxco", below, weights)
    return blocks.reshape(skip.shape) + bias + skip


# %% 04.join | mistake: skip first
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzaybxco", below, weights)
    return np.concatenate([skip, blocks.reshape(skip.shape) + bias], axis=-1)


# %% 04.join | mistake: blocks mixed up
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzyxabco", below, weights)
    return np.concatenate([blocks.reshape(skip.shape) + bias, skip], axis=-1)


# %% 04.join | mistake: the encoder's features come last, as they were
import numpy as np


def climb(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzaybxco", below, weights)
    raised = blocks.reshape(skip.shape)
    return np.concatenate([raised, skip], axis=-1) + np.concatenate([bias, bias])


# %% 04.join | right: block by block
import numpy as np


def climb(below, skip, weights, bias):
    result = np.empty((*skip.shape[:-1], 2 * skip.shape[-1]))
    result[..., skip.shape[-1] :] = skip
    a, b, c = weights.shape[:3]
    for n, z, y, x in np.ndindex(below.shape[:-1]):
        block = np.tensordot(below[n, z, y, x], weights, axes=(0, 3)) + bias
        place = (n, slice(z * a, z * a + a), slice(y * b, y * b + b), slice(x * c, x * c + c))
        result[place][..., : skip.shape[-1]] = block
    return result

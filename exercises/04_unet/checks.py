"""What is checked of the exercises of lesson 04, and which mistakes are known."""

import math
from itertools import pairwise

import numpy as np

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5


def draw_strides(rng, levels):
    """Each axis is halved at every level but the first; one of them less often than the others."""
    strides = np.full((levels, 3), 2)
    strides[0] = 1
    strides[1 : 1 + rng.integers(1, levels - 1), rng.integers(3)] = 1
    return strides.tolist()


# 04.patch ------------------------------------------------------------------------------------


def draw_wishes(rng):
    """One axis is legal already, two are a voxel too large; none is legal for twice the steps."""
    calls = []
    for call in range(CALLS):
        strides = draw_strides(rng, levels=3 + call % 3)
        steps = np.prod(strides, axis=0)
        more = rng.permutation([0, 1, 1])
        patch = steps * (2 * rng.integers(1, 4, 3) + 1 - more) + more
        calls.append({"patch": patch.tolist(), "strides": strides})
    return calls


def next_legal(patch, strides):
    """By trying: an axis grows until each level halves it without a rest."""
    return [grown(size, [level[axis] for level in strides]) for axis, size in enumerate(patch)]


def grown(size, strides):
    left = size
    for stride in strides:
        if left % stride:
            return grown(size + 1, strides)
        left //= stride
    return size


def rounded_up(patch, steps):
    return [int(step * math.ceil(n / step)) for n, step in zip(patch, steps, strict=True)]


PATCH = Exercise(
    function="legal_patch",
    draw=draw_wishes,
    reference=next_legal,
    hint="An axis with the strides 1, 2, 2, 2 is halved three times, so it must be a multiple of "
    "2 · 2 · 2. `strides` has a row for each level: along which axis of it do you multiply?",
    mistakes=(
        Mistake(
            "last level",
            "That makes one halving come out even. But the result of a halving is halved again: "
            "how often, in the whole network?",
            gives=lambda patch, strides: rounded_up(patch, np.max(strides, axis=0)),
        ),
        Mistake(
            "sum",
            "You add the strides of an axis up. Halving twice leaves a quarter of the voxels: "
            "what do strides do, one after the other?",
            gives=lambda patch, strides: rounded_up(patch, np.sum(strides, axis=0)),
        ),
        Mistake(
            "all axes alike",
            "Your patches are legal, but larger than they need be. Look at an axis that is halved "
            "less often than the others.",
            gives=lambda patch, strides: rounded_up(
                patch, [np.prod(strides, axis=0).max()] * len(patch)
            ),
        ),
        Mistake(
            "levels counted",
            "You count a halving for each level. The first level works at full resolution, and "
            "some levels leave an axis as it is: look at the strides themselves.",
            gives=lambda patch, strides: rounded_up(patch, [2 ** len(strides)] * len(patch)),
        ),
        Mistake(
            "no axis",
            "You multiply all strides of the network to a single number. Each axis of the patch "
            "has strides of its own: look at `axis` in NumPy's functions.",
            gives=lambda patch, strides: rounded_up(patch, [np.prod(strides)] * len(patch)),
        ),
        Mistake(
            "wrong axis",
            "You have a number for each *level*, and the patch wants one for each of its axes. "
            "`strides` has a row for each level: along which of its axes do you multiply?",
            raises="ValueError",
            saying="broadcast",
        ),
    ),
)

# 04.activations ------------------------------------------------------------------------------


def draw_networks(rng):
    calls = []
    for call in range(CALLS):
        strides = draw_strides(rng, levels=3 + call % 3)
        patch = np.prod(strides, axis=0) * rng.integers(1, 5, 3)
        first = int(rng.integers(3, 9))
        calls.append(
            {
                "patch": patch.tolist(),
                "strides": strides,
                "filters": [first * 2**level for level in range(len(strides))],
                "labels": int(rng.integers(2, 6)),
            }
        )
    return calls


def walk(patch, strides, filters, labels, down=2, raised=1, mixed=2):
    """By walking through the network, convolution by convolution, and adding each output up."""
    counts, grid, grids = [0] * len(filters), list(patch), []
    for level, stride in enumerate(strides):
        grid = [size // step for size, step in zip(grid, stride, strict=True)]
        grids.append(math.prod(grid))
        counts[level] += sum(grids[level] * filters[level] for _ in range(down))
    for level in range(len(filters) - 2, -1, -1):
        counts[level] += sum(grids[level] * filters[level] for _ in range(raised + mixed))
    counts[0] += grids[0] * labels
    return counts


def both_ways_everywhere(patch, strides, filters, labels):
    counts = walk(patch, strides, filters, labels)
    return [*counts[:-1], counts[-1] // 2 * 5]


ACTIVATIONS = Exercise(
    function="activations",
    draw=draw_networks,
    reference=walk,
    hint="The lowest level has the encoder's two convolutions. Every other one has two on the way "
    "down, and on the way up the transposed convolution and two more.",
    mistakes=(
        Mistake(
            "encoder only",
            "The lowest level is right. The others are passed twice: on the way down, and again on "
            "the way up.",
            gives=lambda patch, strides, filters, labels: walk(
                patch, strides, filters, labels, raised=0, mixed=0
            ),
        ),
        Mistake(
            "not raised",
            "The lowest level is right, and so are the convolutions of the others. What raises the "
            "features from below has an output, too.",
            gives=lambda patch, strides, filters, labels: walk(
                patch, strides, filters, labels, raised=0
            ),
        ),
        Mistake(
            "lowest level like the others",
            "All levels but the lowest are right. Nothing is raised to that one: the way up begins "
            "there.",
            gives=both_ways_everywhere,
        ),
        Mistake(
            "one convolution a stage",
            "A level has *two* convolutions on each of its ways. What you count is one.",
            gives=lambda patch, strides, filters, labels: walk(
                patch, strides, filters, labels, down=1, mixed=1
            ),
        ),
        Mistake(
            "joined",
            "You count the joined features, too. They are copies of what two convolutions have "
            "put out, and the task leaves them out.",
            gives=lambda patch, strides, filters, labels: walk(
                patch, strides, filters, labels, raised=3
            ),
        ),
    ),
)

# 04.norm -------------------------------------------------------------------------------------


def draw_features(rng):
    """3D and 2D, each channel on its own scale, one of them faint; last a single voxel."""
    calls = []
    for number, dimensions in enumerate((3, 2, 3, 2, 3)):
        grid = (1, 1, 1) if number == 4 else tuple(rng.integers(3, 6, dimensions))
        channels = 3
        scale = rng.permutation([rng.uniform(0.002, 0.004), 1.0, rng.uniform(20, 90)])
        centre = rng.uniform(-9, 9, (2, *[1] * dimensions, channels))
        centre[1] += rng.uniform(5, 9)
        features = rng.normal(centre, scale, (2, *grid, channels))
        gamma, beta = rng.uniform(1.5, 3, channels), rng.uniform(-2, -1, channels)
        epsilon = float(rng.uniform(5e-6, 2e-5))
        calls.append({"features": features, "gamma": gamma, "beta": beta, "epsilon": epsilon})
    return calls


def channel_by_channel(features, gamma, beta, epsilon):
    """A loop over cases and channels, by moments."""
    result = np.empty(features.shape)
    for case, channel in np.ndindex(features.shape[0], features.shape[-1]):
        values = features[case, ..., channel]
        offset = values - values.flat[0]  # which moments are not exact without
        variance = (offset**2).mean() - offset.mean() ** 2
        scaled = (offset - offset.mean()) / math.sqrt(max(variance, 0) + epsilon)
        result[case, ..., channel] = scaled * gamma[channel] + beta[channel]
    return result


def over(axes_of, spread=lambda variance, epsilon: np.sqrt(variance + epsilon), ddof=0):
    """The norm with other axes, or another way to divide."""

    def gives(features, gamma, beta, epsilon):
        axes = axes_of(features.ndim)
        with np.errstate(all="ignore"):
            mean = features.mean(axis=axes, keepdims=True)
            centred = features - mean
            shared = features.size / mean.size  # numbers that share a mean
            variance = (centred**2).sum(axis=axes, keepdims=True) / np.float64(shared - ddof)
            return centred / spread(variance, epsilon) * gamma + beta

    return gives


def spatial(ndim):
    return tuple(range(1, ndim - 1))


def swapped(features, gamma, beta, epsilon):
    return channel_by_channel(features, beta, gamma, epsilon)


NORM = Exercise(
    function="normalise",
    draw=draw_features,
    reference=channel_by_channel,
    hint="The axes are 1, 2, ... up to the last but one: `tuple(range(1, features.ndim - 1))`. "
    "With keepdims=True the mean keeps its axes, and can be subtracted as it is.",
    properties=(
        Property(
            "the result has the shape of the features",
            lambda result, features, gamma, beta, epsilon: result.shape == features.shape,
            "The result has another shape than the features. Which operation adds or loses an "
            "axis? `keepdims` may help.",
        ),
        Property(
            "the mean of every channel of every case is its beta",
            lambda result, features, gamma, beta, epsilon: np.allclose(
                result.mean(axis=spatial(result.ndim)), beta, atol=1e-3
            ),
            "Some case has a channel whose mean is not beta. Over which axes is the mean to be "
            "taken, in 3D and in 2D?",
        ),
    ),
    mistakes=(
        Mistake(
            "batch axis",
            "You let the cases of a batch share mean and variance. That is batch normalisation: a "
            "case is then judged by its neighbour. Each case by itself is what is asked.",
            gives=over(lambda ndim: tuple(range(ndim - 1))),
        ),
        Mistake(
            "channel axis",
            "You let the channels share mean and variance. Each is another feature, with a range "
            "of its own: look at the axes once more, and at which is the last one.",
            gives=over(lambda ndim: tuple(range(1, ndim))),
        ),
        Mistake(
            "3D only",
            "3D is right. In 2D axis 3 is the channels: find the spatial axes from the number of "
            "axes that there are.",
            gives=over(lambda ndim: (1, 2, 3)),
        ),
        Mistake(
            "epsilon outside",
            "Nearly. Epsilon stands beside the *variance*, under the root. For a faint channel it "
            "makes a great difference.",
            gives=over(spatial, lambda variance, epsilon: np.sqrt(variance) + epsilon),
        ),
        Mistake(
            "no epsilon",
            "The axes are right. But a single voxel does not differ from its own mean, so that "
            "its variance is 0, and 0/0 is no number. What stands beside the variance, and why?",
            gives=over(spatial, lambda variance, epsilon: np.sqrt(variance)),
        ),
        Mistake(
            "no root",
            "You divide by the variance, which has the unit of the features squared.",
            gives=over(spatial, lambda variance, epsilon: variance + epsilon),
        ),
        Mistake(
            "one voxel less",
            "The mean is right. The variance here divides by the number of voxels, not by one less "
            "(and of a single voxel that would be 0).",
            gives=over(spatial, ddof=1),
        ),
        Mistake(
            "gamma and beta",
            "You have taken gamma for beta: gamma multiplies, beta is added.",
            gives=swapped,
        ),
    ),
)

# 04.parameters -------------------------------------------------------------------------------


def draw_plans(rng):
    calls = []
    for call in range(CALLS):
        levels = 3 + call % 3
        kernels = np.full((levels, 3), 3)
        kernels[: 1 + call % 2, rng.integers(3)] = 1
        calls.append(
            {
                "channels": int(rng.integers(2, 5)),
                "filters": np.cumsum(rng.integers(3, 9, levels)).tolist(),
                "kernels": kernels.tolist(),
                "strides": draw_strides(rng, levels),
                "labels": int(rng.integers(2, 6)),
            }
        )
    return calls


def by_layers(
    channels,
    filters,
    kernels,
    strides,
    labels,
    norm=2,
    skip=1,
    up_bias=1,
    head_bias=1,
    bias=0,
    own_stride=False,
    from_below=False,
):
    """By writing the list of layers, each (level, kernel, channels in, channels out, extra)."""
    layers = [(0, [1], filters[0], labels, head_bias)]  # extra numbers a channel out
    widths = [channels, *filters]
    for level, (before, width) in enumerate(pairwise(widths)):
        layers += [(level, kernels[level], n, width, norm + bias) for n in (before, width)]
    for level, (width, below) in enumerate(pairwise(filters)):
        stride = strides[level if own_stride else level + 1]
        kernel = kernels[level + 1 if from_below else level]
        layers.append((level, stride, below, width, up_bias))
        layers += [(level, kernel, n, width, norm + bias) for n in (width + skip * width, width)]
    counts = [0] * len(filters)
    for level, kernel, entering, width, extra in layers:
        counts[level] += math.prod(kernel) * entering * width + extra * width
    return counts


def planted(**fault):
    return lambda channels, filters, kernels, strides, labels: by_layers(
        channels, filters, kernels, strides, labels, **fault
    )


PARAMETERS = Exercise(
    function="parameters",
    draw=draw_plans,
    reference=lambda channels, filters, kernels, strides, labels: by_layers(
        channels, filters, kernels, strides, labels
    ),
    hint="With kernel K, stride S below, width f, width g below and c channels that enter: encoder "
    "K·c·f + K·f·f + 4f. Decoder S·g·f + f for the transposed convolution, then K·2f·f + K·f·f + "
    "4f. Head: labels · (f + 1).",
    properties=(
        Property(
            "there is one number for each level",
            lambda result, channels, filters, kernels, strides, labels: len(result) == len(filters),
            "Give a list with one number for each level, the finest first.",
        ),
    ),
    mistakes=(
        Mistake(
            "no biases",
            "The lowest level is right. The convolutions before a norm have no bias, but two other "
            "kinds of layer do: read the list once more.",
            gives=planted(up_bias=0, head_bias=0),
        ),
        Mistake(
            "bias of the transposed convolution",
            "You are a few numbers short on every level but the lowest. Does the transposed "
            "convolution have a bias?",
            gives=planted(up_bias=0),
        ),
        Mistake(
            "bias of the head",
            "All levels but the finest are right, and that is short by the number of labels. What "
            "has the head beside its weights?",
            gives=planted(head_bias=0),
        ),
        Mistake(
            "bias everywhere",
            "You give every convolution a bias. Where a norm follows there is none: the norm would "
            "subtract it again.",
            gives=planted(bias=1),
        ),
        Mistake(
            "no norms",
            "You count the convolutions alone. The norms learn, too: gamma and beta, for each "
            "channel.",
            gives=planted(norm=0),
        ),
        Mistake(
            "half the norm",
            "A norm has two numbers a channel, gamma *and* beta.",
            gives=planted(norm=1),
        ),
        Mistake(
            "no skip connection",
            "The lowest level is right. The decoder's first convolution gets more than what was "
            "raised: what is put beside it?",
            gives=planted(skip=0),
        ),
        Mistake(
            "own stride",
            "The lowest level is right. A transposed convolution undoes the stride that led *down* "
            "to the level below, and you take the stride of the level itself.",
            gives=planted(own_stride=True),
        ),
        Mistake(
            "kernel from below",
            "That is NVIDIA's decoder, which takes a level's kernel from the level below. Here, as "
            "in nnU-Net, encoder and decoder use the same kernel on the same level.",
            gives=planted(from_below=True),
        ),
    ),
)

# 04.sight ------------------------------------------------------------------------------------


def draw_chains(rng):
    """Two convolutions a level, of which the first may stride; then some in any order."""
    calls = []
    for levels in (3, 4, 5):
        strides = [1, 1] + [2, 1] * (levels - 1)
        calls.append({"kernels": [3] * len(strides), "strides": strides})
    for _ in range(2):
        strides = [2, *rng.permutation([1, 1, 2, 3]).tolist(), 1]
        kernels = rng.choice([3, 5], len(strides)).tolist()
        calls.append({"kernels": kernels, "strides": strides})
    return calls


def seen(kernels, strides):
    """Backwards: the first and the last voxel that each convolution reads for one output voxel."""
    first = last = 0
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        first, last = first * stride, last * stride + kernel - 1
    return last - first + 1


def forwards(kernels, strides, widen, jump_on):
    field, jump = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += widen(kernel, stride, jump)
        jump = jump_on(jump, stride)
    return field


SIGHT = Exercise(
    function="receptive_field",
    draw=draw_chains,
    reference=seen,
    hint="Write down `jump` after each convolution of a chain with the strides 1, 2, 1, 2, 1. What "
    "should it be after the second 2, and what is it?",
    mistakes=(
        Mistake(
            "last stride only",
            "`field` is widened as the formula says. Follow `jump` through a chain with the "
            "strides 2, 1, 2, 1 and compare it with how far apart neighbours really are.",
            gives=lambda kernels, strides: forwards(
                kernels, strides, lambda k, s, j: (k - 1) * j, lambda j, s: s
            ),
        ),
        Mistake(
            "too early",
            "Strides multiply, that is right now. But a convolution with a stride *reads* the grid "
            "before it, where neighbours are still close: what comes first, widening or jumping?",
            gives=lambda kernels, strides: forwards(
                kernels, strides, lambda k, s, j: (k - 1) * j * s, lambda j, s: j * s
            ),
        ),
        Mistake(
            "strides added",
            "`jump` must remember all strides, that is right. But two halvings do not put "
            "neighbours 2 + 2 voxels apart, or three 6.",
            gives=lambda kernels, strides: forwards(
                kernels, strides, lambda k, s, j: (k - 1) * j, lambda j, s: j + s
            ),
        ),
        Mistake(
            "strides added where they halve",
            "`jump` must remember all strides, that is right. But each halving doubles the "
            "distance, whatever it was before.",
            gives=lambda kernels, strides: forwards(
                kernels, strides, lambda k, s, j: (k - 1) * j, lambda j, s: j + s - 1
            ),
        ),
        Mistake(
            "whole kernel",
            "`jump` is right now. A kernel of 3 reaches one voxel further on each side, which "
            "widens the view by 2: leave the widening as it was.",
            gives=lambda kernels, strides: forwards(
                kernels, strides, lambda k, s, j: k * j, lambda j, s: j * s
            ),
        ),
    ),
)

# 04.join -------------------------------------------------------------------------------------


def draw_levels(rng):
    calls = []
    for call in range(CALLS):
        stride = [1 if call == axis else 2 for axis in range(3)]
        grid = rng.permutation([2, 3, 4])
        batch, lower, width = 2, int(rng.integers(3, 6)), int(rng.integers(2, 4))
        calls.append(
            {
                "below": rng.normal(size=(batch, *grid, lower)),
                "skip": rng.normal(size=(batch, *(grid * stride), width)),
                "weights": rng.normal(size=(*stride, lower, width)),
                "bias": rng.uniform(0.5, 1.5, width),
            }
        )
    return calls


def raise_features(below, skip, weights, bias):
    """By offsets: each place within the blocks is a matrix product, and a grid with gaps."""
    raised = np.empty(skip.shape)
    steps = weights.shape[:3]
    for a, b, c in np.ndindex(steps):
        raised[:, a :: steps[0], b :: steps[1], c :: steps[2]] = below @ weights[a, b, c] + bias
    return raised


def mixed_up(below, skip, weights, bias):
    blocks = np.einsum("nzyxi,abcio->nzyxabco", below, weights)
    return np.concatenate([blocks.reshape(skip.shape) + bias, skip], axis=-1)


def joined(axis):
    return lambda below, skip, weights, bias: np.concatenate(
        [raise_features(below, skip, weights, bias), skip], axis=axis
    )


JOIN = Exercise(
    function="climb",
    draw=draw_levels,
    reference=joined(4),
    hint="What is axis 1 of an array (batch, z, y, x, channel)? And which axis of the result does "
    "the docstring say is twice as long?",
    properties=(
        Property(
            "the result is on the skip connection's grid",
            lambda result, below, skip, weights, bias: result.shape[:-1] == skip.shape[:-1],
            "Compare the shape of the result with what the docstring promises, axis by axis.",
        ),
        Property(
            "the encoder's features come last, as they were",
            lambda result, below, skip, weights, bias: np.array_equal(
                result[..., bias.size :], skip
            ),
            "The last channels of the result should be the skip connection's, unchanged.",
        ),
    ),
    mistakes=(
        Mistake(
            "along z",
            "The raised features are right. Compare the result's shape with the one that the "
            "docstring promises: which axis has grown?",
            gives=joined(1),
        ),
        Mistake(
            "along x",
            "Closer, but axis 3 is x. Count the axes from 0, or from behind.",
            gives=joined(3),
        ),
        Mistake(
            "added",
            "You add the two. Some networks do that; the U-Net keeps both, and lets the next "
            "convolutions decide what to do with each.",
            gives=lambda below, skip, weights, bias: (
                raise_features(below, skip, weights, bias) + skip
            ),
        ),
        Mistake(
            "skip first",
            "The axis is right now. The raised features come first, then the encoder's.",
            gives=lambda below, skip, weights, bias: np.concatenate(
                [skip, raise_features(below, skip, weights, bias)], axis=-1
            ),
        ),
        Mistake(
            "blocks mixed up",
            "The axis is right now, but the raised features are not any more. `reshape` puts axes "
            "together that stand side by side: z beside a, y beside b, x beside c.",
            gives=mixed_up,
        ),
    ),
)

EXERCISES = {
    "04.patch": PATCH,
    "04.activations": ACTIVATIONS,
    "04.norm": NORM,
    "04.parameters": PARAMETERS,
    "04.sight": SIGHT,
    "04.join": JOIN,
}

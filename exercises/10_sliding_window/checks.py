"""What is checked of the exercises of lesson 10, and which mistakes are known."""

import math
from itertools import product

import numpy as np
from scipy.stats import norm

from nnunet_lib.course.exercises import Exercise, Mistake, Property
from nnunet_lib.inference import window_starts

CALLS = 5

# 10.bill -------------------------------------------------------------------------------------


def draw_scans(rng):
    """In every call one axis that windows fit exactly, one that they do not, and a short one.

    In the last call steps along two axes are half a voxel longer than a whole number: along one
    a shorter step takes one window more, along the other a longer step takes one less.
    """
    calls = []
    for call in range(CALLS):
        overlap = [0.0, 0.5, 0.75, 0.25, 0.5][call]
        length = [int(8 * n) for n in rng.integers(2, 5, 3)]
        step = [int(n * (1 - overlap)) for n in length]
        size = [
            length[0] + step[0] * int(rng.integers(1, 4)),
            length[1] + step[1] * int(rng.integers(1, 4)) + int(rng.integers(1, step[1])),
            length[2] - int(rng.integers(length[2] // 2, length[2])),
        ]
        if call == CALLS - 1:
            length[:2] = length[0] + 1, length[1] + 1
            size[0] = length[0] + 3 * length[0] // 2 + 1  # three steps and a bit more
            size[1] = length[1] + 3 * length[1] // 2  # three steps and a bit less
        order = rng.permutation(3)
        calls.append(
            {
                "shape": [size[axis] for axis in order],
                "patch": [length[axis] for axis in order],
                "overlap": overlap,
                "flips": call % 2 == 1,
            }
        )
    return calls


def counted(shape, patch, overlap, flips):
    """By laying the windows."""
    axes = [window_starts(max(s, p), p, overlap) for s, p in zip(shape, patch, strict=True)]
    return len(list(product(*axes))) * (8 if flips else 1)


def paper(shape, patch, flips, along):
    return math.prod(map(along, shape, patch)) * (8 if flips else 1)


BILL = Exercise(
    function="bill",
    draw=draw_scans,
    reference=counted,
    hint="math.ceil rounds up. What remains of the axis after the first window is size - length; "
    "the step is length * (1 - overlap); and if nothing remains, it is max(0, ...).",
    mistakes=(
        Mistake(
            "short axis",
            "Right for long axes. If a scan is shorter than the window, the fraction is negative:"
            " how many windows does such an axis have, once it is padded?",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: math.ceil((s - p) / (p * (1 - overlap))) + 1
            ),
        ),
        Mistake(
            "rounded down",
            "You round down. What is left of the axis after a whole number of steps would lie in "
            "no window.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: int(max(0, s - p) / (p * (1 - overlap))) + 1
            ),
        ),
        Mistake(
            "whole steps, rounded down",
            "You round down. What is left of the axis after a whole number of steps would lie in "
            "no window. And do not cut the step to whole voxels: the formula rounds only once.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: max(0, s - p) // int(p * (1 - overlap)) + 1
            ),
        ),
        Mistake(
            "whole steps",
            "Right where a step is a whole number of voxels. Half of a window of 17 is 8.5: round "
            "the quotient, and nothing before it.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape,
                patch,
                flips,
                lambda s, p: math.ceil(max(0, s - p) / int(p * (1 - overlap))) + 1,
            ),
        ),
        Mistake(
            "whole steps, rounded up",
            "Right where a step is a whole number of voxels. Half of a window of 17 is 8.5, and "
            "with steps of 9 windows share less than half. Round the quotient, and nothing else.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape,
                patch,
                flips,
                lambda s, p: math.ceil(max(0, s - p) / math.ceil(p * (1 - overlap))) + 1,
            ),
        ),
        Mistake(
            "first window",
            "You count steps. With one step there are two windows.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: math.ceil(max(0, s - p) / (p * (1 - overlap)))
            ),
        ),
        Mistake(
            "one too many",
            "An axis that is a whole number of steps long gets one window too many. Round up, "
            "instead of rounding down and adding one more.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: int(max(0, s - p) / (p * (1 - overlap))) + 2
            ),
        ),
        Mistake(
            "overlap ignored",
            "You set the windows side by side. Neighbours share a part of their length, so that a "
            "step is shorter than a window.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: math.ceil(max(0, s - p) / p) + 1
            ),
        ),
        Mistake(
            "parentheses",
            "Python divides and multiplies from left to right: `a / b * c` is a · c / b. Put "
            "parentheses around the step, which is below the line in the formula.",
            gives=lambda shape, patch, overlap, flips: paper(
                shape, patch, flips, lambda s, p: math.ceil(max(0, s - p) / p * (1 - overlap)) + 1
            ),
        ),
        Mistake(
            "overlap for step",
            "The overlap is what neighbours share. The step is what they do not share. With an "
            "overlap of 0 your step is 0, too.",
            raises="ZeroDivisionError",
        ),
    ),
)

# 10.shares -----------------------------------------------------------------------------------


def draw_windows(rng):
    calls = []
    for call in range(CALLS):
        length = 2 * int(rng.integers(6, 16)) + call % 2
        calls.append({"length": length, "step": int(rng.integers((length + 1) // 2, length - 2))})
    return calls


def share_of(length, step, weight):
    first = np.array([weight(voxel) for voxel in range(step, length)])
    second = np.array([weight(voxel) for voxel in range(length - step)])
    return (second / (first + second)).tolist()  # compared with lists and arrays alike


def middle(length):
    return (length - 1) / 2


def bell_shares(length, step):
    """By SciPy's normal distribution: its factor is in both windows, and cancels."""
    return share_of(length, step, norm(middle(length), length / 8).pdf)


SHARES = Exercise(
    function="shares",
    draw=draw_windows,
    reference=bell_shares,
    absolute=1e-9,
    hint="d = (np.arange(length) - middle) / eighth, where an eighth of the window has length / 8 "
    "voxels. Then np.exp of minus d squared, halved.",
    properties=(
        Property(
            "a share is between 0 and 1",
            lambda result, length, step: bool(
                np.all((np.array(result) > 0) & (np.array(result) < 1))
            ),
            "A share is a part of the whole. Are all of your weights above 0?",
        ),
        Property(
            "the second window's share grows from voxel to voxel",
            lambda result, length, step: bool(np.all(np.diff(result) > 0)),
            "Where the second window begins, it has little say. Further in it has more.",
        ),
    ),
    mistakes=(
        Mistake(
            "constant",
            "Both windows count alike in every voxel, so that the result jumps half of the way "
            "where the second one begins. That is the seam which the Gaussian should remove.",
            gives=lambda length, step: share_of(length, step, lambda v: 1.0),
        ),
        Mistake(
            "voxels",
            "You measure the distance in voxels. Then a large window is nearly blind towards its "
            "rim. How many voxels has an eighth of it?",
            gives=lambda length, step: share_of(
                length, step, lambda v: math.exp(-((v - middle(length)) ** 2) / 2)
            ),
        ),
        Mistake(
            "not halved",
            "The shape is right, but the bell is too narrow: compare your exponent with the "
            "formula, letter by letter.",
            gives=lambda length, step: share_of(
                length, step, lambda v: math.exp(-(((v - middle(length)) * 8 / length) ** 2))
            ),
        ),
        Mistake(
            "not squared",
            "Your weights have a sharp peak in the middle. A Gaussian is round there: look at the "
            "distance in the exponent.",
            gives=lambda length, step: share_of(
                length, step, lambda v: math.exp(-abs(v - middle(length)) * 4 / length)
            ),
        ),
        Mistake(
            "a voxel short",
            "The shape is right, but the bell is a little too narrow. A window of `length` voxels "
            "is `length` long: how many has an eighth of it?",
            gives=lambda length, step: share_of(
                length,
                step,
                lambda v: math.exp(-(((v - middle(length)) * 8 / (length - 1)) ** 2) / 2),
            ),
        ),
        Mistake(
            "middle",
            "Your bell lies half a voxel too far back. Print the weights of a window of 4 voxels: "
            "are they the same from both ends?",
            gives=lambda length, step: share_of(
                length, step, lambda v: math.exp(-(((v - length / 2) * 8 / length) ** 2) / 2)
            ),
        ),
        Mistake(
            "whole middle",
            "For odd windows you are right. With an even number of voxels the middle falls "
            "between two of them: is your division a whole one?",
            gives=lambda length, step: share_of(
                length, step, lambda v: math.exp(-(((v - length // 2) * 8 / length) ** 2) / 2)
            ),
        ),
    ),
)

# 10.starts -----------------------------------------------------------------------------------


def draw_axes(rng):
    """One exact fit, one axis that a single window covers, others whose steps are no integers.

    In the third call not even the longest step that is allowed is one.
    """
    first = {"size": 40, "length": 16, "overlap": 0.5}
    single = {"size": 12, "length": 12, "overlap": float(rng.choice([0.0, 0.5]))}
    odd = {"size": 45, "length": 13, "overlap": 0.5}
    calls = [first, single, odd]
    while len(calls) < 7:
        length, overlap = int(4 * rng.integers(3, 8)), float(rng.choice([0.0, 0.25, 0.5, 0.75]))
        size = length + int(rng.integers(length, 3 * length))
        if uneven(size, length, overlap) and drift(size, length, overlap):
            calls.append({"size": size, "length": length, "overlap": overlap})
    return calls


def exact_starts(size, length, overlap):
    steps = -int(-(size - length) // (length * (1 - overlap)))
    return np.linspace(0, size - length, steps + 1)


def uneven(size, length, overlap):
    """Whether some start is clearly above its voxel, and none near halfway."""
    part = exact_starts(size, length, overlap) % 1
    return np.any((part > 0.51) & (part < 0.99)) and not np.any(abs(part - 0.5) < 0.01)


def drift(size, length, overlap):
    """Whether the rounded step ends elsewhere, and is not the longest step that is allowed."""
    exact = exact_starts(size, length, overlap)
    if len(exact) < 3 or round(exact[1]) == int(length * (1 - overlap)):
        return False
    return round(exact[1]) * (len(exact) - 1) != size - length


def flush(size, length, overlap):
    """Steps of the full length, the last window pulled back."""
    step = int(length * (1 - overlap))
    return [*range(0, size - length, step), size - length]


def rounded_steps(size, length, overlap):
    exact = exact_starts(size, length, overlap)
    step = round(exact[1]) if len(exact) > 1 else 0
    return [step * number for number in range(len(exact))]


def whole_steps(size, length, overlap):
    """Evenly spread, but as many as the longest whole step asks for."""
    steps = math.ceil((size - length) / int(length * (1 - overlap)))
    return np.rint(np.linspace(0, size - length, steps + 1)).astype(int).tolist()


def cut_off(size, length, overlap):
    return (exact_starts(size, length, overlap) + 1e-9).astype(int).tolist()


STARTS = Exercise(
    function="starts",
    draw=draw_axes,
    reference=lambda size, length, overlap: (
        np.rint(exact_starts(size, length, overlap)).astype(int).tolist()
    ),
    hint="With n windows there are n - 1 steps over size - length voxels. Window k should begin at "
    "k * (size - length) / (n - 1). What if n is 1?",
    properties=(
        Property(
            "the first window begins with the axis, the last one ends with it",
            lambda result, size, length, overlap: result[0] == 0 and result[-1] + length == size,
            "Work out where your last window ends, and compare it with `size`.",
        ),
        Property(
            "neighbours share what was asked for, to a voxel",
            lambda result, size, length, overlap: bool(
                np.all(np.diff(result) <= length * (1 - overlap) + 1)
            ),
            "Some neighbours share too little: there are too few windows.",
        ),
        Property(
            "the starts are integers",
            lambda result, size, length, overlap: all(int(s) == s for s in result),
            "A window begins at a voxel: round the start.",
        ),
    ),
    mistakes=(
        Mistake(
            "full steps",
            "Yours cover the axis, and the last one is flush with the end. But it comes much "
            "closer to its neighbour than the others do. Spread the windows evenly.",
            gives=flush,
        ),
        Mistake(
            "beyond the end",
            "Your last window reaches beyond the axis. Where must it begin to end with the axis?",
            gives=lambda size, length, overlap: [
                int(step * length * (1 - overlap))
                for step in range(len(exact_starts(size, length, overlap)))
            ],
        ),
        Mistake(
            "end left out",
            "The rest at the end of the axis lies in no window, and would never be predicted.",
            gives=lambda size, length, overlap: list(
                range(0, size - length + 1, int(length * (1 - overlap)))
            ),
        ),
        Mistake(
            "rounded steps",
            "You round the step and add it up, so that its error grows with every window, and the "
            "last one misses the end. Round each start instead.",
            gives=rounded_steps,
        ),
        Mistake(
            "whole steps",
            "Evenly spread, and flush with both ends. But where the longest step that is allowed "
            "has a fraction, such as 6.5 voxels, you have a window too many: do you round it?",
            gives=whole_steps,
        ),
        Mistake(
            "cut off",
            "The number is right. But `int` and // cut off: 6.9 becomes 6. To the *nearest* voxel.",
            gives=cut_off,
        ),
        Mistake(
            "single window",
            "If one window covers the axis there is no step, and you divide by their number.",
            raises="ZeroDivisionError",
        ),
    ),
)

# 10.flips ------------------------------------------------------------------------------------

SUBSETS = tuple(product((False, True), repeat=3))


def draw_networks(rng):
    return [
        {
            "predict": asymmetric(rng.uniform(0.5, 2, (2, 3))),
            "image": rng.normal(size=rng.permutation([3, 4, 5])),
        }
        for _ in range(CALLS)
    ]


def asymmetric(factors):
    """A network that prefers the end of each axis, and looks at the voxel before."""

    def predict(image):
        classes = []
        for row in factors:
            ramps = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
            slope = math.prod(1 + f * ramp for f, ramp in zip(row, ramps, strict=True))
            before = sum(f * np.roll(image, 1, axis) for axis, f in enumerate(row))
            classes.append(slope * image + before)
        return np.stack(classes, axis=-1)

    return predict


def mean_answer(predict, image, subsets=SUBSETS, back=True):
    """By slices with a negative step, added up."""
    total = 0
    for subset in subsets:
        turn = tuple(slice(None, None, -1 if flip else 1) for flip in subset)
        total = total + predict(image[turn])[turn if back else ...]
    return total / len(subsets)


def back_with_classes(predict, image):
    """Flipped back along the axes counted from the end, where the classes are."""
    total = 0
    for subset in SUBSETS:
        turn = tuple(slice(None, None, -1 if flip else 1) for flip in subset)
        total = total + predict(image[turn])[(slice(None), *turn)]
    return total / len(SUBSETS)


def both_ways(function, predict, image):
    """The answer, and that to the scan mirrored along x, mirrored back."""
    one = function(predict, image)
    return None if one is None else [one, np.flip(function(predict, np.flip(image, 2)), 2)]


def twice(mean):
    return lambda predict, image: both_ways(mean, predict, image)


def with_subsets(choose, scale=1.0):
    chosen = [subset for subset in SUBSETS if choose(sum(subset))]
    return twice(lambda predict, image: mean_answer(predict, image, chosen) * scale)


FLIPS = Exercise(
    function="flipped_mean",
    draw=draw_networks,
    probe=both_ways,
    reference=twice(mean_answer),
    hint="itertools.combinations(range(3), number) gives the combinations of `number` axes, and "
    "np.flip takes a tuple of axes, which may be empty. The same tuple flips back.",
    properties=(
        Property(
            "the answer to the mirrored scan is the mirrored answer",
            lambda result, predict, image: np.allclose(result[0], result[1]),
            "A flip of the scan must only shuffle the terms of your sum. Are all eight "
            "combinations in it, once each?",
        ),
    ),
    mistakes=(
        Mistake(
            "not flipped back",
            "You take the mean of answers to mirrored scans, and each speaks of other voxels. What "
            "has to be done with an answer first?",
            gives=twice(lambda predict, image: mean_answer(predict, image, back=False)),
        ),
        Mistake(
            "one axis at a time",
            "You flip along one axis at a time. There are also the flips along two axes at once, "
            "and along all three: eight in all.",
            gives=with_subsets(lambda flips: flips < 2),
        ),
        Mistake(
            "without the original",
            "The scan as it is counts as well: it is the combination of no axes.",
            gives=with_subsets(lambda flips: flips > 0),
        ),
        Mistake(
            "none or all",
            "You flip along no axis, or along all at once. What about the combinations between?",
            gives=with_subsets(lambda flips: flips in (0, 3)),
        ),
        Mistake(
            "sum",
            "All eight answers are there. But the result is their sum, and not their mean.",
            gives=with_subsets(lambda flips: True, scale=8.0),
        ),
        Mistake(
            "class axis",
            "An answer has one axis more than the scan: the classes, at the end. Axes counted from "
            "the end are others in it, and you flip the classes.",
            gives=twice(back_with_classes),
        ),
    ),
)

# 10.blend ------------------------------------------------------------------------------------


def draw_answers(rng):
    """Windows that agree in the first call, and disagree in the others."""
    calls = []
    for call in range(CALLS):
        length = int(rng.integers(5, 9))
        size = 2 * length + int(rng.integers(1, length))
        starts = list(window_starts(size, length, 0.5))
        signal = rng.normal(size=(size, 3))
        noise = [rng.normal(size=(length, 3)) * (call > 0) for _ in starts]
        calls.append(
            {
                "answers": [signal[s : s + length] + n for s, n in zip(starts, noise, strict=True)],
                "starts": [int(start) for start in starts],
                "weights": bell(length) * (rng.uniform(1.5, 3) if call else 1.0),
                "size": size,
            }
        )
    return calls


def bell(length):
    return np.exp(-(((np.arange(length) - middle(length)) * 8 / length) ** 2) / 2)


def seen(voxel, answers, starts, weights):
    """What the windows say of a voxel, (window, class), and how much each counts."""
    inside = [k for k, start in enumerate(starts) if start <= voxel < start + len(weights)]
    places = [voxel - starts[k] for k in inside]
    said = [answers[k][place] for k, place in zip(inside, places, strict=True)]
    return np.array(said), weights[places]


def voxelwise(take):
    """What `take` makes of the answers to each voxel and their weights: (size, class or 1)."""

    def all_voxels(answers, starts, weights, size):
        return np.array([take(*seen(v, answers, starts, weights)) for v in range(size)])

    return all_voxels


def lies_between(result, **inputs):
    """As exactly as results are compared: a weight of 1e-8 more does no harm."""
    low = voxelwise(lambda said, weights: said.min(axis=0))(**inputs)
    high = voxelwise(lambda said, weights: said.max(axis=0))(**inputs)
    inside = np.clip(result, low, high)
    return np.allclose(result, inside, rtol=BLEND.relative, atol=BLEND.absolute)


BLEND = Exercise(
    function="blend",
    draw=draw_answers,
    reference=voxelwise(lambda said, weights: np.average(said, axis=0, weights=weights)),
    hint="Take one window, and a voxel in its corner with the weight 0.001. What is `total` there, "
    "what is `counted`, and what should their quotient be?",
    properties=(
        Property(
            "each voxel lies between the smallest and the largest answer that it gets",
            lies_between,
            "A mean lies between what it is the mean of. In some voxels yours is nearer to 0 than "
            "any of the answers: is it divided by what the weights sum to, and by nothing more?",
        ),
    ),
    mistakes=(
        Mistake(
            "starts at one",
            "Where all windows agree, their answer should come back unchanged. Yours is smaller, "
            "most of all near the ends of the axis. Work out one such voxel by hand.",
            gives=voxelwise(lambda said, weights: weights @ said / (1 + weights.sum())),
        ),
        Mistake(
            "not divided",
            "This is the sum. A mean is divided by what the weights sum to in that voxel.",
            gives=voxelwise(lambda said, weights: weights @ said),
        ),
        Mistake(
            "number of windows",
            "You divide by the number of windows in each voxel. They do not count fully there: add "
            "up their weights.",
            gives=voxelwise(lambda said, weights: weights @ said / len(weights)),
        ),
        Mistake(
            "last weight",
            "Where one window lies you are right. Where two do, you divide by the weight of the "
            "last one alone.",
            gives=voxelwise(lambda said, weights: weights @ said / weights[-1]),
        ),
        Mistake(
            "last window",
            "The last window takes all where windows overlap. Nobody should come first or last in "
            "a mean.",
            gives=voxelwise(lambda said, weights: said[-1]),
        ),
        Mistake(
            "at least one",
            "You hold the sum of weights at 1 or above. Where it is smaller, near the ends of the "
            "axis, the logits still come out too small.",
            gives=voxelwise(lambda said, weights: weights @ said / max(1, weights.sum())),
        ),
    ),
)

EXERCISES = {
    "10.bill": BILL,
    "10.shares": SHARES,
    "10.starts": STARTS,
    "10.flips": FLIPS,
    "10.blend": BLEND,
}

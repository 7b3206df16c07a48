"""Answers that the checks of lesson 07 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 07.lost | mistake: scale left out
import numpy as np


def lost(gradients, scale):
    return np.mean((gradients != 0) & (gradients.astype(np.float16) == 0))


# %% 07.lost | mistake: scale the wrong way
import numpy as np


def lost(gradients, scale):
    smaller = gradients.astype(np.float64) / scale
    return np.mean((gradients != 0) & (smaller.astype(np.float16) == 0))


# %% 07.lost | mistake: zeros counted
import numpy as np


def lost(gradients, scale):
    return np.mean((gradients * scale).astype(np.float16) == 0)


# %% 07.lost | mistake: smallest number
import numpy as np


def lost(gradients, scale):
    sizes = np.abs(gradients).astype(np.float64)
    gone = (sizes > 0) & (sizes < 2.0**-24 / scale)
    return gone.mean()


# %% 07.lost | mistake: subnormal numbers
import numpy as np


def lost(gradients, scale):
    sizes = np.abs(gradients).astype(np.float64)
    gone = (sizes > 0) & (sizes * scale < np.finfo(np.float16).tiny)
    return gone.mean()


# %% 07.lost | mistake: tie
import numpy as np


def lost(gradients, scale):
    sizes = np.abs(gradients).astype(np.float64)
    gone = (sizes > 0) & (sizes < 2.0**-25 / scale)
    return gone.mean()


# %% 07.lost | right: by casting
import numpy as np


def lost(gradients, scale):
    arrived = np.float16(gradients * scale)
    return (np.count_nonzero(gradients) - np.count_nonzero(arrived)) / gradients.size


# %% 07.rounded | mistake: half the numbers
import numpy as np


def rounded(values, bits):
    fractions, exponents = np.frexp(values)
    return np.ldexp(np.round(fractions * 2**bits) / 2**bits, exponents)


# %% 07.rounded | mistake: cut off
import numpy as np


def rounded(values, bits):
    mask = np.uint32(0xFFFFFFFF) << np.uint32(23 - bits)
    return (values.view(np.uint32) & mask).view(np.float32)


# %% 07.rounded | mistake: rounded down
import numpy as np


def rounded(values, bits):
    fractions, exponents = np.frexp(values)
    steps = 2 ** (bits + 1)
    return np.ldexp(np.floor(fractions * steps) / steps, exponents)


# %% 07.rounded | mistake: ties
import numpy as np


def rounded(values, bits):
    words = values.view(np.uint32) + np.uint32(1 << (22 - bits))
    return (words & (np.uint32(0xFFFFFFFF) << np.uint32(23 - bits))).view(np.float32)


# %% 07.rounded | mistake: ties up
import numpy as np


def rounded(values, bits):
    fractions, exponents = np.frexp(values)
    steps = 2 ** (bits + 1)
    return np.ldexp(np.floor(fractions * steps + 0.5) / steps, exponents)


# %% 07.rounded | mistake: fixed point
import numpy as np


def rounded(values, bits):
    return np.round(values * 2.0**bits) / 2.0**bits


# %% 07.rounded | mistake: zero stays zero, and signs stay
import numpy as np


def rounded(values, bits):
    fractions, exponents = np.frexp(np.abs(values))
    steps = 2 ** (bits + 1)
    return np.ldexp(np.round(fractions * steps) / steps, exponents)


# %% 07.rounded | right: by the logarithm, in units of the last bit
import numpy as np


def rounded(values, bits):
    sizes = np.where(values == 0, 1, np.abs(values)).astype(np.float64)
    unit = 2.0 ** (np.floor(np.log2(sizes)) - bits)
    return np.rint(values / unit) * unit


# %% 07.scale | mistake: overflow applied
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        weights -= rate * scaled.astype(np.float32) / scale
        if not np.isfinite(scaled).all():
            scale, good = scale / 2, 0
        else:
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: exact gradient
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * gradient
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: NaN applied
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isinf(scaled).any():
            scale, good = scale / 2, 0
        else:
            weights -= rate * scaled.astype(np.float32) / scale
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: only some weights skipped
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        fine = np.isfinite(scaled)
        weights[fine] -= rate * scaled[fine].astype(np.float32) / scale
        good = good + 1 if fine.all() else 0
        if not fine.all():
            scale /= 2
        elif good == growth:
            scale, good = scale * 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: never recovers
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales = weights.copy(), []
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32) / scale
        else:
            scale /= 2
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: not in a row
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32) / scale
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        else:
            scale = scale / 2
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: grows ever after
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32) / scale
            good += 1
            if good >= growth:
                scale = scale * 2
        else:
            scale, good = scale / 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: grows once
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32) / scale
            good += 1
            scale *= 2 if good == growth else 1
        else:
            scale, good = scale / 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: not unscaled
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32)
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: unscaled in float16
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        if np.isfinite(scaled).all():
            weights -= rate * (scaled / scale)
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: new scale
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        finite = np.isfinite(scaled).all()
        good = good + 1 if finite else 0
        if not finite:
            scale /= 2
        elif good == growth:
            scale, good = scale * 2, 0
        if finite:
            weights -= rate * scaled.astype(np.float32) / scale
        scales.append(scale)
    return weights, scales


# %% 07.scale | mistake: the scale after each step is right
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.copy(), [], 0
    for gradient in gradients:
        scaled = (gradient * scale).astype(np.float16)
        scales.append(scale)
        if np.isfinite(scaled).all():
            weights -= rate * scaled.astype(np.float32) / scale
            good += 1
            if good == growth:
                scale, good = scale * 2, 0
        else:
            scale, good = scale / 2, 0
    return weights, scales


# %% 07.scale | right: in float64, counting with the remainder
import numpy as np


def train(weights, gradients, scale, growth, rate):
    weights, scales, good = weights.astype(np.float64), [], 0
    for gradient in gradients:
        scaled = np.float16(gradient * scale).astype(np.float64)
        total = scaled.sum()
        if total - total != 0:  # infinite or NaN
            good, scale = 0, scale * 0.5
        else:
            weights = weights - scaled * (rate / scale)
            good += 1
            scale *= 1 + (good % growth == 0)
        scales += [scale]
    return weights, np.array(scales)


# %% 07.verdict | mistake: NaN passes
import numpy as np


def verdict(single, half, bound):
    gap = np.max(np.abs(single - half))
    if gap > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "agrees" if gap > 0 else "not float16"


# %% 07.verdict | mistake: NaN agrees
import numpy as np


def verdict(single, half, bound):
    if (np.abs(single - half) > bound).any():
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    if np.array_equal(single, half):
        return "not float16"
    return "agrees"


# %% 07.verdict | mistake: last step
import numpy as np


def verdict(single, half, bound):
    if not (np.isfinite(single).all() and np.isfinite(half).all()):
        return "not finite"
    if abs(single[-1] - half[-1]) > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: last step for all
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    gap = abs(single[-1] - half[-1])
    if gap > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "agrees" if gap > 0 else "not float16"


# %% 07.verdict | mistake: signed
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if max(single - half) > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: mean
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.mean(np.abs(single - half)) > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: equality first
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.array_equal(single, half):
        return "not float16"
    if np.abs(single - half).max() > bound:
        return "apart"
    return "not learnt" if half[0] - half[-1] <= bound else "agrees"


# %% 07.verdict | mistake: learning first
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    gap = np.abs(single - half).max()
    if gap > bound:
        return "apart"
    return "agrees" if gap > 0 else "not float16"


# %% 07.verdict | mistake: any change
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if abs(half[0] - half[-1]) <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: float32 learns
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if single[0] - single[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: learning not asked
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: lowest loss
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if half[0] - half.min() <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: apart at the bound
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if (np.abs(single - half) >= bound).any():
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: learnt at the bound
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if half[0] - half[-1] < bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | mistake: nearly equal
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.allclose(single, half) else "agrees"


# %% 07.verdict | mistake: equal somewhere
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "not finite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if (single == half).any() else "agrees"


# %% 07.verdict | mistake: the verdict is one of the five texts
import numpy as np


def verdict(single, half, bound):
    if not np.isfinite([single, half]).all():
        return "infinite"
    if np.abs(single - half).max() > bound:
        return "apart"
    if half[0] - half[-1] <= bound:
        return "not learnt"
    return "not float16" if np.array_equal(single, half) else "agrees"


# %% 07.verdict | right: with NumPy's own closeness
import numpy as np


def verdict(single, half, bound):
    both = np.concatenate([single, half])
    if np.isnan(both).any() or np.isinf(both).any():
        return "not finite"
    if not np.allclose(single, half, rtol=0, atol=bound):
        return "apart"
    if half[-1] + bound >= half[0]:
        return "not learnt"
    return ("agrees", "not float16")[bool((single == half).all())]


# %% 07.clipping | mistake: clipped while scaled
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array.astype(np.float32) for array in scaled]
    length = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    if length > most:
        gradients = [gradient * most / length for gradient in gradients]
    return [gradient / scale for gradient in gradients]


# %% 07.clipping | mistake: not unscaled
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array.astype(np.float32) for array in scaled]
    length = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    return [gradient * min(1.0, most / length) for gradient in gradients]


# %% 07.clipping | mistake: not clipped
import numpy as np


def clipped(scaled, scale, most):
    return [array.astype(np.float32) / scale for array in scaled]


# %% 07.clipping | mistake: each alone
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array.astype(np.float32) / scale for array in scaled]
    return [gradient * min(1.0, most / np.linalg.norm(gradient.ravel())) for gradient in gradients]


# %% 07.clipping | mistake: lengthened
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array.astype(np.float32) / scale for array in scaled]
    length = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    return [gradient * most / length for gradient in gradients]


# %% 07.clipping | mistake: in float16
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array / scale for array in scaled]
    length = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
    factor = min(1.0, most / length)
    return [gradient * factor for gradient in gradients]


# %% 07.clipping | mistake: scale twice
import numpy as np


def clipped(scaled, scale, most):
    gradients = [array.astype(np.float32) / scale for array in scaled]
    length = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
    factor = min(1.0, most / length)
    return [gradient * factor / scale for gradient in gradients]


# %% 07.clipping | right: the limit is scaled instead
import numpy as np


def clipped(scaled, scale, most):
    line = np.concatenate([array.ravel() for array in scaled]).astype(np.float64)
    length = np.sqrt(line @ line)
    factor = most / length if length > most * scale else 1 / scale
    return [array.astype(np.float64) * factor for array in scaled]


# %% 07.master | mistake: weights in float16
import numpy as np


def descend(weights, gradient, rate, steps):
    weights = weights.astype(np.float16)
    for _ in range(steps):
        update = np.float32(rate) * gradient(weights).astype(np.float32)
        weights = (weights.astype(np.float32) - update).astype(np.float16)
    return weights.astype(np.float32)


# %% 07.master | mistake: update in float16
import numpy as np


def descend(weights, gradient, rate, steps):
    weights = weights.astype(np.float32)
    for _ in range(steps):
        weights = weights - rate * gradient(weights.astype(np.float16))
    return weights


# %% 07.master | mistake: rounded at last
import numpy as np


def descend(weights, gradient, rate, steps):
    weights = weights.astype(np.float32)
    for _ in range(steps):
        weights = weights - rate * gradient(weights.astype(np.float16)).astype(np.float32)
    return weights.astype(np.float16)


# %% 07.master | mistake: network in float32
import numpy as np


def descend(weights, gradient, rate, steps):
    weights = weights.astype(np.float32)
    for _ in range(steps):
        weights = weights - rate * gradient(weights).astype(np.float32)
    return weights


# %% 07.master | mistake: every weight has moved
import numpy as np


def descend(weights, gradient, rate, steps):
    return weights.astype(np.float32)


# %% 07.master | right: master weights in float64
import numpy as np


def descend(weights, gradient, rate, steps):
    master = weights.astype(np.float64)
    for _ in range(steps):
        master -= rate * np.float64(gradient(np.float16(master)))
    return master

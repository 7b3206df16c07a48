"""What is checked of the exercises of lesson 07, and which mistakes are known."""

import numpy as np

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 4
SMALLEST = 2.0**-24
"""float16's smallest positive number; half of it, and all below, is rounded to zero."""

# 07.lost -------------------------------------------------------------------------------------


def draw_gradients(rng):
    """Sizes on both sides of every limit that one may think of; exact ties and zeros among them."""
    calls = []
    for scale in rng.permutation(2.0 ** np.array([3, 6, 9, 15])):
        shape = (*rng.integers(3, 6, 3), 2)
        sizes = 2.0 ** rng.uniform(-32, -12, shape) / scale
        tie = SMALLEST / 2 / scale
        sizes.flat[:8] = [tie, tie, 0, 0, 0, 1.5 * tie, 3 * tie, 2.0**-15 / scale]
        signs = rng.choice([-1, 1], shape)
        calls.append({"gradients": (sizes * signs).astype(np.float32), "scale": float(scale)})
    return calls


def share_lost(gradients, scale):
    """By casting, in NumPy's own float16."""
    arrived = (gradients * np.float32(scale)).astype(np.float16)
    return np.count_nonzero((gradients != 0) & (arrived == 0)) / gradients.size


def share_up_to(gradients, limit):
    sizes = np.abs(gradients.astype(np.float64))
    return np.mean((sizes > 0) & (sizes <= limit))


LOST = Exercise(
    function="lost",
    draw=draw_gradients,
    reference=share_lost,
    hint="float16 meets `sizes * scale`. Up to which size is that rounded to zero: at 2⁻²⁵, "
    "halfway to the smallest number? And `sizes > 0` leaves out what was zero before.",
    mistakes=(
        Mistake(
            "scale left out",
            "This is what float16 loses *without* a loss scale. Which numbers does it meet with "
            "one?",
            gives=lambda gradients, scale: share_up_to(gradients, SMALLEST / 2),
        ),
        Mistake(
            "scale the wrong way",
            "A larger scale should save more, and in your answer it loses more. Which of the two "
            "sides grows with the scale, the gradient or the limit?",
            gives=lambda gradients, scale: share_up_to(gradients, SMALLEST / 2 * scale),
        ),
        Mistake(
            "zeros counted",
            "You count those that were zero before, too. The scale did not lose them.",
            gives=lambda gradients, scale: np.mean(np.abs(gradients) * scale <= SMALLEST / 2),
        ),
        Mistake(
            "smallest number",
            "2⁻²⁴ is the smallest number that float16 has. But numbers are rounded to the "
            "*nearest*: what becomes of 0.75 · 2⁻²⁴?",
            gives=lambda gradients, scale: np.mean(
                (gradients != 0) & (np.abs(gradients) * scale < SMALLEST)
            ),
        ),
        Mistake(
            "subnormal numbers",
            "2⁻¹⁴ is the smallest *normal* number. Below it float16 goes on, with fewer digits, "
            "down to 2⁻²⁴.",
            gives=lambda gradients, scale: np.mean(
                (gradients != 0) & (np.abs(gradients) * scale < 2.0**-14)
            ),
        ),
        Mistake(
            "tie",
            "Nearly. What lies exactly halfway between zero and the smallest number goes to the "
            "even one of the two, which is zero.",
            gives=lambda gradients, scale: np.mean(
                (gradients != 0) & (np.abs(gradients) * scale < SMALLEST / 2)
            ),
        ),
    ),
)

# 07.rounded ----------------------------------------------------------------------------------


def draw_numbers(rng):
    """Of all sizes and both signs; some lie exactly halfway, above even and above odd numbers."""
    calls = []
    for bits in (7, 10, int(rng.integers(3, 7)), int(rng.integers(11, 16))):
        last = rng.integers(0, 2**bits, 12) // 2 * 2 + np.tile([0, 1], 6)  # even and odd
        halfway = (1 + (last + 0.5) / 2**bits) * 2.0 ** rng.integers(-20, 20, 12)
        sizes = [*2.0 ** rng.uniform(-30, 30, 27), 0.0, *halfway]
        values = np.array(sizes) * rng.choice([-1, 1], 40)
        calls.append({"values": values.astype(np.float32).reshape(5, 8), "bits": bits})
    return calls


def by_bits(values, bits):
    """On the bits of float32, whose mantissa are the last 23: the rest is a plain integer."""
    away = np.uint32(23 - bits)
    words = values.view(np.uint32)
    odd = (words >> away) & np.uint32(1)
    half = np.uint32(2 ** (22 - bits) - 1)
    return ((words + half + odd) >> away << away).view(np.float32)


def in_steps(values, steps, rounding=np.round):
    fractions, exponents = np.frexp(values.astype(np.float64))
    return np.ldexp(rounding(fractions * steps) / steps, exponents)


ROUNDED = Exercise(
    function="rounded",
    draw=draw_numbers,
    reference=by_bits,
    relative=1e-7,
    absolute=0.0,
    hint="Between 1/2 and 1 there are 2^m numbers with a mantissa of m bits. So multiply the "
    "fraction by 2^(m+1), np.round it, divide, and hand it to np.ldexp with its exponent.",
    properties=(
        Property(
            "the result has the shape of the values",
            lambda result, values, bits: np.shape(result) == values.shape,
            "Give an array of the values' own shape.",
        ),
        Property(
            "zero stays zero, and signs stay",
            lambda result, values, bits: bool(np.all(np.sign(result) == np.sign(values))),
            "Some numbers have lost their sign, or became zero. A number of any size has a "
            "mantissa: only its last bits may change.",
        ),
    ),
    mistakes=(
        Mistake(
            "half the numbers",
            "You keep one bit too few: np.frexp gives fractions between 1/2 and 1, half of "
            "1.b₁b₂... How fine must a step be there?",
            gives=lambda values, bits: in_steps(values, 2.0**bits),
        ),
        Mistake(
            "cut off",
            "You cut the last bits off, so that every number shrinks. The *nearest* number may "
            "lie on the other side.",
            gives=lambda values, bits: in_steps(values, 2.0 ** (bits + 1), np.trunc),
        ),
        Mistake(
            "rounded down",
            "You round down, so that all numbers drift to one side. The nearest may lie above.",
            gives=lambda values, bits: in_steps(values, 2.0 ** (bits + 1), np.floor),
        ),
        Mistake(
            "ties",
            "Right, but for the ties: you round them all away from zero (or all up). np.round "
            "sends half of them each way, so that sums do not drift.",
            gives=lambda values, bits: in_steps(
                values, 2.0 ** (bits + 1), lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5)
            ),
        ),
        Mistake(
            "ties up",
            "Right, but for the ties: you round them all up. np.round sends half of them each "
            "way, so that sums do not drift.",
            gives=lambda values, bits: in_steps(
                values, 2.0 ** (bits + 1), lambda x: np.floor(x + 0.5)
            ),
        ),
        Mistake(
            "fixed point",
            "Your numbers are equally far apart everywhere. A *floating* point keeps so many "
            "digits of each number, small or large: take it apart with np.frexp first.",
            gives=lambda values, bits: np.round(values.astype(np.float64) * 2**bits) / 2**bits,
        ),
    ),
)

# 07.scale ------------------------------------------------------------------------------------


def draw_trainings(rng):
    """An overflow just before the scale would double, a long good run, a NaN, another good run.

    Two kinds of weights: large ones, and such that their gradients are too small for float16. With
    the scale these become the smallest numbers that it has, which are far apart.
    """
    calls = []
    for _ in range(CALLS):
        growth = int(rng.integers(2, 5))
        runs = (growth - 1, 2 * growth + 1, growth + 1)
        steps = sum(runs) + 2
        sizes = np.repeat([1.0, 3e-9], 3)
        gradients = rng.uniform(0.02, 0.1, (steps, 6)) * np.repeat([1.0, 7.5e-9], 3)
        gradients *= rng.choice([-1, 1], (steps, 6))
        gradients[runs[0], rng.integers(3)] = 1e6 * rng.choice([-1, 1])
        gradients[runs[0] + 1 + runs[1], rng.integers(3)] = np.nan
        calls.append(
            {
                "weights": (rng.uniform(1, 2, 6) * sizes).astype(np.float32),
                "gradients": list(gradients.astype(np.float32)),
                "scale": float(2.0 ** rng.integers(12, 14)),
                "growth": growth,
                "rate": float(rng.uniform(0.2, 0.5)),
            }
        )
    return calls


def all_steps(weights, gradients, scale, growth, rate):
    """The scales first, from the largest number of each step; then all updates at once."""
    scales, run, updates = [scale], 0, []
    for gradient in gradients:
        largest = np.abs(gradient.astype(np.float64)).max() * scales[-1]  # NaN stays NaN
        run = run + 1 if largest < 65520 else 0  # from there on float16 is infinite
        if run:
            arrived = np.float16(gradient * np.float32(scales[-1])).astype(np.float64)
            updates.append(rate * arrived / scales[-1])
        scales.append(scales[-1] * (0.5 if not run else 2.0 if run % growth == 0 else 1.0))
    return weights - np.sum(updates, axis=0), scales[1:]


def trained(
    weights,
    gradients,
    scale,
    growth,
    rate,
    good=lambda scaled: np.isfinite(scaled).all(),
    keep=lambda old, moved, ok: moved if ok else old,
    unscale=lambda scaled, scale, after, exact: scaled.astype(np.float32) / scale,
    next_state=lambda ok, count, growth: (1.0, count) if ok else (0.5, 0),
):
    """The loop, each habit of which can be replaced by a bad one."""
    scales, count = [], 0
    with np.errstate(all="ignore"):
        for gradient in gradients:
            scaled = (gradient * scale).astype(np.float16)
            ok = good(scaled)
            count += bool(ok)
            factor, count = next_state(ok, count, growth)
            if ok and count == growth:
                factor, count = 2.0, 0
            moved = weights - rate * unscale(scaled, scale, scale * factor, gradient)
            weights, scale = keep(weights, moved, ok), scale * factor
            scales.append(scale)
    return weights, scales


def only(**habit):
    return lambda weights, gradients, scale, growth, rate: trained(
        weights, gradients, scale, growth, rate, **habit
    )


def never_grows(ok, count, growth):
    return (1.0 if ok else 0.5), 0


def counts_on(ok, count, growth):
    """An overflow does not begin the count anew."""
    return (1.0 if ok else 0.5), count


def grows_ever_after(ok, count, growth):
    """The count goes on after growth: a number above `growth` is no more equal to it."""
    if not ok:
        return 0.5, 0
    return (2.0, growth + 1) if count >= growth else (1.0, count)


def grows_once(ok, count, growth):
    """Growth at the one moment when the count is `growth`; it is beyond that afterwards."""
    if not ok:
        return 0.5, 0
    return (2.0, growth + 1) if count == growth else (1.0, count)


def same_scales(result, **inputs):
    return np.array_equal(result[1], all_steps(**inputs)[1])


SCALE = Exercise(
    function="train",
    draw=draw_trainings,
    reference=all_steps,
    absolute=1e-14,
    hint="if np.isfinite(scaled).all(): subtract rate * scaled.astype(np.float32) / scale, count, "
    "and when the count is `growth`, double and count from 0. Else: halve, and count from 0.",
    properties=(
        Property(
            "weights stay finite",
            lambda result, **inputs: bool(np.isfinite(result[0]).all()),
            "A weight has become infinite or NaN, and will never be a number again. When must a "
            "step be left out?",
        ),
        Property(
            "the scale after each step is right",
            same_scales,
            "The scales differ. Write down what happens to scale and count in a good step, in the "
            "last of `growth` good ones, and in an overflow.",
        ),
    ),
    mistakes=(
        Mistake(
            "overflow applied",
            "The scale halves, as it should, but the step that overflowed is applied all the "
            "same. One infinite gradient, and the weight is lost for good.",
            gives=only(keep=lambda old, moved, ok: moved),
        ),
        Mistake(
            "NaN applied",
            "Infinite gradients are caught. But infinity minus infinity is NaN, which is not "
            "infinite. Which NumPy function asks for both at once?",
            gives=only(good=lambda scaled: not np.isinf(scaled).any()),
        ),
        Mistake(
            "only some weights skipped",
            "You leave out the numbers that overflowed and apply the rest. A step is one "
            "direction for all weights: with some missing it is another one. Skip it whole.",
            gives=only(
                keep=lambda weights, moved, ok: np.where(np.isfinite(moved), moved, weights)
            ),
        ),
        Mistake(
            "never recovers",
            "The scale only ever halves. After a few overflows it is so small that gradients "
            "become zero. When does it grow again?",
            gives=only(next_state=never_grows),
        ),
        Mistake(
            "not in a row",
            "You count all good steps. Only those *in a row* say that there is room above: an "
            "overflow begins the count anew.",
            gives=only(next_state=counts_on),
        ),
        Mistake(
            "grows ever after",
            "After the first `growth` good steps the scale doubles in every step. It takes "
            "another `growth` of them each time.",
            gives=only(next_state=grows_ever_after),
        ),
        Mistake(
            "grows once",
            "In a long good run the scale doubles only once. Each `growth` more good steps double "
            "it again: from where do you count?",
            gives=only(next_state=grows_once),
        ),
        Mistake(
            "not unscaled",
            "Skipping and scales are right. But the weights move thousands of times too far: what "
            "was the gradient multiplied by?",
            gives=only(unscale=lambda scaled, *others: scaled.astype(np.float32)),
        ),
        Mistake(
            "unscaled in float16",
            "You divide in float16, and what the scale has saved is rounded to zero again. First "
            "to float32, then divide.",
            gives=only(unscale=lambda scaled, scale, *others: scaled / scale),
        ),
        Mistake(
            "new scale",
            "Where the scale doubles, your step is half as long as it should be: you divide by "
            "the scale for the next step, and not by the one that this gradient was made with.",
            gives=only(
                unscale=lambda scaled, scale, after, exact: scaled.astype(np.float32) / after
            ),
        ),
        Mistake(
            "exact gradient",
            "Skipping and scales are right. But you move the weights by `gradient`, which stands "
            "for what the network would give without rounding. What comes back from it is "
            "`scaled`.",
            gives=only(unscale=lambda scaled, scale, after, exact: exact),
        ),
    ),
)

# 07.verdict ----------------------------------------------------------------------------------


def draw_pairs(rng):
    """A pair of trainings for each verdict, more than one where there are several ways to it."""
    bound = float(rng.uniform(0.005, 0.02))
    makers = [good, with_nan, with_infinity, apart_within, apart_at_last, hardly_learnt]
    makers += [
        apart_and_large,
        equal,
        equal_and_flat,
        rising,
        apart_and_flat,
        nearly_equal,
        equal_at_times,
        there,
        apart_by_the_bound,
        fallen_by_the_bound,
    ]
    pairs = [makers[index](rng, bound) for index in rng.permutation(len(makers))]
    return [{"single": single, "half": half, "bound": bound} for single, half in pairs]


def good(rng, bound, fall=10.0):
    steps = int(rng.integers(12, 20))
    single = rng.uniform(0.5, 0.9) - np.linspace(0, fall, steps) * bound
    half = single + rng.uniform(0.05, 0.3, steps) * rng.choice([-1, 1], steps) * bound
    return single, half


def with_nan(rng, bound):
    single, half = good(rng, bound)
    half[rng.integers(3, 9)] = np.nan
    return single, half


def with_infinity(rng, bound):
    single, half = good(rng, bound)
    single[rng.integers(3, 9)] = np.inf
    return single, half


def apart_within(rng, bound):
    """In one step before the last, float32's loss is the larger one."""
    single, half = good(rng, bound)
    half[rng.integers(3, 9)] -= 3 * bound
    return single, half


def apart_at_last(rng, bound):
    """In the last step, float16's loss is the larger one."""
    single, half = good(rng, bound)
    half[-1] += 3 * bound
    return single, half


def apart_and_large(rng, bound):
    """By more than the bound, though by less than that share of losses as large as these."""
    single, half = (losses + 2.5 for losses in good(rng, bound))
    half[rng.integers(3, 9)] += 1.8 * bound
    return single, half


def hardly_learnt(rng, bound):
    single, half = good(rng, bound, fall=1.3)
    half[[0, -1]] = single[0] - 0.3 * bound, single[-1] + 0.3 * bound
    return single, half


def equal(rng, bound):
    single, _ = good(rng, bound)
    return single, single.copy()


def equal_and_flat(rng, bound):
    single, _ = good(rng, bound, fall=0.5)
    return single, single.copy()


def rising(rng, bound):
    return good(rng, bound, fall=-10.0)


def apart_and_flat(rng, bound):
    single, half = good(rng, bound, fall=0.3)
    half[rng.integers(3, 9)] -= 3 * bound
    return single, half


def nearly_equal(rng, bound):
    single, half = equal(rng, bound)
    half[rng.integers(3, 9)] -= 1e-7
    return single, half


def equal_at_times(rng, bound):
    """At the ends, too."""
    single, half = good(rng, bound)
    times = [0, int(rng.integers(3, 9)), -1]
    half[times] = single[times]
    return single, half


def there(rng, bound):
    """There and back again: both losses rise and fall between, and end where they began."""
    single, half = good(rng, bound, fall=0.3)
    for losses in (single, half):
        losses[3:5] += 3 * bound
        losses[6:8] -= 3 * bound
    return single, half


def apart_by_the_bound(rng, bound):
    """By just as much as they may be, in numbers whose difference is exact."""
    single, half = good(rng, bound)
    step = rng.integers(3, 9)
    single[step], half[step] = 2 * bound, bound
    return single, half


def fallen_by_the_bound(rng, bound):
    """By just so much that it is not more, in numbers whose difference is exact."""
    single, half = good(rng, bound)
    half[[0, -1]] = 2 * bound, bound
    single[[0, -1]] = 1.8 * bound, 1.2 * bound
    return single, half


def by_step(single, half, bound):
    """Step by step, in plain Python."""
    pairs = list(zip(single.tolist(), half.tolist(), strict=True))
    if any(not abs(loss) < np.inf for pair in pairs for loss in pair):
        return "not finite"
    if any(one > other + bound or other > one + bound for one, other in pairs):
        return "apart"
    if pairs[-1][1] + bound >= pairs[0][1]:
        return "not learnt"
    return "not float16" if all(one == other for one, other in pairs) else "agrees"


def judged(single, half, bound, finite=True, gap=lambda s, h: np.abs(s - h).max(), learner="half"):
    losses = half if learner == "half" else single
    if finite and not np.isfinite([single, half]).all():
        return "not finite"
    if gap(single, half) > bound:
        return "apart"
    if losses[0] - losses[-1] <= bound:
        return "not learnt"
    return "agrees" if gap(single, half) > 0 else "not float16"


def called_equal(same, judge=by_step):
    """By another question for equality."""

    def gives(single, half, bound):
        given = judge(single, half, bound)
        if given not in ("agrees", "not float16"):
            return given
        return "not float16" if same(single, half) else "agrees"

    return gives


def with_gap(gap, same=np.array_equal):
    return called_equal(same, lambda single, half, bound: judged(single, half, bound, gap=gap))


def nan_agrees(single, half, bound):
    """Without the first question, and with `single == half` for the last."""
    given = judged(single, half, bound, finite=False)
    return "agrees" if np.isnan(half).any() else given


def unasked(single, half, bound):
    """Without "not learnt"."""
    given = by_step(single, half, bound)
    if given != "not learnt":
        return given
    return "not float16" if np.array_equal(single, half) else "agrees"


def any_change(single, half, bound):
    """A loss that rises counts as one that is learnt."""
    given = by_step(single, half, bound)
    if given != "not learnt" or half[-1] - half[0] <= bound:
        return given
    return "not float16" if np.array_equal(single, half) else "agrees"


def lowest_loss(single, half, bound):
    given = by_step(single, half, bound)
    if given != "not learnt" or half[0] - half.min() <= bound:
        return given
    return "not float16" if np.array_equal(single, half) else "agrees"


def learning_first(single, half, bound):
    given = by_step(single, half, bound)
    return "not learnt" if given == "apart" and half[0] - half[-1] <= bound else given


def equality_first(single, half, bound):
    given = by_step(single, half, bound)
    return "not float16" if given == "not learnt" and np.array_equal(single, half) else given


def parted_at_the_bound(single, half, bound):
    """With `>=` for `>`."""
    given = by_step(single, half, bound)
    parted = given != "not finite" and np.abs(single - half).max() >= bound
    return "apart" if parted else given


def learnt_at_the_bound(single, half, bound):
    """With `<` for `<=`."""
    given = by_step(single, half, bound)
    return "agrees" if given == "not learnt" and half[0] - half[-1] == bound else given


LAST_ALONE = "You compare the last losses alone. The trainings may have been apart in between."

VERDICT = Exercise(
    function="verdict",
    draw=draw_pairs,
    reference=by_step,
    hint="np.isfinite of both arrays, .all(). Then np.abs(single - half).max() against the bound. "
    "Then half[0] - half[-1]. At last, whether that largest difference is 0.",
    properties=(
        Property(
            "the verdict is one of the five texts",
            lambda result, single, half, bound: (
                result in ("not finite", "apart", "not learnt", "not float16", "agrees")
            ),
            "Give one of the five texts, spelled as in the task.",
        ),
    ),
    mistakes=(
        Mistake(
            "NaN passes",
            "A NaN slips through. It is neither above nor below any bound: every comparison with "
            "it is false. Ask whether all losses are finite before you compare.",
            gives=lambda single, half, bound: judged(single, half, bound, finite=False),
        ),
        Mistake(
            "NaN agrees",
            "A NaN slips through, and is called agreement: every comparison with it is false, "
            "that with the bound too. Ask whether all losses are finite before you compare.",
            gives=nan_agrees,
        ),
        Mistake(
            "last step",
            LAST_ALONE,
            gives=with_gap(lambda single, half: abs(single[-1] - half[-1])),
        ),
        Mistake(
            "last step for all",
            LAST_ALONE + " And two trainings are equal only if *all* losses are.",
            gives=with_gap(
                lambda single, half: abs(single[-1] - half[-1]),
                same=lambda single, half: single[-1] == half[-1],
            ),
        ),
        Mistake(
            "signed",
            "Where float16's loss is the *larger* one, your difference is negative, and below "
            "every bound.",
            gives=with_gap(lambda single, half: (single - half).max()),
        ),
        Mistake(
            "mean",
            "You compare the mean difference. One step that is far off drowns in the others: ask "
            "for the largest.",
            gives=with_gap(lambda single, half: np.abs(single - half).mean()),
        ),
        Mistake(
            "equality first",
            "Both may be true: the losses are equal, and they do not fall. Then the first in the "
            "list counts.",
            gives=equality_first,
        ),
        Mistake(
            "learning first",
            "Both may be true: the losses are apart, and float16's does not fall. Then the first "
            "in the list counts.",
            gives=learning_first,
        ),
        Mistake(
            "any change",
            "You ask whether the float16 loss *changed* by more than the bound. A loss that rises "
            "does so, too, and nothing is learnt.",
            gives=any_change,
        ),
        Mistake(
            "float32 learns",
            "You ask whether *float32* learns. The question is whether float16 does.",
            gives=lambda single, half, bound: judged(single, half, bound, learner="single"),
        ),
        Mistake(
            "learning not asked",
            "A training that stands still agrees with another one that stands still. Did the "
            "float16 loss fall by more than the bound?",
            gives=unasked,
        ),
        Mistake(
            "lowest loss",
            "You look for the lowest float16 loss anywhere. A loss may dip and come back: the "
            "task asks for the first step and the last.",
            gives=lowest_loss,
        ),
        Mistake(
            "apart at the bound",
            "In some call two losses differ by just `bound`. That is not *more* than it.",
            gives=parted_at_the_bound,
        ),
        Mistake(
            "learnt at the bound",
            "In some call the float16 loss falls by just `bound`. That is not *more* than it.",
            gives=learnt_at_the_bound,
        ),
        Mistake(
            "nearly equal",
            "Losses that are nearly equal are what one hopes for from float16. Only if they are "
            "*exactly* equal it was never switched on: np.allclose and the like are too generous.",
            gives=called_equal(np.allclose),
        ),
        Mistake(
            "equal somewhere",
            "A single step with equal losses may be chance. *All* of them have to be equal.",
            gives=called_equal(lambda single, half: (single == half).any()),
        ),
    ),
)

# 07.clipping ---------------------------------------------------------------------------------


def draw_scaled(rng):
    """True gradients longer than allowed, and shorter; the last are so even when scaled."""
    calls = []
    for share in (0.3, 0.7, 1.5, 4.0, 1e5):  # of the true length, that is allowed
        shapes = [(3, 3, int(rng.integers(2, 5))), (int(rng.integers(2, 5)),), (2, 4)]
        scale = float(2.0 ** rng.integers(10, 16))
        sizes = [2.0 ** rng.uniform(-3, 10, shape) for shape in shapes]
        scaled = [(s * rng.choice([-1, 1], s.shape)).astype(np.float16) for s in sizes]
        calls.append({"scaled": scaled, "scale": scale, "most": share * length(scaled) / scale})
    return calls


def length(arrays):
    return float(np.linalg.norm(np.concatenate([a.astype(np.float64).ravel() for a in arrays])))


def shortened(scaled, scale, most, unit=None, above=min):
    """All arrays by one factor: of their own length in `unit`, which is the true one by default."""
    true = length(scaled) / (scale if unit is None else unit)
    wanted = above(most, true)
    return [array.astype(np.float64) / scale * (wanted / true) for array in scaled]


def in_float16(scaled, scale, most):
    gradients = [array / scale for array in scaled]
    with np.errstate(all="ignore"):
        whole = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients))
        factor = min(1.0, most / whole)
    return [gradient * factor for gradient in gradients]


CLIPPING = Exercise(
    function="clipped",
    draw=draw_scaled,
    reference=shortened,
    absolute=1e-10,
    hint="`most` is meant for the gradients that the optimiser uses. Are those the ones whose "
    "length is measured here?",
    properties=(
        Property(
            "no result is longer than `most`",
            lambda result, scaled, scale, most: length(result) <= most * 1.001,
            "There are gradients longer than `most`, measured over all layers together.",
        ),
        Property(
            "gradients that are short enough are left as they are",
            lambda result, scaled, scale, most: (
                most < length(scaled) / scale
                or np.allclose(length(result), length(scaled) / scale, rtol=1e-3)
            ),
            "Where the true gradients are shorter than `most`, the results are not the true "
            "gradients. Print their lengths.",
        ),
    ),
    mistakes=(
        Mistake(
            "clipped while scaled",
            "Take a gradient that is short enough, and follow its length line by line: where does "
            "it shrink, and compared with what?",
            gives=lambda scaled, scale, most: shortened(scaled, scale, most, unit=1.0),
        ),
        Mistake(
            "not unscaled",
            "What you return still has the scale's size in it, or was shortened with it. The "
            "optimiser needs the *true* gradients.",
            gives=lambda scaled, scale, most: [
                array * scale for array in shortened(scaled, scale, most, unit=1.0)
            ],
        ),
        Mistake(
            "not clipped",
            "The gradients have their true size, but the long ones are not shortened any more.",
            gives=lambda scaled, scale, most: shortened(scaled, scale, np.inf),
        ),
        Mistake(
            "each alone",
            "You shorten each array by itself, which turns the direction of the step. `most` "
            "bounds the length of all of them together.",
            gives=lambda scaled, scale, most: [
                shortened([array], scale, most)[0] for array in scaled
            ],
        ),
        Mistake(
            "lengthened",
            "Short gradients are made longer: all have the length `most` now. It is a limit.",
            gives=lambda scaled, scale, most: shortened(
                scaled, scale, most, above=lambda most, true: most
            ),
        ),
        Mistake(
            "in float16",
            "The order is right. But you divide and square in float16, where small numbers lose "
            "their digits: go to float32 first.",
            gives=in_float16,
        ),
        Mistake(
            "scale twice",
            "You divide by the scale twice: look at where the gradients get their true size, and "
            "at what the last line does to them.",
            gives=lambda scaled, scale, most: [
                array / scale for array in shortened(scaled, scale, most)
            ],
        ),
    ),
)

# 07.master -----------------------------------------------------------------------------------


def draw_descents(rng):
    """Weights near 1, whose updates are below half a step of float16's, and weights near 0.

    The latter's updates are below 2^-25, so that float16 makes them zero.
    """
    calls = []
    for _ in range(3):
        weights = np.concatenate([rng.uniform(0.6, 1.9, 4), rng.uniform(1e-5, 3e-5, 3)])
        away = np.concatenate([rng.uniform(0.3, 0.6, 4), rng.uniform(1e-4, 1.4e-4, 3)])
        target = weights - away * rng.choice([-1, 1], 7)
        calls.append(
            {
                "weights": weights.astype(np.float32),
                "gradient": gradient_towards(target.astype(np.float16)),
                "rate": float(rng.uniform(1e-4, 1.9e-4)),
                "steps": int(rng.integers(250, 350)),
            }
        )
    return calls


def gradient_towards(target):
    """Of half the squared distance to a target, in float16 and nothing else."""

    def gradient(weights):
        if np.asarray(weights).dtype != np.float16:
            raise ValueError("the network computes in float16, and here are other weights")
        return weights - target

    return gradient


def collected(weights, gradient, rate, steps):
    """The sum of all updates in float64, apart from the weights that they begin from."""
    moved = np.zeros(weights.shape)
    for _ in range(steps):
        moved += np.multiply(gradient(np.float16(weights - moved)), rate, dtype=np.float64)
    return weights - moved


def descended(weights, gradient, rate, steps, master, update):
    weights = weights.astype(master)
    for _ in range(steps):
        found = gradient(weights.astype(np.float16))
        weights = (weights - (np.float32(rate) * found.astype(np.float32)).astype(update)).astype(
            master
        )
    return weights


MASTER = Exercise(
    function="descend",
    draw=draw_descents,
    reference=collected,
    absolute=1e-10,
    hint="Keep `weights` in float32 for the whole loop. Give the network "
    "`weights.astype(np.float16)`, and turn its gradient into float32 before it meets the rate.",
    properties=(
        Property(
            "every weight has moved",
            lambda result, weights, **_: bool(
                np.all(np.abs(np.asarray(result, np.float64) - weights) > 1e-3 * np.abs(weights))
            ),
            "Some weights stand still. How large is an update, and how far apart are float16's "
            "numbers there?",
        ),
    ),
    mistakes=(
        Mistake(
            "weights in float16",
            "No weight moves. Take one near 1, and one update. What is `np.float16(1) - "
            "np.float16(0.0001)`?",
            gives=lambda weights, gradient, rate, steps: descended(
                weights, gradient, rate, steps, np.float16, np.float32
            ),
        ),
        Mistake(
            "update in float16",
            "The weights near 1 arrive. Those near 0 do not: the rate times a small gradient is "
            "still formed in float16. What is 1e-4 times 1e-4 there?",
            gives=lambda weights, gradient, rate, steps: descended(
                weights, gradient, rate, steps, np.float32, np.float16
            ),
        ),
        Mistake(
            "rounded at last",
            "All updates are collected. But the result is rounded to float16, and what was "
            "collected is lost at the end.",
            gives=lambda weights, gradient, rate, steps: collected(
                weights, gradient, rate, steps
            ).astype(np.float16),
        ),
        Mistake(
            "network in float32",
            "The network must go on computing in float16. Only the weights that are *kept* need "
            "more digits: round a copy for each step.",
            raises="ValueError",
        ),
    ),
)

EXERCISES = {
    "07.lost": LOST,
    "07.rounded": ROUNDED,
    "07.scale": SCALE,
    "07.verdict": VERDICT,
    "07.clipping": CLIPPING,
    "07.master": MASTER,
}

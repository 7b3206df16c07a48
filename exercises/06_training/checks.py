"""What is checked of the exercises of lesson 06, and which mistakes are known."""

import math
from functools import reduce
from io import BytesIO

import numpy as np

from nnunet_lib.course.exercises import Exercise, Mistake, Property
from nnunet_lib.errors import InputError

CALLS = 5

# 06.rates ------------------------------------------------------------------------------------


def draw_records(rng):
    """Runs of a few short epochs, each with one epoch in which the rate was not renewed."""
    calls = []
    for _ in range(CALLS):
        epochs, steps = int(rng.integers(4, 8)), int(rng.integers(3, 9))
        total, base = epochs * steps, float(rng.uniform(0.001, 0.1))
        ends = [steps * (epoch + 1) for epoch in range(epochs)]
        rates = [base * poly((end - 1) / total) for end in ends]
        stuck = int(rng.integers(1, epochs))
        rates[stuck] = rates[stuck - 1]
        records = [
            {"step": step, "learning_rate": rate} for step, rate in zip(ends, rates, strict=True)
        ]
        calls.append({"records": records, "total": total, "base": base})
    return calls


def poly(passed):
    return math.exp(0.9 * math.log(1 - passed)) if passed < 1 else 0.0


def off(factor, ahead=0, scale=True):
    """Differences to a schedule; `ahead` steps too far, or with the base rate left out."""

    def gives(records, total, base):
        return [
            (
                record["learning_rate"]
                - (base if scale else 1.0) * factor((record["step"] - 1 + ahead) / total)
            )
            / base
            for record in records
        ]

    return gives


RATES = Exercise(
    function="astray",
    draw=draw_records,
    reference=off(poly),
    hint="Before step s, s - 1 of `total` steps have passed. poly multiplies the base rate with "
    "(1 - share)^0.9.",
    mistakes=(
        Mistake(
            "a step too far",
            "Nearly. Step 1 is taken with the whole base rate, as nothing has passed before it. "
            "How many steps have been taken before step s?",
            gives=off(poly, ahead=1),
        ),
        Mistake(
            "straight line",
            "The share that has passed is right. Your rate falls in a straight line: what does "
            "poly do with the share that is left?",
            gives=off(lambda passed: 1 - passed),
        ),
        Mistake(
            "power of the wrong share",
            "The power belongs to the share of training that is *left*, not to the one that has "
            "passed.",
            gives=off(lambda passed: 1 - passed**0.9),
        ),
        Mistake(
            "base rate",
            "The schedule's factor is right: 1 at first, and then less. It is what the base rate "
            "is multiplied with.",
            gives=off(poly, scale=False),
        ),
        Mistake(
            "rises",
            "Your rate grows while training passes. What is to be raised to a power is what is "
            "left of training.",
            gives=off(lambda passed: passed**0.9),
        ),
    ),
)

# 06.loop -------------------------------------------------------------------------------------


def differentiate(weights, batch):
    """The gradient of half the squared distance between image · weights and label."""
    image, label = batch
    return image.T @ (image @ weights - label)


def draw_trainings(rng):
    """Batches with far too long gradients among quiet ones; last, one batch over and over."""
    calls = []
    for _ in range(CALLS - 1):
        batches = []
        for loud in (False, True, False, False, True, False):
            image = 0.3 * rng.normal(size=(5, 4))
            scale = 300 if loud else 0.5
            batches.append((image, image @ rng.normal(size=4) + rng.choice([-1, 1]) * scale))
        calls.append(training_on(rng, batches))
    image = np.linalg.qr(rng.normal(size=(6, 4)))[0]  # so that all directions are learned alike
    one = (image, image @ (rng.choice([-1, 1], 4) * rng.uniform(3, 6, 4)))
    calls.append(training_on(rng, [one] * 80))
    return calls


def training_on(rng, batches):
    return {
        "weights": rng.normal(size=4),
        "batches": batches,
        "differentiate": differentiate,
        "rate": float(rng.uniform(0.2, 0.3)),
        "longest": float(rng.uniform(4, 6)),
    }


def shrink(gradient, longest):
    return gradient * min(1.0, longest / math.sqrt(float(gradient @ gradient)))


def trained(clip=shrink, sign=-1):
    """The loop as a fold over the batches."""

    def gives(weights, batches, differentiate, rate, longest):
        return reduce(
            lambda now, batch: now + sign * rate * clip(differentiate(now, batch), longest),
            batches,
            weights,
        )

    return gives


def from_the_first(weights, batches, differentiate, rate, longest):
    return weights - rate * sum(shrink(differentiate(weights, batch), longest) for batch in batches)


def one_step(weights, batches, differentiate, rate, longest):
    return trained()(weights, batches[:1], differentiate, rate, longest)


def learned_by_heart(result, weights, batches, differentiate, rate, longest):
    if any(batch is not batches[0] for batch in batches):
        return True
    image, label = batches[0]
    before, after = (np.sum((image @ each - label) ** 2) for each in (weights, result))
    return after < 1e-4 * before


LOOP = Exercise(
    function="train",
    draw=draw_trainings,
    reference=trained(),
    relative=1e-3,
    absolute=1e-5,
    hint="`for batch in batches:` differentiate; `length = np.linalg.norm(gradient)`; if that is "
    "above `longest`, multiply the gradient with `longest / length`; `weights = weights - ...`.",
    properties=(
        Property(
            "the weights keep their shape",
            lambda result, weights, batches, differentiate, rate, longest: (
                result.shape == weights.shape
            ),
            "Return the weights after the last batch: one array of the shape that you were given.",
        ),
        Property(
            "one batch, given again and again, is learned by heart",
            learned_by_heart,
            "Your loop cannot overfit a single batch. Does the gradient arrive, with the right "
            "sign, and for the weights as they are now?",
        ),
    ),
    mistakes=(
        Mistake(
            "uphill",
            "You follow the gradient, and so the loss grows. The gradient points to where the loss "
            "rises fastest.",
            gives=trained(sign=1),
        ),
        Mistake(
            "first weights",
            "All your gradients are taken at the first weights. After each step the weights are "
            "others, and so is the gradient.",
            gives=from_the_first,
        ),
        Mistake(
            "one step",
            "Your function has done one step when it returns. Where does the `return` stand?",
            gives=one_step,
        ),
        Mistake(
            "each number clipped",
            "You cut off each number of the gradient by itself, which turns it to another "
            "direction. Shrink all of it by one factor.",
            gives=trained(lambda gradient, longest: np.clip(gradient, -longest, longest)),
        ),
        Mistake(
            "not clipped",
            "The loop is right for gradients that are short enough. What about those that are "
            "longer than `longest`?",
            gives=trained(lambda gradient, longest: gradient),
        ),
        Mistake(
            "always that long",
            "Long gradients are right. Short ones you stretch to the same length: then the loop "
            "can never settle. They should stay as they are.",
            gives=trained(lambda gradient, longest: gradient * longest / np.linalg.norm(gradient)),
        ),
    ),
)

# 06.adam -------------------------------------------------------------------------------------


def draw_gradients(rng):
    """Noise around a slope; the weights' gradients have very different sizes.

    None is so small that it matters where in the fraction epsilon stands, but under the root.
    """
    calls = []
    for _ in range(CALLS):
        sizes = rng.permutation([0.1, 10.0, 1e3]) * rng.uniform(0.8, 1.2, 3)
        slopes = rng.choice([-1, 1], 3) * rng.uniform(1, 2, 3)
        noise = np.clip(rng.normal(size=(int(rng.integers(6, 10)), 3)), -1, 1)
        rate = float(rng.uniform(0.3, 0.9))
        calls.append({"gradients": sizes * (slopes + 0.5 * noise), "rate": rate})
    return calls


def as_means(gradients, rate):
    """m and v as weighted means of all gradients so far, whose weights sum to one."""
    path, weights = [], np.zeros(gradients.shape[1])
    for t in range(1, len(gradients) + 1):
        age = np.arange(t)[::-1]
        m = np.average(gradients[:t], axis=0, weights=0.9**age)
        v = np.average(gradients[:t] ** 2, axis=0, weights=0.999**age)
        weights = weights - rate * m / (np.sqrt(v) + 1e-7 / math.sqrt(1 - 0.999**t))
        path.append(weights)
    return np.array(path).tolist()  # a list fits arrays, too


def steps(move, first=0.9, second=0.999, power=2):
    """The formula's loop, with `move(m, v, t)` for what the rate is multiplied with."""

    def gives(gradients, rate):
        m, v, path = 0.0, 0.0, [np.zeros(gradients.shape[1])]
        with np.errstate(invalid="ignore"):
            for t, gradient in enumerate(gradients, start=1):
                m = first * m + (1 - first) * gradient
                v = second * v + (1 - second) * gradient**power
                path.append(path[-1] - rate * move(m, v, t))
        return np.array(path[1:]).tolist()

    return gives


def correction(t):
    return math.sqrt(1 - 0.999**t) / (1 - 0.9**t)


COUNTED_FROM_0 = "`t` is 1 in the first update. With 0 the fraction divides by nothing."

ADAM = Exercise(
    function="adam",
    draw=draw_gradients,
    reference=as_means,
    relative=1e-4,
    absolute=1e-5,
    hint="Keep m, v and the weights as arrays of zeros. Go through "
    "`enumerate(gradients, start=1)`, and write the three formulas in this order. Collect the "
    "weights after each update in a list.",
    properties=(
        Property(
            "there are the weights after each update",
            lambda result, gradients, rate: np.shape(result) == gradients.shape,
            "Return an array with a row for each update, of as many numbers as there are weights.",
        ),
    ),
    mistakes=(
        Mistake(
            "counted from 0",
            COUNTED_FROM_0,
            raises="ZeroDivisionError",
        ),
        Mistake(
            "counted from 0, in NumPy",
            COUNTED_FROM_0 + " NumPy does not stop there: 0 / 0 is NaN (no number), and so is all "
            "that is computed with it.",
            gives=lambda gradients, rate: np.full(gradients.shape, np.nan).tolist(),
        ),
        Mistake(
            "one array",
            "Your rows are all equal: they are one array, which `-=` goes on changing. Note a copy "
            "of it, or make a new array in each update.",
            gives=lambda gradients, rate: as_means(gradients, rate)[-1:] * len(gradients),
        ),
        Mistake(
            "no correction",
            "m and v are right. What is missing is the fraction in front: they start at 0, and are "
            "too small at first.",
            gives=steps(lambda m, v, t: m / (np.sqrt(v) + 1e-7)),
        ),
        Mistake(
            "only m corrected",
            "You make up for m's start at 0, and not for v's: the fraction has a numerator, too.",
            gives=steps(lambda m, v, t: m / (1 - 0.9**t) / (np.sqrt(v) + 1e-7)),
        ),
        Mistake(
            "not squared",
            "v remembers the gradient's *square*. Without it there is a root of negative numbers.",
            gives=steps(lambda m, v, t: correction(t) * m / (np.sqrt(v) + 1e-7), power=1),
        ),
        Mistake(
            "no root",
            "You divide by v, which has the gradient's unit squared: small gradients then make "
            "giant steps.",
            gives=steps(lambda m, v, t: correction(t) * m / (v + 1e-7)),
        ),
        Mistake(
            "epsilon under the root",
            "Nearly. Epsilon is added *after* the root. Under it, it drowns the small gradients.",
            gives=steps(lambda m, v, t: correction(t) * m / np.sqrt(v + 1e-7)),
        ),
        Mistake(
            "gradient for m",
            "You divide the gradient itself, and m is never used: then each batch's noise goes "
            "straight into the weights.",
            gives=lambda gradients, rate: steps_of_gradients(gradients, rate),
        ),
    ),
)


def steps_of_gradients(gradients, rate):
    """As if the first beta were 0, but with its correction."""
    v, weights, path = 0.0, 0.0, []
    for t, gradient in enumerate(gradients, start=1):
        v = 0.999 * v + 0.001 * gradient**2
        weights = weights - rate * correction(t) * gradient / (np.sqrt(v) + 1e-7)
        path.append(weights)
    return np.array(path).tolist()


# 06.curve ------------------------------------------------------------------------------------

WORDS = ("not learning", "unfinished", "overfitting", "remembering")


def draw_curves(rng):
    """Each kind at least once, with a dip in the held-out loss before its lowest point.

    Where a run is "stuck", it learns nothing, and the held-out loss rises nevertheless. After a
    "hump" the held-out loss comes back, and so falls in its last step. Losses that overfit are
    small, others may be large. A run with a "dip" or a "peak" in its seen losses learns nothing,
    though it may look as if it did.
    """
    kinds = [*WORDS, "overfitting", "high", "stuck", "hump", "dip", "peak"]
    return [draw_curve(rng, kind) for kind in rng.permutation(kinds)]


FLAT = ("not learning", "dip", "peak", "stuck")


def draw_curve(rng, kind):
    length = int(rng.integers(12, 17))
    seen, held_out = draw_seen(rng, kind, length), draw_held_out(rng, kind, length)
    size = {"remembering": rng.uniform(5, 9), "overfitting": rng.uniform(0.05, 0.08)}.get(kind, 1.0)
    return {"seen": (size * seen).tolist(), "held_out": (size * held_out).tolist()}


def draw_seen(rng, kind, length):
    low, high = (0.15, 0.3) if kind == "remembering" else (0.5, 0.7)
    drop = 0.03 if kind in FLAT else rng.uniform(low, high)
    seen = rng.uniform(1.2, 1.6) * (1 - drop * np.linspace(0, 1, length))
    seen[1:-1] *= rng.uniform(0.98, 1.02, length - 2)
    seen[4] *= {"dip": 0.8, "peak": 1.2}.get(kind, 1.0)
    return seen


def draw_held_out(rng, kind, length):
    best = length - 1 if kind in ("unfinished", *FLAT[:3]) else int(rng.integers(6, 9))
    points = np.arange(length)
    falling = 1.0 - 0.06 * np.minimum(points, best)
    rise = {
        "overfitting": rng.uniform(0.08, 0.15),
        "stuck": 0.4,
        "remembering": 0.03,
        "high": 1.2,
    }.get(kind, 0.01)
    rising = rise * falling[best] * np.maximum(points - best, 0) / max(length - 1 - best, 1)
    held_out = rng.uniform(1.2, 1.5) * (falling + rising)
    held_out[2] *= 0.85  # a dip that does not last, and is not the lowest
    held_out[-3:-1] *= 1.2 if kind == "hump" else 1.0
    return held_out


def reading(seen, held_out, best=None, words=WORDS, **others):
    """The table; `others` are rules that are put in the place of the right ones."""
    best = int(np.argmin(held_out)) if best is None else best
    fits = {
        "not learning": seen[-1] / seen[0] > 0.9,
        "unfinished": best + 1 == len(held_out),
        "overfitting": held_out[-1] / held_out[best] > 1.05,
        "remembering": True,
        **others,
    }
    return next(word for word in words if fits[word]), best


def overfits(rule):
    """A mistake in nothing but the rule for overfitting, which takes the held-out losses."""
    return lambda seen, held_out: reading(seen, held_out, overfitting=rule(held_out))


def stands_still(rule):
    """A mistake in nothing but the rule for "not learning", which takes the seen losses."""
    return lambda seen, held_out: reading(seen, held_out, **{"not learning": rule(seen)})


def goes_on(rule):
    """A mistake in nothing but the rule for "unfinished", which takes the held-out losses."""
    return lambda seen, held_out: reading(seen, held_out, unfinished=rule(held_out))


def in_order(*words):
    """A mistake in nothing but the order of the rules."""
    return lambda seen, held_out: reading(seen, held_out, words=(*words, "remembering"))


_ORDER = (
    "The points are right, and so is each rule by itself. More than one may fit: the first of the "
    "list counts."
)

SEEN_ENDS = (
    'The points are right. For "not learning", compare the *last* seen loss with the *first* '
    "one. The lowest and the highest may be noise somewhere between."
)

CURVE = Exercise(
    function="read_curve",
    draw=draw_curves,
    reference=lambda seen, held_out: reading(seen, held_out),
    hint="`held_out.index(min(held_out))` is the best point. Then four lines, in the order of the "
    "list: if ... return, if ... return, if ... return, return.",
    properties=(
        Property(
            "the word is one of the four",
            lambda result, seen, held_out: result[0] in WORDS,
            "Give a word of the list, written as there, and then the point.",
        ),
        Property(
            "the point is that of the lowest held-out loss",
            lambda result, seen, held_out: held_out[result[1]] == min(held_out),
            "Your second value is not the point with the lowest held-out loss, counted from 0.",
        ),
    ),
    mistakes=(
        Mistake(
            "seen losses",
            "You look for the lowest *seen* loss, and that is nearly always the last: a network "
            "goes on learning its own cases by heart. Only held-out cases tell when to stop.",
            gives=lambda seen, held_out: reading(seen, held_out, best=int(np.argmin(seen))),
        ),
        Mistake(
            "first rise",
            "You stop where the held-out loss rises for the first time. Curves are noisy: look at "
            "all points, and take the lowest.",
            gives=lambda seen, held_out: reading(
                seen, held_out, best=int(np.append(np.diff(held_out) > 0, True).argmax())
            ),
        ),
        Mistake(
            "highest",
            "Your point is the one with the *highest* held-out loss. These are losses, not Dice.",
            gives=lambda seen, held_out: reading(seen, held_out, best=int(np.argmax(held_out))),
        ),
        Mistake(
            "against the first",
            "The points are right. You compare the last held-out loss with the first one. A run "
            "may overfit for long before it is as bad as at its start.",
            gives=overfits(lambda losses: losses[-1] / losses[0] > 1.05),
        ),
        Mistake(
            "absolute rise",
            "The points are right. But 0.05 is much where losses are small, and nothing where they "
            "are large: the rule speaks of 1.05 *times* the lowest loss.",
            gives=overfits(lambda losses: losses[-1] - min(losses) > 0.05),
        ),
        Mistake(
            "any later point",
            "The points are right. You call it overfitting if *any* point after the best one is "
            "too high. The loss may come back: the rule asks for the last point.",
            gives=overfits(lambda losses: max(losses[np.argmin(losses) :]) > 1.05 * min(losses)),
        ),
        Mistake(
            "any point",
            "The points are right. You call it overfitting if *any* point is too high, and at its "
            "start each run is. The rule asks for the last point.",
            gives=overfits(lambda losses: max(losses) > 1.05 * min(losses)),
        ),
        Mistake(
            "falls at the end",
            "The points are right. You call it unfinished if the held-out loss fell in its last "
            "step. Curves are noisy: the rule asks whether the last point is the lowest of all.",
            gives=goes_on(lambda losses: losses[-1] < losses[-2]),
        ),
        Mistake(
            "lowest and highest seen",
            SEEN_ENDS,
            gives=stands_still(lambda losses: min(losses) > 0.9 * max(losses)),
        ),
        Mistake(
            "lowest seen",
            SEEN_ENDS,
            gives=stands_still(lambda losses: min(losses) > 0.9 * losses[0]),
        ),
        Mistake(
            "highest seen",
            SEEN_ENDS,
            gives=stands_still(lambda losses: losses[-1] > 0.9 * max(losses)),
        ),
        Mistake(
            "another order",
            _ORDER,
            gives=in_order("overfitting", "unfinished", "not learning"),
        ),
        Mistake(
            "overfitting first",
            _ORDER,
            gives=in_order("overfitting", "not learning", "unfinished"),
        ),
        Mistake(
            "unfinished first",
            _ORDER,
            gives=in_order("unfinished", "not learning", "overfitting"),
        ),
        Mistake(
            "counted from 1",
            "The words are right. Points count from 0.",
            gives=lambda seen, held_out: (
                reading(seen, held_out)[0],
                reading(seen, held_out)[1] + 1,
            ),
        ),
    ),
)

# 06.resume -----------------------------------------------------------------------------------


def draw_runs(rng):
    """A run over all batches, cut off somewhere in the middle, when it is well under way."""
    calls = []
    for _ in range(CALLS):
        total = int(rng.integers(12, 20))
        weights, other, target = rng.choice([-1, 1], (3, 4)) * rng.uniform(2, 4, (3, 4))
        calls.append(
            {
                "weights": weights,
                "other": other,
                "noise": 0.3 * rng.normal(size=(total, 4)) - target,
                "rate": float(rng.uniform(0.1, 0.2)),
                "stop": int(rng.integers(4, total - 4)),
            }
        )
    return calls


def cut_off(function, weights, other, noise, rate, stop):
    """In the learner's process: train, save, make a new trainer, go on; the last weights.

    The gradient of each step is weights + noise.
    """
    trainer = function(weights, rate, len(noise))
    for row in noise[:stop]:
        trainer.step(trainer.weights + row)
    file, checkpoint = BytesIO(), trainer.checkpoint()
    if checkpoint is None:
        raise InputError("None as its checkpoint")
    np.savez(file, **checkpoint)
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        saved = dict(archive)
    trainer = function(other, rate, len(noise))
    trainer.resume(saved)
    for row in noise[stop:]:
        trainer.step(trainer.weights + row)
    return trainer.weights


def uninterrupted(weights, other, noise, rate, stop):
    """Without a momentum: each step goes on by 0.9 of the one before."""
    before = now = weights
    for taken, row in enumerate(noise):
        slower = rate * (len(noise) - taken) / len(noise)
        before, now = now, now + 0.9 * (now - before) - slower * (now + row)
    return now


def forgetful(*forgotten):
    """A run that at its resumption forgets some of weights, momentum and taken."""

    def gives(weights, other, noise, rate, stop):
        state = {"weights": weights, "momentum": 0 * weights, "taken": 0}
        fresh = {"weights": other, "momentum": 0 * weights, "taken": 0}
        for number, row in enumerate(noise):
            if number == stop:
                state |= {name: fresh[name] for name in forgotten}
            slower = rate * (1 - state["taken"] / len(noise))
            state["momentum"] = 0.9 * state["momentum"] - slower * (state["weights"] + row)
            state["weights"] = state["weights"] + state["momentum"]
            state["taken"] += 1
        return state["weights"]

    return gives


RESUME = Exercise(
    function="Trainer",
    draw=draw_runs,
    reference=uninterrupted,
    probe=cut_off,
    hint="`step` changes three attributes. Which of them are in the checkpoint, and which does "
    "`resume` read from it?",
    mistakes=(
        Mistake(
            "momentum forgotten",
            "The resumed run starts at the right weights, with the right rate, and then goes "
            "another way. What did the trainer know before the power cut that it does not now?",
            gives=forgetful("momentum"),
        ),
        Mistake(
            "steps forgotten",
            "Weights and momentum are right when the run goes on, but its rate is not: it begins "
            "at the top of the schedule again.",
            gives=forgetful("taken"),
        ),
        Mistake(
            "weights alone",
            "Only the weights come back. A run that goes on needs all that its next step depends "
            "on.",
            gives=forgetful("momentum", "taken"),
        ),
        Mistake(
            "weights forgotten",
            "The resumed run goes on from its own first weights: `resume` does not take those of "
            "the checkpoint.",
            gives=forgetful("weights"),
        ),
        Mistake(
            "read but not saved",
            "`resume` asks for something that the checkpoint does not hold. The two must name the "
            "same things.",
            raises="KeyError",
        ),
    ),
)

# 06.folds ------------------------------------------------------------------------------------


def draw_patients(rng):
    """Numbers of patients that cannot be cut into equal folds; a third come again and again.

    So folds that are even in patients are not so in scans.
    """
    calls = []
    for folds in rng.permutation([3, 4, 5, 6, 7]).tolist():
        number = 15 // folds * folds + int(rng.integers(1, folds))
        patients = [f"P{number}" for number in rng.choice(900, number, replace=False)]
        often = number // 3
        visits = rng.permutation([*rng.integers(5, 9, often), *rng.integers(1, 3, number - often)])
        scans = [
            (f"{patient}_{visit}", patient)
            for patient, times in zip(patients, visits, strict=True)
            for visit in range(times)
        ]
        rng.shuffle(scans)
        seed = int(rng.integers(1000))
        calls.append({"scans": dict(scans), "folds": folds, "seed": seed})
    return calls


FACTS = {
    "there is a list for each fold": "Give a list of as many lists of scans as there are folds.",
    "each scan is held out by exactly one fold": (
        "Count how often each scan occurs in all your lists together. It should be once."
    ),
    "the scans of a patient are held out together": (
        "Every scan is held out once. But ask of each held-out scan whether the network has met "
        "its patient in training."
    ),
    "two folds differ by one patient at most": (
        "Patients stay together now, but some folds hold out many more of them than others. "
        "`np.array_split` makes parts that are as even as can be."
    ),
    "the same seed gives the same folds": (
        "Called twice with one seed, your function gives two answers. All chance must come from "
        "the generator that the seed makes."
    ),
    "the order in which scans are listed does not matter": (
        "List the same scans in another order, and your folds are others. A shuffle starts from an "
        "order: which one does yours start from?"
    ),
    "another seed gives other folds": (
        "Your folds are the same for every seed. Does the shuffle happen at all?"
    ),
}


def facts_of(function, scans, folds, seed):
    """In the learner's process: which of the facts hold of the folds."""
    parts = function(dict(scans), folds, seed)
    held = [is_list_of_lists(parts, folds)]
    if held[0]:
        held += [
            sorted(scan for part in parts for scan in part) == sorted(scans),
            *fair(scans, parts),
            *repeatable(function, scans, folds, seed, as_sets(parts)),
        ]
    held += [False] * (len(FACTS) - len(held))
    return dict(zip(FACTS, held, strict=True))


def is_list_of_lists(parts, folds):
    kinds = (list, tuple, set, np.ndarray)
    return (
        isinstance(parts, kinds)
        and len(parts) == folds
        and all(isinstance(part, kinds) for part in parts)
    )


def fair(scans, parts):
    patients = [{scans.get(scan) for scan in part} for part in parts]
    numbers = [len(some) for some in patients]
    together = sum(numbers) == len(set(scans.values()))
    return together, max(numbers) - min(numbers) <= 1


def repeatable(function, scans, folds, seed, first):
    backwards = dict(reversed(list(scans.items())))
    return (
        as_sets(function(dict(scans), folds, seed)) == first,
        as_sets(function(backwards, folds, seed)) == first,
        as_sets(function(dict(scans), folds, seed + 1)) != first,
    )


def as_sets(parts):
    return [set(part) for part in parts]


FOLDS_EXERCISE = Exercise(
    function="split",
    draw=draw_patients,
    reference=lambda scans, folds, seed: dict.fromkeys(FACTS, True),
    probe=facts_of,
    hint="What is shuffled and cut into parts should be the sorted list of patients. A fold then "
    "holds out each scan whose patient is in its part.",
    properties=tuple(
        Property(
            name,
            lambda result, scans, folds, seed, name=name: result[name],
            words,
        )
        for name, words in FACTS.items()
    ),
)

EXERCISES = {
    "06.rates": RATES,
    "06.loop": LOOP,
    "06.adam": ADAM,
    "06.curve": CURVE,
    "06.resume": RESUME,
    "06.folds": FOLDS_EXERCISE,
}

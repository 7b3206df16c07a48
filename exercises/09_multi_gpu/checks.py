"""What is checked of the exercises of lesson 09, and which mistakes are known."""

import numpy as np

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5

# 09.gain -------------------------------------------------------------------------------------


def draw_costs(rng):
    """Latency and bandwidth cost about as much as each other, and together about a step."""
    calls = []
    for ranks in rng.permutation([2, 3, 4, 6, 8]):
        step = rng.uniform(0.1, 0.5)
        size = float(rng.integers(5, 50)) * 1e6
        calls.append(
            {
                "ranks": int(ranks),
                "step": step,
                "size": size,
                "latency": step * rng.uniform(0.05, 0.1),
                "bandwidth": size / step * rng.uniform(2, 5),
            }
        )
    return calls


def gain_of(ranks, step, exchange):
    return ranks / (1 + exchange / step)


def ring_seconds(ranks, step, size, latency, bandwidth):
    """Step by step."""
    seconds = 0.0
    for _ in range(2):
        for _ in range(ranks - 1):
            seconds += latency + size / ranks / bandwidth
    return gain_of(ranks, step, seconds)


GAIN = Exercise(
    function="gain",
    draw=draw_costs,
    reference=ring_seconds,
    hint="One of the ring's steps takes latency + (size / ranks) / bandwidth. How many are there?",
    mistakes=(
        Mistake(
            "half a ring",
            "That is the time until the sums are made. After that they have to be handed round, in "
            "as many steps again.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, (ranks - 1) * (latency + size / ranks / bandwidth)
            ),
        ),
        Mistake(
            "whole tensor",
            "In each of the ring's steps a rank sends one chunk, not all of its tensor.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, 2 * (ranks - 1) * (latency + size / bandwidth)
            ),
        ),
        Mistake(
            "one latency",
            "What is moved is right. But each of the ring's steps waits for the latency, not "
            "only the first.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, latency + 2 * (ranks - 1) * size / ranks / bandwidth
            ),
        ),
        Mistake(
            "no latency",
            "What is moved is right. But before anything moves there is the latency, in each of "
            "the ring's steps.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, 2 * (ranks - 1) * size / ranks / bandwidth
            ),
        ),
        Mistake(
            "latency shared",
            "A chunk is an N-th of the tensor, and the latency does not shrink with it. Look at "
            "what your fraction line covers.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, 2 * (ranks - 1) * (latency + size / bandwidth) / ranks
            ),
        ),
        Mistake(
            "one step more",
            "After N - 1 steps a chunk has been to all ranks: it does not have to come home. Count "
            "again for a ring of 2.",
            gives=lambda ranks, step, size, latency, bandwidth: gain_of(
                ranks, step, 2 * ranks * (latency + size / ranks / bandwidth)
            ),
        ),
    ),
)

# 09.start ------------------------------------------------------------------------------------


def draw_ranks(rng):
    return [
        {
            "drawn": list(rng.normal(size=(ranks, 4))),
            "gradients": [list(rng.normal(size=(ranks, 4))) for _ in range(rng.integers(2, 5))],
            "rate": rng.uniform(0.1, 0.5),
        }
        for ranks in (2, 3, 4, 5)
    ]


def moved(starts, gradients, rate, times=1):
    """All steps at once: the sum of the means."""
    way = rate * times * np.mean(gradients, axis=1).sum(axis=0)
    return [(start - way).tolist() for start in starts]


START = Exercise(
    function="train",
    draw=draw_ranks,
    reference=lambda drawn, gradients, rate: moved([drawn[0]] * len(drawn), gradients, rate),
    hint="A list with drawn[0].copy() for each rank.",
    properties=(
        Property(
            "all ranks end with equal weights",
            lambda result, drawn, gradients, rate: all(
                np.array_equal(one, result[0]) for one in result
            ),
            "Equal steps from different places end in different places.",
        ),
        Property(
            "there are as many weights as ranks",
            lambda result, drawn, gradients, rate: len(result) == len(drawn),
            "Each rank has the whole network: one array a rank.",
        ),
    ),
    mistakes=(
        Mistake(
            "one array",
            "All of your ranks hold the *same* array, and each changes it: one step counts as "
            "often as there are ranks. Real ranks have memory of their own.",
            gives=lambda drawn, gradients, rate: moved(
                [drawn[0]] * len(drawn), gradients, rate, times=len(drawn)
            ),
        ),
        Mistake(
            "no broadcast",
            "Each rank goes on from the weights that it drew itself. They make the same steps, and "
            "stay as far apart as they were.",
            gives=lambda drawn, gradients, rate: moved(drawn, gradients, rate),
        ),
        Mistake(
            "mean of weights",
            "Equal they are. But a broadcast does not average: rank 0 sends what it has, and that "
            "may come from a checkpoint.",
            gives=lambda drawn, gradients, rate: moved(
                [np.mean(drawn, axis=0)] * len(drawn), gradients, rate
            ),
        ),
        Mistake(
            "last rank",
            "Equal they are, but you took the weights of the last rank. Rank 0 is the one that "
            "has read the checkpoint.",
            gives=lambda drawn, gradients, rate: moved([drawn[-1]] * len(drawn), gradients, rate),
        ),
    ),
)

# 09.dice -------------------------------------------------------------------------------------


def draw_parts(rng):
    """Ranks with much foreground, with little, and in the last call with none."""
    calls = []
    for call in range(CALLS):
        shares = rng.permutation([0.6, 0.2, 0.0 if call == CALLS - 1 else 0.04])
        targets = [rng.permutation(np.arange(60) < 60 * s).astype(float) for s in shares]
        calls.append(
            {
                "probabilities": [0.05 + 0.8 * t * rng.uniform(size=60) for t in targets],
                "targets": targets,
            }
        )
    return calls


def dice_of(probability, target):
    return 2 * (probability * target).sum() / (probability.sum() + target.sum())


def of_all(probabilities, targets):
    """By bringing all voxels to one place."""
    return dice_of(np.concatenate(probabilities), np.concatenate(targets))


def of_each(probabilities, targets):
    return [dice_of(p, t) for p, t in zip(probabilities, targets, strict=True)]


def by_foreground(probabilities, targets):
    return np.average(of_each(probabilities, targets), weights=[t.sum() for t in targets])


def of_products(probabilities, targets):
    """The product of the ranks' sums, for the sum of the products."""
    p, t = np.sum(probabilities, axis=0), np.sum(targets, axis=0)
    return dice_of(p, t)


DICE = Exercise(
    function="batch_dice",
    draw=draw_parts,
    reference=of_all,
    hint="Work out two sums on each rank: of p · t, and of p + t. Add each of them up over all "
    "ranks. Divide once, at the end.",
    mistakes=(
        Mistake(
            "mean of ranks",
            "You average the ranks' Dice, so that a rank with ten voxels of foreground counts as "
            "much as one with a thousand. Dice is no mean: what can be added up over ranks?",
            gives=lambda probabilities, targets: np.mean(of_each(probabilities, targets)),
        ),
        Mistake(
            "weighted mean",
            "Nearly: you weigh the ranks' Dice by their foreground. The right weights would be the "
            "denominators. It is simpler to share the sums, and divide afterwards.",
            gives=by_foreground,
        ),
        Mistake(
            "without two",
            "The sums are right. A perfect prediction must get 1: try your formula with p = t.",
            gives=lambda probabilities, targets: of_all(probabilities, targets) / 2,
        ),
        Mistake(
            "first rank",
            "That is the Dice of rank 0. The others have a part of the batch as well.",
            gives=lambda probabilities, targets: dice_of(probabilities[0], targets[0]),
        ),
        Mistake(
            "arrays added",
            "You add the ranks' arrays before you multiply. Then one rank's probabilities meet "
            "another one's targets: first multiply on each rank, then add.",
            gives=of_products,
        ),
    ),
)

# 09.ring -------------------------------------------------------------------------------------


def draw_tensors(rng):
    return [{"tensors": rng.normal(size=(size, size))} for size in (2, 3, 4, 5)]


def ring_states(tensors, shift=1, direction=1, add=(True, False), phases=2):
    """From the receiver's side, all ranks at once: which chunk comes from the one before."""
    size = len(tensors)
    states = [tensors]
    receivers = np.arange(size)
    for phase in range(phases):
        for step in range(size - 1):
            now = states[-1]
            senders = (receivers - direction) % size
            chunks = (senders + (shift if phase else 0) - step) % size
            after = now.copy()
            after[receivers, chunks] = now[senders, chunks] + (
                now[receivers, chunks] if add[phase] else 0
            )
            states.append(after)
    return np.array(states[1:]).tolist()  # compared with lists and arrays alike


RING = Exercise(
    function="ring",
    draw=draw_tensors,
    reference=ring_states,
    hint="For each step: for each rank work out `chunk` and the receiver, (rank + 1) % N, and take "
    "what is sent from a copy of the state before the step. Then note a copy of the new state.",
    properties=(
        Property(
            "there are 2 (N - 1) states",
            lambda result, tensors: len(result) == 2 * (len(tensors) - 1),
            "N - 1 steps add, and N - 1 steps hand round. Note the state after each of them, and "
            "not before the first.",
        ),
        Property(
            "at the end every rank has the sum",
            lambda result, tensors: np.allclose(result[-1], np.sum(tensors, axis=0)),
            "Print the last state beside `tensors.sum(axis=0)`: which chunks are wrong, and in "
            "which step did they come?",
        ),
        Property(
            "in each step every rank receives one chunk",
            lambda result, tensors: bool(
                np.all((np.diff([tensors, *result], axis=0) != 0).sum(axis=2) == 1)
            ),
            "In a step each rank gets just one chunk, and nothing else changes.",
        ),
    ),
    mistakes=(
        Mistake(
            "one array",
            "All of your states are equal: they are one array, which you change further. Note a "
            "copy of it.",
            gives=lambda tensors: [ring_states(tensors)[-1]] * (2 * len(tensors) - 2),
        ),
        Mistake(
            "adds twice",
            "The first phase is right. In the second one the chunks are finished: adding one to "
            "another counts numbers twice. Replace.",
            gives=lambda tensors: ring_states(tensors, add=(True, True)),
        ),
        Mistake(
            "never adds",
            "Chunks travel round the ring, but nobody adds. In the first phase a receiver adds "
            "what it gets to what it has.",
            gives=lambda tensors: ring_states(tensors, add=(False, False)),
        ),
        Mistake(
            "same chunks again",
            "The first phase is right. Which chunk is finished on rank r after it? It is that one "
            "which r must send first.",
            gives=lambda tensors: ring_states(tensors, shift=0),
        ),
        Mistake(
            "other way round",
            "Your ring runs backwards. Rank r sends to rank r + 1.",
            gives=lambda tensors: ring_states(tensors, direction=-1),
        ),
        Mistake(
            "first phase only",
            "After these steps each rank holds one chunk of the sum. They still have to be handed "
            "round.",
            gives=lambda tensors: ring_states(tensors, phases=1),
        ),
    ),
)

# 09.rate -------------------------------------------------------------------------------------


def draw_progress(rng):
    """Before, within and after the warm-up."""
    calls = []
    for part in (0.0, 0.3, 0.7, 2.0, 8.0):
        warmup = rng.uniform(0.05, 0.1)
        calls.append(
            {
                "progress": part * warmup * rng.uniform(0.9, 1.1),
                "base": rng.uniform(1e-3, 1e-2),
                "ranks": int(rng.integers(3, 9)),
                "warmup": warmup,
            }
        )
    return calls


def rate_of(progress, base, ranks, warmup, first=1.0, top=None):
    """By interpolation of the factor, from `first` at the start to `top` after the warm-up."""
    factor = np.interp(progress, [0, warmup], [first, ranks if top is None else top])
    return factor * base * (1 - progress) ** 0.9


RATE = Exercise(
    function="rate",
    draw=draw_progress,
    reference=rate_of,
    absolute=1e-9,
    hint="Print the rate of 1 rank and of 8 ranks after the warm-up. By which factor should they "
    "differ, and where in the code does `ranks` occur?",
    mistakes=(
        Mistake(
            "not scaled",
            "Call it with 1 rank and with 8, half-way through the training. What do you see? And "
            "what should a warm-up climb to?",
            gives=lambda **inputs: rate_of(**inputs, top=1.0),
        ),
        Mistake(
            "square root",
            "The square root is for Adam, say some. Here the *linear* rule is asked for.",
            gives=lambda progress, base, ranks, warmup: rate_of(
                progress, base, ranks, warmup, top=ranks**0.5
            ),
        ),
        Mistake(
            "no warm-up",
            "After the warm-up you are right. But the first step has the full rate already, when "
            "the gradient still changes quickly: the rate should begin at `base`.",
            gives=lambda progress, base, ranks, warmup: rate_of(
                progress, base, ranks, warmup, first=ranks
            ),
        ),
        Mistake(
            "from zero",
            "After the warm-up you are right. But it begins at `base`, the rate of one rank, and "
            "not at 0.",
            gives=lambda **inputs: rate_of(**inputs, first=0.0),
        ),
        Mistake(
            "divided",
            "You make the rate smaller with more ranks. Their gradient is the mean of more "
            "patches: it deserves a longer step.",
            gives=lambda progress, base, ranks, warmup: rate_of(
                progress, base, ranks, warmup, top=1 / ranks
            ),
        ),
        Mistake(
            "everything scaled twice",
            "The N-fold of the N-fold: both `base` and `top` have been multiplied.",
            gives=lambda progress, base, ranks, warmup: rate_of(
                progress, base, ranks, warmup, first=ranks, top=ranks**2
            ),
        ),
    ),
)

# 09.agree ------------------------------------------------------------------------------------


def draw_clocks(rng):
    """Rank 0's clock runs between the others': one rank stops sooner, another one later."""
    calls = []
    for _ in range(CALLS):
        ticks = np.arange(1, 13) * 10.0
        late = np.array([0.0, rng.uniform(11, 19), -rng.uniform(11, 19), rng.uniform(-9, 9)])
        clocks = ticks[:, None] + late + 20
        calls.append({"clocks": clocks.tolist(), "limit": 20 + 10.0 * rng.integers(5, 9)})
    return calls


def steps_by(choose, clocks, limit):
    """How many steps begin if `choose` takes from what the ranks read."""
    return int(sum(choose(read) < limit for read in clocks))


def together(choose, everyone=False):
    def what_is_done(clocks, limit):
        steps = steps_by(choose, clocks, limit)
        return [(steps, everyone or rank == 0) for rank in range(len(clocks[0]))]

    return what_is_done


def own_clock(everyone):
    def what_is_done(clocks, limit):
        ranks = np.array(clocks).T
        steps = [int(np.searchsorted(read, limit)) for read in ranks]
        return [(number, everyone or rank == 0) for rank, number in enumerate(steps)]

    return what_is_done


AGREE = Exercise(
    function="work",
    draw=draw_clocks,
    reference=together(lambda read: read[0]),
    hint="`read` holds what all ranks read before this step. Whose entry decides? And which ranks "
    "may write a file?",
    properties=(
        Property(
            "all ranks make the same number of steps",
            lambda result, clocks, limit: len({steps for steps, _ in result}) == 1,
            "A rank that makes a step more than the others waits for them for ever.",
        ),
        Property(
            "one rank writes the checkpoint",
            lambda result, clocks, limit: sum(bool(writes) for _, writes in result) == 1,
            "If several write one file at once, nobody knows what is in it.",
        ),
    ),
    mistakes=(
        Mistake(
            "both faults",
            "Print the result of one call. How many steps does each rank make, and how many of "
            "them write? What happens to the rank that makes the most steps?",
            gives=own_clock(everyone=True),
        ),
        Mistake(
            "own clock",
            "The checkpoint is right now. But each rank still looks at a clock of its own, and "
            "they do not make equally many steps.",
            gives=own_clock(everyone=False),
        ),
        Mistake(
            "all write",
            "They stop together now. But all of them still write to the same file.",
            gives=together(lambda read: read[0], everyone=True),
        ),
        Mistake(
            "first who is late",
            "They stop together, when the first of them sees the limit. That works as well, but "
            "needs an exchange of all clocks. Here rank 0's clock decides.",
            gives=together(max),
        ),
        Mistake(
            "last who is late",
            "They stop together, but only when the last of them sees the limit. Here rank 0's "
            "clock decides.",
            gives=together(min),
        ),
    ),
)

EXERCISES = {
    "09.gain": GAIN,
    "09.start": START,
    "09.dice": DICE,
    "09.ring": RING,
    "09.rate": RATE,
    "09.agree": AGREE,
}

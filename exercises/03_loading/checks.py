"""What is checked of the exercises of lesson 03, and which mistakes are known."""

import itertools
import random as python_random
from collections import Counter

import numpy as np
from scipy.ndimage import gaussian_filter

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5

# 03.equal ------------------------------------------------------------------------------------


def draw_batches(rng):
    """Two loaders' batches: some equal, the others with one fault each, every fault some times.

    The first pair is equal, so that all shapes agree where a comparison is tried first.
    """
    calls = []
    for _ in range(CALLS):
        faults = np.repeat(list(FAULTS), rng.permutation(np.arange(1, len(FAULTS) + 1)))
        one, other = [], []
        for fault in ("none", *rng.permutation(faults)):
            image, label = draw_batch(rng)
            one.append((image, label))
            other.append(FAULTS[fault](image.copy(), label.copy()))
        calls.append({"one": one, "other": other})
    return calls


def draw_batch(rng):
    """The first patch of a batch is also its second, so that broadcasting can hide one."""
    image = rng.normal(size=(1, 2, 3, 4, 1)).astype(np.float32).repeat(2, axis=0)
    label = rng.permutation(np.arange(24, dtype=np.uint8)).reshape(1, 2, 3, 4, 1)
    return image, label.repeat(2, axis=0)


def one_bit(image, label):
    image[0, 0, 0, 0] = np.nextafter(image[0, 0, 0, 0], np.float32(9))
    return image, label


def one_label(image, label):
    label[1, 1, 2, 3] += 1
    return image, label


FAULTS = {
    "none": lambda image, label: (image, label),
    "bit": one_bit,
    "label": one_label,
    "both": lambda image, label: (image + 1, label + 1),
    "image's type": lambda image, label: (image.astype(np.float64), label),
    "label's type": lambda image, label: (image, label.astype(np.int32)),
    "label's sign": lambda image, label: (image, label.astype(np.int8)),
    "place": lambda image, label: (image[:, :, ::-1], label[:, :, ::-1]),
    "shape": lambda image, label: (image[:1], label[:1]),
    "folded": lambda image, label: (image.reshape(2, 3, 2, 4, 1), label.reshape(2, 3, 2, 4, 1)),
}
"""What may be wrong with a batch: an image and a label as they came, and as they should not."""


def described(array):
    return array.shape, array.dtype.str, array.tobytes()


def unequal(one, other, same, parts=(0, 1)):
    """How many pairs of batches differ in one of the parts, as `same` compares two arrays."""
    return sum(
        not all(same(batch[part], twin[part]) for part in parts)
        for batch, twin in zip(one, other, strict=True)
    )


def unequal_in(one, other, same):
    """How many pairs of batches differ, with a comparison for the image and one for the label."""
    return sum(
        not all(alike(a, b) for alike, a, b in zip(same, batch, twin, strict=True))
        for batch, twin in zip(one, other, strict=True)
    )


def same_in_all(a, b):
    return described(a) == described(b)


EQUAL = Exercise(
    function="unequal_batches",
    draw=draw_batches,
    reference=lambda one, other: unequal(one, other, same_in_all),
    hint="np.array_equal(a, b) compares shapes and values. The type is a.dtype. Ask both of the "
    "images *and* of the labels.",
    mistakes=(
        Mistake(
            "images alone",
            "You compare the images. A loader that spoils only the labels would pass: compare them "
            "as well.",
            gives=lambda one, other: unequal(one, other, same_in_all, parts=(0,)),
        ),
        Mistake(
            "images alone, without the type",
            "You compare the images. A loader that spoils only the labels would pass: compare them "
            "as well. Then look at the task once more: there is a third thing besides shape and "
            "values.",
            gives=lambda one, other: unequal(one, other, np.array_equal, parts=(0,)),
        ),
        Mistake(
            "type",
            "Shapes and values are compared. But 1.0 in float64 takes twice the bytes of 1.0 in "
            "float32, and twice the time to move. What do you ask for an array's type?",
            gives=lambda one, other: unequal(one, other, np.array_equal),
        ),
        Mistake(
            "the image's type alone",
            "Shapes, values and the images' types are compared. A label map may have another type, "
            "too: as int32 it takes four times the bytes of uint8. What did you ask of the images?",
            gives=lambda one, other: unequal_in(one, other, (same_in_all, np.array_equal)),
        ),
        Mistake(
            "the label's type alone",
            "Shapes, values and the label maps' types are compared. An image may have another "
            "type, too: as float64 it takes twice the bytes of float32. What did you ask of the "
            "label maps?",
            gives=lambda one, other: unequal_in(one, other, (np.array_equal, same_in_all)),
        ),
        Mistake(
            "nearly",
            "The same work gives the same bits, and you let small differences pass. Which function "
            "compares without a tolerance?",
            gives=lambda one, other: unequal(
                one, other, lambda a, b: a.shape == b.shape and np.allclose(a, b)
            ),
        ),
        Mistake(
            "broadcast",
            "Where two shapes differ, NumPy repeats what has a length of 1, and refuses the rest. "
            "Neither is an answer: such batches differ. Which function compares shapes first?",
            raises="ValueError",
            saying="broadcast",
        ),
        Mistake(
            "array for a truth value",
            "`image == other_image` has a truth value for each voxel, and `and` wants a single "
            "one. Which function compares whole arrays, shapes included?",
            raises="ValueError",
            saying="ambiguous",
        ),
        Mistake(
            "bytes alone",
            "The bytes agree, and yet the arrays may not: the same row of numbers can be folded to "
            "another shape.",
            gives=lambda one, other: unequal(
                one, other, lambda a, b: a.dtype == b.dtype and a.tobytes() == b.tobytes()
            ),
        ),
        Mistake(
            "sums",
            "A sum does not tell *where* the values are: a mirrored patch has the same one. "
            "Compare voxel by voxel.",
            gives=lambda one, other: unequal(one, other, lambda a, b: np.isclose(a.sum(), b.sum())),
        ),
    ),
)

# 03.aim --------------------------------------------------------------------------------------


def draw_axes(rng):
    """A structure at the front, one at the back, the others with room on both sides."""
    calls = []
    for call in range(CALLS):
        patch = int(rng.integers(12, 20))
        size = 2 * patch + int(rng.integers(5, 30))
        extent = int(rng.integers(3, 8))
        start = int(rng.integers(patch, size - patch + 1))
        if call == 0:
            start = int(rng.integers(1, 4))
        if call == 1:
            start = size - extent - int(rng.integers(1, 4))
        inputs = {"size": size, "patch": patch, "start": start, "stop": start + extent}
        calls.append(inputs | {"oversampling": float(rng.uniform(0.2, 0.8))})
    return calls


def aimed(size, patch, start, stop, oversampling, holds=None):
    """By trying every place. A patch misses only if it is not aimed *and* chance misses."""
    holds = holds or (lambda b: b <= start and b + patch >= stop)
    places = [holds(b) for b in range(size - patch + 1)]
    lowest, highest = places.index(True), len(places) - 1 - places[::-1].index(True)
    return lowest, highest, 1 - (1 - oversampling) * places.count(False) / len(places)


def between(lowest, highest, size, patch, oversampling):
    by_chance = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, oversampling + (1 - oversampling) * by_chance


def with_share(share):
    """Right places, with a share that is made of the right one by chance and oversampling."""

    def gives(size, patch, start, stop, oversampling):
        lowest, highest, by_chance = aimed(size, patch, start, stop, 0.0)
        return lowest, highest, share(by_chance, oversampling)

    return gives


AIM = Exercise(
    function="aim",
    draw=draw_axes,
    reference=aimed,
    hint="The patch ends behind voxel b + patch - 1. So b + patch >= stop and b <= start; besides "
    "0 <= b <= size - patch. The share is q + (1 - q) · oversampling, with q by chance.",
    mistakes=(
        Mistake(
            "beyond both ends",
            "In the middle of the scan you are right. Near its ends your patches begin before the "
            "first voxel, or end behind the last. A patch must lie within the scan.",
            gives=lambda size, patch, start, stop, oversampling: between(
                stop - patch, start, size, patch, oversampling
            ),
        ),
        Mistake(
            "before the scan",
            "Look at the structure near voxel 0: your lowest place is negative, and there is no "
            "such voxel.",
            gives=lambda size, patch, start, stop, oversampling: between(
                stop - patch, min(start, size - patch), size, patch, oversampling
            ),
        ),
        Mistake(
            "behind the scan",
            "Look at the structure near the end: a patch that begins at your highest place would "
            "reach beyond the last voxel.",
            gives=lambda size, patch, start, stop, oversampling: between(
                max(0, stop - patch), start, size, patch, oversampling
            ),
        ),
        Mistake(
            "touches",
            "Between your places a patch *meets* the structure. It is to hold all of it: ask when "
            "the first and when the last voxel of the structure are inside.",
            gives=lambda size, patch, start, stop, oversampling: between(
                max(0, start - patch + 1), min(stop - 1, size - patch), size, patch, oversampling
            ),
        ),
        Mistake(
            "one too far",
            "Your lowest place is one off. `stop` is the first voxel *behind* the structure, and "
            "b + patch the first one behind the patch.",
            gives=lambda size, patch, start, stop, oversampling: between(
                max(0, stop - patch + 1), min(start, size - patch), size, patch, oversampling
            ),
        ),
        Mistake(
            "added up",
            "The places are right. But your share counts chance among *all* patches, so that it "
            "can grow beyond 1. Only the patches that are not aimed depend on chance.",
            gives=with_share(lambda by_chance, oversampling: oversampling + by_chance),
        ),
        Mistake(
            "aimed ones only",
            "The places are right. But among the patches that are not aimed some hold the "
            "structure, too.",
            gives=with_share(lambda by_chance, oversampling: oversampling),
        ),
        Mistake(
            "swapped",
            "The places are right. In your share the two kinds of patches are swapped: which of "
            "them always hold the structure, and which by chance?",
            gives=with_share(
                lambda by_chance, oversampling: (1 - oversampling) + oversampling * by_chance
            ),
        ),
    ),
)

# 03.change -----------------------------------------------------------------------------------

NAMES = ("noise", "blur", "brightness", "contrast", "gamma")


def draw_changes(rng):
    """Each change, up and down where it has both, in a random order."""
    changes = (
        lambda v: v + rng.uniform(0.5, 0.8) * v.std() * rng.standard_normal(v.shape),
        lambda v: gaussian_filter(v, rng.uniform(0.7, 1.2)),
        lambda v: v * rng.uniform(0.5, 0.8),
        lambda v: v * rng.uniform(1.3, 1.8),
        lambda v: stretched(v, rng.uniform(0.5, 0.8)),
        lambda v: stretched(v, rng.uniform(1.3, 1.8)),
        lambda v: bent(v, rng.uniform(0.5, 0.7)),
        lambda v: bent(v, rng.uniform(1.5, 2.0)),
    )
    calls = []
    for index in rng.permutation(len(changes)):
        shape = tuple(rng.integers(7, 10, 3))
        before = rng.gamma(2.0, size=shape) - rng.uniform(0.7, 1.3)  # skewed, about half below 0
        calls.append({"before": before, "after": changes[index](before)})
    return calls


def stretched(image, factor):
    mean = image.mean()
    return np.clip(mean + factor * (image - mean), image.min(), image.max())


def bent(image, exponent):
    power = ((image - image.min()) / np.ptp(image)) ** exponent
    return (power - power.mean()) / power.std() * image.std() + image.mean()


def detected(before, after):
    """By the straight line through what is not clipped, never by the order of voxels."""
    inside = (after > after.min()) & (after < after.max())
    slope, offset = np.polyfit(before[inside], after[inside], 1)
    if np.abs(after - slope * before - offset)[inside].max() < 1e-6:
        return "brightness" if abs(offset) < 1e-6 else "contrast"
    spread = after.std() / before.std()
    if abs(spread - 1) < 1e-6:
        return "gamma"
    return "noise" if spread > 1 else "blur"


def is_clipped(before, after):
    return detected(before, after) == "contrast" and after.std() > before.std()


def unless_clipped(name):
    """Right, but for contrasts that were clipped."""
    return lambda before, after: name if is_clipped(before, after) else detected(before, after)


def with_names(**others):
    """Right, but for names that are taken for another one."""

    def gives(before, after):
        right = detected(before, after)
        return others.get(right, right)

    return gives


def by_range(before, after):
    """Contrast and gamma told apart by who keeps darkest and brightest."""
    right = detected(before, after)
    if right not in ("contrast", "gamma"):
        return right
    kept = np.allclose([after.min(), after.max()], [before.min(), before.max()])
    return "gamma" if kept else "contrast"


CHANGE = Exercise(
    function="change_of",
    draw=draw_changes,
    reference=detected,
    hint="Sort the voxels with np.argsort(before, axis=None). If `after` falls anywhere in this "
    "order: noise widens the spread, blur narrows it. Else: one ratio for all is brightness; mean "
    "and standard deviation kept is gamma; what is left is contrast.",
    properties=(
        Property(
            "the answer is one of the five names",
            lambda result, before, after: result in NAMES,
            'The answer is a text, just as the task writes it: "noise", "blur", ...',
        ),
    ),
    mistakes=(
        Mistake(
            "clipped contrast is gamma",
            "Three are right, but a strong contrast you take for gamma. It is no straight line any "
            "more: its darkest and brightest voxels are clipped. What does gamma keep that "
            "contrast changes?",
            gives=unless_clipped("gamma"),
        ),
        Mistake(
            "clipped contrast is brightness",
            "Clipping moves the mean a little, so a change of the mean does not yet make "
            "brightness. What is the same for all voxels there?",
            gives=unless_clipped("brightness"),
        ),
        Mistake(
            "clipped contrast is noise",
            "Contrast clips: several voxels become equal, but none becomes darker than one that "
            "was darker before. Is your test of the order too strict?",
            gives=unless_clipped("noise"),
        ),
        Mistake(
            "noise and blur swapped",
            "You see when neighbours or chance are at work. Then: which of the two makes the "
            "values more alike, and which less?",
            gives=with_names(noise="blur", blur="noise"),
        ),
        Mistake(
            "blur is noise",
            "You see when the order of voxels is lost. Noise is one way to lose it; what does the "
            "other do to the spread?",
            gives=with_names(blur="noise"),
        ),
        Mistake(
            "contrast and gamma swapped",
            "Two names are swapped: contrast changes the spread, and gamma puts it back.",
            gives=with_names(contrast="gamma", gamma="contrast"),
        ),
        Mistake(
            "range",
            "You tell gamma by darkest and brightest voxel. But it puts back mean and standard "
            "deviation, and so moves these; and a strong contrast is clipped just there.",
            gives=by_range,
        ),
    ),
)

# 03.shard ------------------------------------------------------------------------------------


def draw_sharings(rng):
    """Never a multiple of the ranks, and once less than two cases a rank."""
    calls = []
    for call in range(CALLS):
        ranks = int(rng.integers(7, 9) if call == 0 else rng.integers(2, 6))
        whole = 1 if call == 0 else int(rng.integers(4, 8))  # cases that each rank has at least
        number = whole * ranks + int(rng.integers(3, 6) if call == 0 else rng.integers(1, ranks))
        seed, epoch = (int(drawn) for drawn in rng.integers(1, 50, 2))
        calls.append({"number": number, "seed": seed, "epoch": epoch, "ranks": ranks})
    return calls


def shared(function, number, seed, epoch, ranks):
    """What comes of one epoch on all ranks, and of other seeds and epochs with many cases."""

    def met(seed, epoch, number=number):
        ranked = (function(number, seed, epoch, rank, ranks) for rank in range(ranks))
        return [np.ravel(cases).tolist() for cases in ranked]

    if function(number, seed, epoch, 0, ranks) is None:
        return None
    first = met(seed, epoch)
    np.random.random(), python_random.random()  # somebody else draws, too
    counts = Counter(itertools.chain(*first))
    lengths = [len(cases) for cases in first]
    grid = {pair: met(*pair, MANY) for pair in itertools.product(SEEDS, EPOCHS)}
    return {
        "repeats itself": met(seed, epoch) == first,
        "no cases": sum(case not in range(number) for case in counts),
        "met twice": sum(times - 1 for times in counts.values()),
        "missed": len(set(range(number)) - counts.keys()),
        "longest less shortest": max(lengths) - min(lengths),
        "another order in another epoch": any(grid[s, 0] != grid[s, e] for s, e in grid),
        "another order with another seed": any(grid[0, e] != grid[s, e] for s, e in grid),
        "other cases for a rank in another epoch": any(
            set(grid[s, 0][0]) != set(grid[s, e][0]) for s, e in grid
        ),
        "the same order twice": repeated(grid),
    }


MANY = 60  # cases, so that chance repeats no order
SEEDS = EPOCHS = (0, 1, 2, 3, 10, 11, 50, 100, 500, 512, 600)


def repeated(grid):
    """Two pairs of seed and epoch with the same order, in words."""
    for (one, first), (other, second) in itertools.combinations(grid.items(), 2):
        if first == second:
            return " and ".join(f"seed {seed} in epoch {epoch}" for seed, epoch in (one, other))
    return "never"


def shared_well(number, seed, epoch, ranks):
    """What the probe finds if all is well, whatever the order of the cases."""
    return {
        "repeats itself": True,
        "no cases": 0,
        "met twice": 0,
        "missed": 0,
        "longest less shortest": int(number % ranks > 0),
        "another order in another epoch": True,
        "another order with another seed": True,
        "other cases for a rank in another epoch": True,
        "the same order twice": "never",
    }


def finds(name, wanted=0):
    """A property of the probe's result: what it found is what is wanted."""
    return lambda result, **inputs: result[name] == wanted


SHARD = Exercise(
    function="shard",
    draw=draw_sharings,
    probe=shared,
    reference=shared_well,
    hint="np.random.default_rng takes a list of numbers as its seed, such as [seed, epoch]. Let "
    "every rank shuffle *all* cases with it, and take each `ranks`-th, from its own on.",
    properties=(
        Property(
            "the same arguments give the same cases again",
            finds("repeats itself", True),
            "Called twice with the same arguments, it gives two answers. Where do its random "
            "numbers come from, and who else draws from there?",
        ),
        Property(
            "all that is met is a case",
            finds("no cases"),
            "Cases are numbered from 0 to number - 1, and you give something else.",
        ),
        Property(
            "no case is met twice in an epoch",
            finds("met twice"),
            "Some cases are met by two ranks. The ranks do not talk: how can each know which cases "
            "the others take? Compare the orders in which they shuffle.",
        ),
        Property(
            "no case is missed in an epoch",
            finds("missed"),
            "Some cases are met by no rank. What becomes of the rest, if the ranks do not divide "
            "the number of cases?",
        ),
        Property(
            "the ranks meet equally many cases, or one more",
            lambda result, **inputs: result["longest less shortest"] <= 1,
            "One rank works much longer than the others, which have to wait. Give the rest away "
            "one by one.",
        ),
        Property(
            "each epoch shuffles in its own way",
            finds("another order in another epoch", True),
            "The next epoch meets the cases in the same order. What decides your order, and does "
            "`epoch` take part in it?",
        ),
        Property(
            "each seed shuffles in its own way",
            finds("another order with another seed", True),
            "Another seed gives the same order. Does `seed` take part in your shuffling?",
        ),
        Property(
            "each rank meets other cases in other epochs",
            finds("other cases for a rank in another epoch", True),
            "Each rank keeps its own cases for ever, and only their order changes. Which should "
            "come first, shuffling or sharing?",
        ),
        Property(
            "no seed and epoch repeat another seed and epoch",
            finds("the same order twice", "never"),
            "Two different pairs of a seed and an epoch show the same order. How do you make one "
            "seed of the two numbers, and which pairs give the same? Or must they become one?",
        ),
    ),
)

# 03.augment ----------------------------------------------------------------------------------

SHAPE, PATCHES = (2, 3, 3), 300


def placements():
    """All 16 ways to mirror and turn: for each the places of voxels, its mirrors and its turns."""
    places = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    found = {}
    for deep, high, turns in itertools.product((False, True), (False, True), range(4)):
        moved = np.flip(places, [0] * deep + [1] * high)
        found[np.rot90(moved, turns, axes=(1, 2)).tobytes()] = (deep, high, turns)
    return found


PLACEMENTS = placements()
STRANGE = (None, None, 0)


def draw_patch(rng):
    """Every voxel of image and label has a value of its own, which tells where it came from."""
    voxels = int(np.prod(SHAPE))
    calls = []
    for _ in range(3):
        image = rng.permutation(voxels * 2).reshape(*SHAPE, 2).astype(np.float32)
        label = rng.permutation(voxels).reshape(SHAPE).astype(np.uint8)
        calls.append({"image": image, "label": label, "seed": int(rng.integers(10**6))})
    return calls


def placement(moved, original):
    """How an array was mirrored and turned, or STRANGE; of its first channel, if it has some."""
    original = original.reshape(*SHAPE, -1)[..., 0]
    moved = np.asarray(moved)
    moved = moved[..., 0] if moved.ndim == 4 else moved
    came_from = {value: place for place, value in enumerate(original.ravel().tolist())}
    places = [came_from.get(value, -1) for value in moved.ravel().tolist()]
    if moved.shape != SHAPE:
        return STRANGE
    return PLACEMENTS.get(np.array(places).tobytes(), STRANGE)


def augmented(function, image, label, seed):
    """How many of many patches have a label that lies otherwise than its image, and how."""
    seen, apart = set(), Counter()
    for number in range(PATCHES):
        moved = function(image, label, np.random.default_rng([seed, number]))
        if moved is None:
            return None
        one, other = placement(moved[0], image), placement(moved[1], label)
        seen.add(one)
        apart["strange"] += STRANGE in (one, other)
        apart["mirrored"] += one[:2] != other[:2]
        if one[:2] == other[:2]:
            apart["quarter"] += (one[2] - other[2]) % 2 == 1
            apart["half"] += (one[2] - other[2]) % 4 == 2
    return {
        "neither mirrored nor turned": apart["strange"],
        "labels mirrored otherwise than the image": apart["mirrored"],
        "labels a quarter turn from the image": apart["quarter"],
        "labels half a turn from the image": apart["half"],
        "placements of 16": len(seen - {STRANGE}),
    }


AUGMENT = Exercise(
    function="augment",
    draw=draw_patch,
    probe=augmented,
    reference=lambda image, label, seed: {
        "neither mirrored nor turned": 0,
        "labels mirrored otherwise than the image": 0,
        "labels a quarter turn from the image": 0,
        "labels half a turn from the image": 0,
        "placements of 16": 16,
    },
    hint="Follow `label` from the first line to the last, and note each move. Then do the same for "
    "`image`. Which move is in one list only?",
    properties=(
        Property(
            "image and label are mirrored and turned, and nothing else",
            finds("neither mirrored nor turned"),
            "Some results are no mirrored or turned patch: their voxels lie otherwise, or their "
            "shape is another. Mirror and turn as the code did before.",
        ),
        Property(
            "the label is mirrored as its image",
            finds("labels mirrored otherwise than the image"),
            "Some labels are the mirror image of what they should be. How many draws decide about "
            "mirrors, and do image and label use the same ones?",
        ),
        Property(
            "no label lies a quarter turn from its image",
            finds("labels a quarter turn from the image"),
            "The mirrors are right. But some labels lie a quarter turn from their images. What "
            "happens to the image last, and what to the label?",
        ),
        Property(
            "no label lies half a turn from its image",
            finds("labels half a turn from the image"),
            "Image and label are moved by the same draws, but not in the same order or direction. "
            "To mirror and then turn is not the same as to turn and then mirror.",
        ),
        Property(
            "mirrors and turns happen",
            finds("placements of 16", 16),
            "Image and label stay together now, but not all mirrors and turns happen any more. "
            "Mend it without taking one away.",
        ),
    ),
)

# 03.reader -----------------------------------------------------------------------------------


def draw_listings(rng):
    calls = []
    for _ in range(CALLS):
        cases = rng.choice(900, int(rng.integers(12, 20)), replace=False)
        seed, epoch = (int(drawn) for drawn in rng.integers(1, 50, 2))
        calls.append(
            {
                "images": [f"imagesTr/case_{case:03d}.npy" for case in cases],
                "labels": [f"labelsTr/case_{case:03d}.npy" for case in cases],
                "seed": seed,
                "epoch": epoch,
            }
        )
    return calls


def paired(function, images, labels, seed, epoch):
    """What comes of one epoch, and whether it and others repeat it."""

    def pairs(seed, epoch):
        return [tuple(pair) for pair in function(images, labels, seed, epoch)]

    if function(images, labels, seed, epoch) is None:
        return None
    first = pairs(seed, epoch)
    np.random.random(), python_random.random()  # somebody else draws, too
    together = set(zip(images, labels, strict=True))
    return {
        "pairs": len(first),
        "repeats itself": pairs(seed, epoch) == first,
        "pairs of two cases": sum(pair not in together for pair in first),
        "cases missed": len(set(images) - {pair[0] for pair in first}),
        "another order in another epoch": pairs(seed, epoch + 1) != first,
        "another order with another seed": pairs(seed + 1, epoch) != first,
    }


READER = Exercise(
    function="training_pairs",
    draw=draw_listings,
    probe=paired,
    reference=lambda images, labels, seed, epoch: {
        "pairs": len(images),
        "repeats itself": True,
        "pairs of two cases": 0,
        "cases missed": 0,
        "another order in another epoch": True,
        "another order with another seed": True,
    },
    hint="Two generators that start from the same seed draw the same order. Give both readers the "
    "same one, made of `seed` and `epoch`: [seed, epoch] is a seed, too.",
    properties=(
        Property(
            "the same seed and epoch give the same pairs again",
            finds("repeats itself", True),
            "Called twice with the same seed and epoch, it gives two orders. A run that was "
            "interrupted could not be resumed. Which generator is drawn from without a seed?",
        ),
        Property(
            "each image comes with its own label",
            finds("pairs of two cases"),
            "Some images are paired with another patient's label. Each reader reads all its files "
            "once, so no file is missing. What about the orders that the two read in?",
        ),
        Property(
            "every case is read once",
            lambda result, images, **inputs: (
                result["cases missed"] == 0 and result["pairs"] == len(images)
            ),
            "An epoch is one pass over all cases, each once. Yours misses some or repeats some.",
        ),
        Property(
            "each epoch has an order of its own",
            finds("another order in another epoch", True),
            "The pairs are right, but the next epoch has them in the same order. Every epoch "
            "should shuffle anew.",
        ),
        Property(
            "each seed has orders of its own",
            finds("another order with another seed", True),
            "The pairs are right, but another seed gives the same order.",
        ),
    ),
)

EXERCISES = {
    "03.equal": EQUAL,
    "03.aim": AIM,
    "03.change": CHANGE,
    "03.shard": SHARD,
    "03.augment": AUGMENT,
    "03.reader": READER,
}

"""Answers that the checks of lesson 03 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 03.equal | mistake: images alone
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for (image, _), (other_image, _) in zip(one, other):
        if image.dtype != other_image.dtype or not np.array_equal(image, other_image):
            differ += 1
    return differ


# %% 03.equal | mistake: images alone, without the type
import numpy as np


def unequal_batches(one, other):
    return sum(not np.array_equal(a[0], b[0]) for a, b in zip(one, other))


# %% 03.equal | mistake: type
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = np.array_equal(image, other_image) and np.array_equal(label, other_label)
        differ += not same
    return differ


# %% 03.equal | mistake: the image's type alone
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = np.array_equal(image, other_image) and np.array_equal(label, other_label)
        differ += not (same and image.dtype == other_image.dtype)
    return differ


# %% 03.equal | mistake: the label's type alone
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = np.array_equal(image, other_image) and np.array_equal(label, other_label)
        differ += not (same and label.dtype == other_label.dtype)
    return differ


# %% 03.equal | mistake: nearly
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for batch, twin in zip(one, other):
        for a, b in zip(batch, twin):
            if a.shape != b.shape or not np.allclose(a, b):
                differ += 1
                break
    return differ


# %% 03.equal | mistake: broadcast
def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = (image == other_image).all() and (label == other_label).all()
        differ += not same
    return differ


# %% 03.equal | mistake: bytes alone
def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        types = image.dtype == other_image.dtype and label.dtype == other_label.dtype
        values = image.tobytes() == other_image.tobytes()
        differ += not (types and values and label.tobytes() == other_label.tobytes())
    return differ


# %% 03.equal | mistake: sums
import numpy as np


def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = np.isclose(image.sum(), other_image.sum()) and label.sum() == other_label.sum()
        differ += not same
    return differ


# %% 03.equal | mistake: array for a truth value
def unequal_batches(one, other):
    differ = 0
    for (image, label), (other_image, other_label) in zip(one, other):
        same = image == other_image and label == other_label
        differ += not same
    return differ


# %% 03.equal | right: by bytes, shapes and types
def unequal_batches(one, other):
    def key(batch):
        return [(array.shape, array.dtype, array.tobytes()) for array in batch]

    return len([1 for a, b in zip(one, other) if key(a) != key(b)])


# %% 03.aim | mistake: beyond both ends
def aim(size, patch, start, stop, oversampling):
    lowest, highest = stop - patch, start
    q = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, q + (1 - q) * oversampling


# %% 03.aim | mistake: before the scan
def aim(size, patch, start, stop, oversampling):
    lowest = stop - patch
    highest = min(size - patch, start)
    q = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, q + (1 - q) * oversampling


# %% 03.aim | mistake: behind the scan
def aim(size, patch, start, stop, oversampling):
    lowest, highest = max(stop - patch, 0), start
    q = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, q + (1 - q) * oversampling


# %% 03.aim | mistake: touches
def aim(size, patch, start, stop, oversampling):
    starts = [b for b in range(size - patch + 1) if b < stop and b + patch > start]
    q = len(starts) / (size - patch + 1)
    return starts[0], starts[-1], q + (1 - q) * oversampling


# %% 03.aim | mistake: one too far
def aim(size, patch, start, stop, oversampling):
    lowest = max(0, stop - (patch - 1))
    highest = min(start, size - patch)
    q = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, oversampling + (1 - oversampling) * q


# %% 03.aim | mistake: added up
def aim(size, patch, start, stop, oversampling):
    lowest = max(0, stop - patch)
    highest = min(start, size - patch)
    return lowest, highest, oversampling + (highest - lowest + 1) / (size - patch + 1)


# %% 03.aim | mistake: aimed ones only
def aim(size, patch, start, stop, oversampling):
    return max(0, stop - patch), min(start, size - patch), oversampling


# %% 03.aim | mistake: swapped
def aim(size, patch, start, stop, oversampling):
    lowest = max(0, stop - patch)
    highest = min(start, size - patch)
    q = (highest - lowest + 1) / (size - patch + 1)
    return lowest, highest, oversampling * q + 1 - oversampling


# %% 03.aim | right: by listing all places
import numpy as np


def aim(size, patch, start, stop, oversampling):
    first = np.arange(size - patch + 1)
    holds = (first <= start) & (first + patch >= stop)
    good = first[holds]
    return good.min(), good.max(), holds.mean() + (1 - holds.mean()) * oversampling


# %% 03.change | mistake: clipped contrast is gamma
import numpy as np


def change_of(before, after):
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "noise" if after.std() > before.std() else "blur"
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    line = np.polyfit(before.ravel(), after.ravel(), 1)
    return "contrast" if np.allclose(np.polyval(line, before), after) else "gamma"


# %% 03.change | mistake: clipped contrast is brightness
import numpy as np


def change_of(before, after):
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "noise" if after.std() > before.std() else "blur"
    if not np.isclose(after.mean(), before.mean()):
        return "brightness"
    return "gamma" if np.isclose(after.std(), before.std()) else "contrast"


# %% 03.change | mistake: clipped contrast is noise
import numpy as np


def change_of(before, after):
    order = np.argsort(before.ravel())
    rises = (np.diff(after.ravel()[order]) > 0).all()
    if not rises:
        return "noise" if after.std() > before.std() else "blur"
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    return "gamma" if np.isclose(after.std(), before.std()) else "contrast"


# %% 03.change | mistake: noise and blur swapped
import numpy as np


def change_of(before, after):
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "blur" if after.std() > before.std() else "noise"
    return "gamma" if np.isclose(after.std(), before.std()) else "contrast"


# %% 03.change | mistake: blur is noise
import numpy as np


def change_of(before, after):
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "noise"
    return "gamma" if np.isclose(after.std(), before.std()) else "contrast"


# %% 03.change | mistake: contrast and gamma swapped
import numpy as np


def change_of(before, after):
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "noise" if after.std() > before.std() else "blur"
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    return "contrast" if np.isclose(after.std(), before.std()) else "gamma"


# %% 03.change | mistake: range
import numpy as np


def change_of(before, after):
    order = np.argsort(before.ravel())
    if (np.diff(after.ravel()[order]) < -1e-9).any():
        return "noise" if after.std() > before.std() else "blur"
    if np.allclose(after / before, (after / before).flat[0]):
        return "brightness"
    same_range = np.isclose(after.min(), before.min()) and np.isclose(after.max(), before.max())
    return "gamma" if same_range else "contrast"


# %% 03.change | mistake: the answer is one of the five names
def change_of(before, after):
    return "Noise" if after.std() > before.std() else "Blur"


# %% 03.change | right: exact shapes first, what is left last
import numpy as np


def change_of(before, after):
    ratio = np.vdot(before, after) / np.vdot(before, before)
    if np.abs(after - ratio * before).max() < 1e-6:
        return "brightness"
    if abs(after.mean() - before.mean()) + abs(after.std() - before.std()) < 1e-6:
        return "gamma"
    place = np.unravel_index(np.argsort(before, axis=None), before.shape)
    if np.array_equal(after[place], np.maximum.accumulate(after[place])):
        return "contrast"
    return ("blur", "noise")[int(after.var() > before.var())]


# %% 03.shard | mistake: the same arguments give the same cases again
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    return np.random.permutation(number)[rank::ranks]


# %% 03.shard | mistake: all that is met is a case
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    order = 1 + np.random.default_rng([seed, epoch]).permutation(number)
    return order[rank::ranks]


# %% 03.shard | mistake: no case is met twice in an epoch
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    random = np.random.default_rng([seed, epoch, rank])
    return random.permutation(number)[rank::ranks]


# %% 03.shard | mistake: no case is missed in an epoch
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    order = np.random.default_rng([seed, epoch]).permutation(number)
    each = number // ranks
    return order[rank * each : (rank + 1) * each]


# %% 03.shard | mistake: the ranks meet equally many cases, or one more
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    order = np.random.default_rng([seed, epoch]).permutation(number)
    each = number // ranks
    stop = number if rank == ranks - 1 else (rank + 1) * each  # the last takes the rest
    return order[rank * each : stop]


# %% 03.shard | mistake: each epoch shuffles in its own way
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    return np.random.default_rng(seed).permutation(number)[rank::ranks]


# %% 03.shard | mistake: each seed shuffles in its own way
import random


def shard(number, seed, epoch, rank, ranks):
    order = list(range(number))
    random.Random(epoch).shuffle(order)
    return order[rank::ranks]


# %% 03.shard | mistake: no seed and epoch repeat another seed and epoch
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    return np.random.default_rng(seed * 10 + epoch).permutation(number)[rank::ranks]


# %% 03.shard | mistake: each rank meets other cases in other epochs
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    own = np.arange(rank, number, ranks)
    return np.random.default_rng([seed, epoch]).permutation(own)


# %% 03.shard | right: a table, a column a rank
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    cases = list(np.random.default_rng((epoch, seed)).permutation(number))
    return [cases[place] for place in range(number) if (place + epoch) % ranks == rank]


# %% 03.shard | right: the standard library, in almost equal blocks
import random


def shard(number, seed, epoch, rank, ranks):
    order = list(range(number))
    random.Random(f"{seed} {epoch}").shuffle(order)
    return order[rank * number // ranks : (rank + 1) * number // ranks]


# %% 03.shard | right: the global generator, seeded each time
import numpy as np


def shard(number, seed, epoch, rank, ranks):
    np.random.seed(1000 * seed + epoch)
    cases = np.arange(number)
    np.random.shuffle(cases)
    return [case for place, case in enumerate(cases) if place % ranks == rank]


# %% 03.augment | mistake: no label lies a quarter turn from its image
import numpy as np


def augment(image, label, random):
    axes = [axis for axis in range(3) if random.random() < 0.5]
    turns = int(random.integers(4))
    image = np.rot90(np.flip(image, axes), turns, axes=(1, 2))
    label = np.rot90(np.flip(label, axes), int(random.integers(4)), axes=(1, 2))
    return image, label


# %% 03.augment | mistake: no label lies half a turn from its image
import numpy as np


def augment(image, label, random):
    axes = [axis for axis in range(3) if random.random() < 0.5]
    turns = int(random.integers(4))
    image = np.rot90(np.flip(image, axes), turns, axes=(1, 2))
    label = np.flip(np.rot90(label, turns, axes=(1, 2)), axes)
    return image, label


# %% 03.augment | mistake: the label is mirrored as its image
import numpy as np


def augment(image, label, random):
    def moved(patch):
        axes = [axis for axis in range(3) if random.random() < 0.5]
        return np.rot90(np.flip(patch, axes), int(random.integers(4)), axes=(1, 2))

    return moved(image), moved(label)


# %% 03.augment | mistake: mirrors and turns happen
import numpy as np


def augment(image, label, random):
    axes = [axis for axis in range(3) if random.random() < 0.5]
    return np.flip(image, axes), np.flip(label, axes)


# %% 03.augment | mistake: image and label are mirrored and turned, and nothing else
import numpy as np


def augment(image, label, random):
    axes = [axis for axis in range(3) if random.random() < 0.5]
    image, label = np.flip(image, axes), np.flip(label, axes)
    turns = int(random.integers(4))
    return np.rot90(image, turns, axes=(1, 2)), np.rot90(label, turns)


# %% 03.augment | right: in one array, with transpositions
import numpy as np


def augment(image, label, random):
    both = np.concatenate([image, label[..., np.newaxis]], axis=-1)
    for axis in range(3):
        if random.integers(2):
            both = np.flip(both, axis)
    if random.integers(2):
        both = both.swapaxes(1, 2)
    return both[..., :-1], both[..., -1].astype(label.dtype)


# %% 03.reader | mistake: each image comes with its own label
import numpy as np


def training_pairs(images, labels, seed, epoch):
    random = np.random.default_rng([seed, epoch])
    return list(zip(random.permutation(images), random.permutation(labels)))


# %% 03.reader | mistake: the same seed and epoch give the same pairs again
import random


def training_pairs(images, labels, seed, epoch):
    pairs = list(zip(images, labels))
    random.shuffle(pairs)
    return pairs


# %% 03.reader | mistake: each epoch has an order of its own
import numpy as np


def training_pairs(images, labels, seed, epoch):
    order = np.random.default_rng(seed).permutation(len(images))
    return [(images[index], labels[index]) for index in order]


# %% 03.reader | mistake: each seed has orders of its own
import numpy as np


def training_pairs(images, labels, seed, epoch):
    order = np.random.default_rng(epoch).permutation(len(images))
    return [(images[index], labels[index]) for index in order]


# %% 03.reader | mistake: every case is read once
import numpy as np


def training_pairs(images, labels, seed, epoch):
    order = np.random.default_rng([seed, epoch]).integers(len(images), size=len(images))
    return [(images[index], labels[index]) for index in order]


# %% 03.reader | right: the pairs are shuffled
import random


def training_pairs(images, labels, seed, epoch):
    pairs = list(zip(images, labels))
    random.Random(f"{seed}, {epoch}").shuffle(pairs)
    return pairs

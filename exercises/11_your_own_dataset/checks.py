"""What is checked of the exercises of lesson 11, and which mistakes are known."""

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5

# 11.aside ------------------------------------------------------------------------------------


def draw_names(rng):
    calls = []
    for call in range(CALLS):
        folds = int(rng.integers(3, 6))
        names = [f"case_{number:03d}" for number in rng.choice(900, 20, replace=False)]
        fold = int(rng.integers(1, folds)) if call else 0
        calls.append(
            {"cases": names, "aside": int(rng.integers(2, 6)), "folds": folds, "fold": fold}
        )
    return calls


def split(cases, aside, folds, fold, start=None):
    """By the place in the list: case n is in fold (n - aside) modulo the number of folds."""
    places = range(aside, len(cases))
    validation = [cases[n] for n in places if (n - aside) % folds == fold]
    others = range(aside if start is None else start, len(cases))
    return [[cases[n] for n in others if cases[n] not in validation], validation]


ASIDE = Exercise(
    function="parts",
    draw=draw_names,
    reference=split,
    hint="The cases in `left` that are not in `validation`: [case for case in ... if ...].",
    properties=(
        Property(
            "nobody trains on a case that was set aside",
            lambda result, cases, aside, folds, fold: not set(result[0]) & set(cases[:aside]),
            "The cases set aside stand for the patients who come next year. Look at where you "
            "take the training cases from.",
        ),
        Property(
            "training and validation have no case in common",
            lambda result, cases, aside, folds, fold: not set(result[0]) & set(result[1]),
            "A case that is trained on cannot say how the network does on strangers.",
        ),
        Property(
            "the training cases are in the order of the list",
            lambda result, cases, aside, folds, fold: (
                list(result[0]) == [case for case in cases if case in result[0]]
            ),
            "Your training cases are in another order than in `cases`. A set keeps none, and "
            "sorting makes one of its own: go through the list.",
        ),
    ),
    mistakes=(
        Mistake(
            "set aside, and used",
            "Your network trains on the cases that were set aside: they are no longer strangers. "
            "Who is left?",
            gives=lambda cases, aside, folds, fold: split(cases, aside, folds, fold, start=0),
        ),
        Mistake(
            "validated on training",
            "Your network trains on all that are left, and is validated on some of them. It would "
            "look better than it is.",
            gives=lambda cases, aside, folds, fold: [
                cases[aside:],
                split(cases, aside, folds, fold)[1],
            ],
        ),
        Mistake(
            "one other fold",
            "You train on the next fold alone. A fold trains on *all* others.",
            gives=lambda cases, aside, folds, fold: [
                split(cases, aside, folds, (fold + 1) % folds)[1],
                split(cases, aside, folds, fold)[1],
            ],
        ),
    ),
)

# 11.pairs ------------------------------------------------------------------------------------

ENDING = ".nii.gz"


def draw_files(rng):
    """Channels not in the alphabet's order, suffixes within names, and somebody incomplete.

    Each kind of file is lost by somebody, and one patient has a mask only.

    There are two channels and three in turn, and of the three one has two underscores, two none.
    """
    calls = []
    for call in range(CALLS):
        channels, mask = (["_t1_ce", "-flair", ".adc"] if call % 2 else ["_t1", "_flair"]), "_mask"
        numbers = [int(number) for number in rng.choice(90, 8, replace=False)]
        patients = [f"ward_{numbers[0]}", f"scan_mask_{numbers[1]}", f"x_t1_{numbers[2]}_mat"]
        patients += [f"p{number}" for number in numbers[3:]]
        names = [p + suffix + ENDING for p in patients for suffix in [*channels, mask]]
        lost = [patients[3] + mask, patients[4] + channels[1], patients[5] + channels[0]]
        lost = [name + ENDING for name in lost + [patients[6] + channel for channel in channels]]
        names = [name for name in names if name not in lost] + ["readme.txt", "notes_t1.txt"]
        names += ["p7xadc.nii.gz", "p8_t1xnii.gz"]  # a point is a point
        calls.append(
            {
                "names": [str(name) for name in rng.permutation(names)],
                "channels": channels,
                "label_suffix": mask,
            }
        )
    return calls


def by_patient(names, channels, label_suffix, order=list, complete_only=True):
    """By looking for the files which each patient should have."""
    suffixes = [*channels, label_suffix]
    endings = [suffix + ENDING for suffix in suffixes]
    patients = {n[: -len(end)] for n in names for end in endings if n.endswith(end)}
    has = {p: [p + e for e in endings if p + e in names] for p in patients}
    complete = {p: f for p, f in has.items() if len(f) == len(endings) or not complete_only}
    missing = sorted(p for p, files in has.items() if len(files) < len(endings))
    return [{p: [*order(files[:-1]), files[-1]] for p, files in complete.items()}, missing]


def everybody(**inputs):
    complete, missing = by_patient(**inputs)
    return {*complete, *missing}


def by_first_part(names, channels, label_suffix):
    """The patient is what comes before the first underscore."""
    ends = tuple(suffix + ENDING for suffix in [*channels, label_suffix])
    groups = {}
    for name in names:
        if name.endswith(ends):
            groups.setdefault(name.split("_")[0], {})[next(e for e in ends if name.endswith(e))] = (
                name
            )
    complete = {p: [g[e] for e in ends] for p, g in groups.items() if len(g) == len(ends)}
    return [complete, sorted(groups.keys() - complete.keys())]


def by_last_underscore(names, channels, label_suffix):
    """The suffix is what comes after the last underscore, and is known or not."""
    suffixes = [*channels, label_suffix]
    groups = {}
    for name in names:
        patient, _, end = name.removesuffix(ENDING).rpartition("_")
        if name.endswith(ENDING) and f"_{end}" in suffixes:
            groups.setdefault(patient, {})[f"_{end}"] = name
    complete = {p: [g[s] for s in suffixes] for p, g in groups.items() if len(g) == len(suffixes)}
    return [complete, sorted(groups.keys() - complete.keys())]


def three_files(names, channels, label_suffix):
    """Complete with three files, whichever they are, and however many there should be."""
    found = by_patient(names, channels, label_suffix, complete_only=False)[0]
    complete = {p: files for p, files in found.items() if len(files) == 3}
    return [complete, sorted(found.keys() - complete.keys())]


def stripped(names, channels, label_suffix):
    """`rstrip` takes characters off, and not a suffix."""
    suffixes = [*channels, label_suffix]
    groups = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ENDING):
                groups.setdefault(name.rstrip(suffix + ENDING), {})[suffix] = name
    complete = {p: [g[s] for s in suffixes] for p, g in groups.items() if len(g) == len(suffixes)}
    return [complete, sorted(groups.keys() - complete.keys())]


PAIRS = Exercise(
    function="pairs",
    draw=draw_files,
    reference=by_patient,
    hint="Collect a dictionary of dictionaries: for each patient, from suffix to file name. "
    "`str.endswith` finds the suffix, `str.removesuffix` leaves the patient.",
    properties=(
        Property(
            "each file belongs to the patient it is filed under",
            lambda result, names, channels, label_suffix: all(
                name.startswith(patient) for patient, files in result[0].items() for name in files
            ),
            "Somebody has got another patient's files. How do you find the patient in a name?",
        ),
        Property(
            "nobody is complete and incomplete at once",
            lambda result, names, channels, label_suffix: not set(result[0]) & set(result[1]),
            "A patient for whom something is missing is not in the dictionary.",
        ),
        Property(
            "every patient has a file",
            lambda result, names, channels, label_suffix: all(
                any(patient + suffix + ENDING in names for suffix in [*channels, label_suffix])
                for patient in [*result[0], *result[1]]
            ),
            "Somebody in your answer has no file at all. What is left of a file's name without "
            "its suffix and its ending, whatever the suffix is made of?",
        ),
        Property(
            "every patient who has a file is complete or incomplete",
            lambda result, **inputs: {*result[0], *result[1]} >= everybody(**inputs),
            "Somebody who has a file is in neither part of your answer. Do you look for patients "
            "in the files of one suffix alone? Any file may be the one that is missing.",
        ),
    ),
    mistakes=(
        Mistake(
            "sorted images",
            "The right files, in the wrong order: the network expects the channels as `channels` "
            "gives them, and the alphabet does not know that.",
            gives=lambda names, channels, label_suffix: by_patient(
                names, channels, label_suffix, order=sorted
            ),
        ),
        Mistake(
            "incomplete kept",
            "Somebody in your dictionary lacks a file. Count the files before you take a patient.",
            gives=lambda names, channels, label_suffix: by_patient(
                names, channels, label_suffix, complete_only=False
            ),
        ),
        Mistake(
            "first underscore",
            "Look at the patients' names: they may have underscores of their own. Only the end of "
            "a file name counts.",
            gives=by_first_part,
        ),
        Mistake(
            "last underscore",
            "Do you cut a name at its last underscore? A suffix may have more of them, or none. "
            "The suffixes of a call are given: ask whether the name ends with one.",
            gives=by_last_underscore,
            raises="ValueError",
            saying="values to unpack",
        ),
        Mistake(
            "three files",
            "Something is asked for that is not there. If it is a patient, make their entry first. "
            "If it is a suffix, somebody lacks that file: how many files has a complete patient? "
            "That depends on how many channels there are.",
            gives=three_files,
            raises="KeyError",
        ),
        Mistake(
            "characters stripped",
            "Look at the patients' names in your result: some have lost letters at their end. "
            "`rstrip` removes *characters*; which method removes a suffix?",
            gives=stripped,
        ),
        Mistake(
            "nobody missing",
            "The dictionary is right. The second part of the answer names the patients for whom "
            "something is missing.",
            gives=lambda **inputs: [by_patient(**inputs)[0], []],
        ),
    ),
)

# 11.prepare ----------------------------------------------------------------------------------


def draw_raw(rng):
    """A CT channel with metal and air, and one without a unit and with zeros, in either order."""
    calls = []
    for call in range(4):
        shape = tuple(rng.integers(4, 7, 3))
        ct = {
            "scheme": "ct",
            "inside_mask": False,
            "lower": rng.uniform(-100, -50),
            "upper": rng.uniform(150, 250),
            "mean": rng.uniform(40, 80),
            "standard_deviation": rng.uniform(15, 40),
        }
        z_score = {**ct, "scheme": "z_score", "mean": rng.uniform(200, 300)}
        values = [rng.normal(50, 200, shape), rng.normal(400, 90, shape)]
        values[1][0] = 0
        order = [0, 1] if call % 2 else [1, 0]
        image = np.stack([values[n] for n in order], axis=-1)
        calls.append(
            {
                "image": np.rint(image).astype(np.int16),
                "normalisation": [(ct, z_score)[n] for n in order],
            }
        )
    return calls


def one_channel(values, rule, clip=True, own=True):
    values = values.astype(float)
    if rule["scheme"] == "z_score" and own:
        return (values - np.mean(values)) / np.std(values)
    if clip and rule["scheme"] == "ct":
        values = np.minimum(np.maximum(values, rule["lower"]), rule["upper"])
    return (values - rule["mean"]) / rule["standard_deviation"]


def channel_by_channel(image, normalisation, **how):
    channels = np.moveaxis(image, -1, 0)
    done = [one_channel(c, rule, **how) for c, rule in zip(channels, normalisation, strict=True)]
    return np.stack(done, axis=-1)


def z_score_of_some(image, normalisation):
    """Mean and deviation of the voxels that are not 0."""
    done = channel_by_channel(image, normalisation)
    for channel, rule in enumerate(normalisation):
        if rule["scheme"] == "z_score":
            some = image[..., channel][image[..., channel] != 0]
            done[..., channel] = (image[..., channel] - some.mean()) / some.std()
    return done


def z_score_of_all(image, normalisation):
    done = channel_by_channel(image, normalisation)
    for channel, rule in enumerate(normalisation):
        if rule["scheme"] == "z_score":
            done[..., channel] = (image[..., channel] - image.mean()) / image.std()
    return done


PREPARE = Exercise(
    function="prepare",
    draw=draw_raw,
    reference=channel_by_channel,
    absolute=1e-4,
    hint="Loop over the channels with their entries. Turn image[..., channel] into floating-point "
    "numbers first, treat it by its scheme, and put it into a float32 array of the image's shape.",
    properties=(
        Property(
            "the result is float32",
            lambda result, image, normalisation: result.dtype == np.float32,
            "The network's input is float32: look at `result.dtype`.",
        ),
        Property(
            "the result has the image's shape",
            lambda result, image, normalisation: result.shape == image.shape,
            "The network expects (z, y, x, channel), with the channels last.",
        ),
    ),
    mistakes=(
        Mistake(
            "whole numbers",
            "Only whole numbers come out. An array of integers cuts off what is put into it: make "
            "one of float32.",
            gives=lambda image, normalisation: channel_by_channel(image, normalisation).astype(
                np.int16
            ),
        ),
        Mistake(
            "not clipped",
            "z_score is right. For ct something is missing: metal and air reach far beyond what "
            "the network has seen.",
            gives=lambda image, normalisation: channel_by_channel(image, normalisation, clip=False),
        ),
        Mistake(
            "metadata for all",
            "ct is right. For z_score the entry's mean and deviation do not count: take those of "
            "the scan's own channel.",
            gives=lambda image, normalisation: channel_by_channel(image, normalisation, own=False),
        ),
        Mistake(
            "channels together",
            "ct is right. For z_score you take mean and deviation over all channels: each has "
            "its own.",
            gives=z_score_of_all,
        ),
        Mistake(
            "zeros left out",
            "ct is right. For z_score you leave the zeros out of mean and deviation. Here "
            "`inside_mask` is false: every voxel of the channel counts.",
            gives=z_score_of_some,
        ),
        Mistake(
            "zeros stay zero",
            "ct is right. For z_score you treat only the voxels that are not 0. Here "
            "`inside_mask` is false: every voxel of the channel counts.",
            gives=lambda image, normalisation: np.where(
                [rule["scheme"] == "z_score" for rule in normalisation] & (image == 0),
                0,
                z_score_of_some(image, normalisation),
            ),
        ),
    ),
)

# 11.average ----------------------------------------------------------------------------------


def draw_folds(rng):
    """Folds that agree in one configuration and disagree in the other; unequal numbers of them."""
    calls = []
    for _ in range(CALLS):
        classes = int(rng.integers(3, 5))
        agreeing = rng.normal(size=(1, 8, classes)) + 0.2 * rng.normal(size=(3, 8, classes))
        quarrelling = 3 * rng.normal(size=(5, 8, classes))
        calls.append({"configurations": [softmax(z, axis=-1) for z in (agreeing, quarrelling)]})
    return calls


def of_logits(folds):
    """The softmax of averaged logits: the logarithm of a probability is a logit."""
    return softmax(np.mean(np.log(folds), axis=0), axis=-1)


def geometric(folds):
    return np.prod(folds, axis=0) ** (1 / len(folds))


def mean_over(inner):
    return lambda configurations: np.mean([inner(folds) for folds in configurations], axis=0)


def normalised_late(configurations):
    total = mean_over(geometric)(configurations)
    return total / total.sum(axis=-1, keepdims=True)


def geometric_throughout(configurations):
    return of_logits([of_logits(folds) for folds in configurations])


def over_voxels(folds):
    return geometric(folds) / geometric(folds).sum(axis=0, keepdims=True)


AVERAGE = Exercise(
    function="average",
    draw=draw_folds,
    reference=mean_over(of_logits),
    hint="Work out by hand the geometric mean of (0.9, 0.1) and (0.1, 0.9). What does it sum to?",
    properties=(
        Property(
            "probabilities sum to 1 over the classes",
            lambda result, configurations: np.allclose(np.sum(result, axis=-1), 1),
            "Look at `result.sum(axis=-1)`. What do the parts of the mean sum to, one by one?",
        ),
    ),
    mistakes=(
        Mistake(
            "not normalised",
            "Print the sum over the classes of what this gives, for each voxel. Where is it "
            "smallest, and is the comment in the code true of *this* mean?",
            gives=mean_over(geometric),
        ),
        Mistake(
            "normalised late",
            "Now the result sums to 1. But the configuration whose folds disagree still has less "
            "say: its part had shrunk before the mean over configurations.",
            gives=normalised_late,
        ),
        Mistake(
            "ordinary mean",
            "It sums to 1, and is an ensemble, but another one: the folds of one configuration "
            "are averaged as logits, which makes a geometric mean.",
            gives=mean_over(lambda folds: folds.mean(axis=0)),
        ),
        Mistake(
            "geometric throughout",
            "The folds are right. Over the *configurations* the ordinary mean is asked for: these "
            "see the scan on different grids, and share no logits.",
            gives=geometric_throughout,
        ),
        Mistake(
            "over voxels",
            "You divide by a sum over the voxels. In each voxel the *classes* have to sum to 1: "
            "look at the axis.",
            gives=mean_over(over_voxels),
        ),
        Mistake(
            "softmax of probabilities",
            "It sums to 1, but softmax belongs to logits, and these are probabilities already. "
            "Dividing by the sum is enough.",
            gives=mean_over(lambda folds: softmax(geometric(folds), axis=-1)),
        ),
    ),
)

# 11.component --------------------------------------------------------------------------------


def draw_organs(rng):
    """A large organ, a smaller one apart from it, each with specks of one and of two voxels."""
    calls = []
    for call in range(CALLS):
        labels = np.zeros((9, 16, 9), np.uint8)
        labels[1 : 6 + rng.integers(2), 1:6, 1:7] = 1
        labels[1:5, 10 : 13 + rng.integers(2), 1:5] = 2
        labels[8, 0, 8] = labels[8, 15, 0] = 1
        labels[8, 8, 7:9] = labels[0, 8, 8] = 2
        labels[8, 8, 3:5] = labels[7, 15, 8] = 3  # a third class, in two pieces
        labels[5, 13 + rng.integers(2), 5] = 2  # may touch the organ by a corner alone
        labels[5, labels[4, :, 4].nonzero()[0].max() + 1, 5] = 2
        turned = np.flip(labels, tuple(np.flatnonzero(rng.integers(0, 2, 3))))
        turned = turned.transpose(rng.permutation(3)).copy()
        calls.append({"labels": turned, "classes": [[2], [1, 2], [1], [2, 3], [1, 2, 3]][call]})
    return calls


def pieces_of(mask, neighbours=3):
    """The pieces of a mask, each found by letting its first voxel grow."""
    structure, left, found = ndimage.generate_binary_structure(3, neighbours), mask.copy(), []
    while left.any():
        seed = np.zeros_like(mask)
        seed.flat[left.argmax()] = True
        found.append(ndimage.binary_propagation(seed, structure, mask=mask))
        left &= ~found[-1]
    return found


def kept(labels, classes, neighbours=3, choose=max):
    result = labels.copy()
    for value in classes:
        mask = labels == value
        result[mask & ~choose(pieces_of(mask, neighbours), key=np.sum)] = 0
    return result


def of_foreground(labels, classes):
    return np.where(max(pieces_of(labels > 0), key=np.sum), labels, 0)


def others_removed(labels, classes):
    result = kept(labels, classes)
    return np.where(np.isin(result, classes), result, 0)


COMPONENT = Exercise(
    function="keep_largest",
    draw=draw_organs,
    reference=kept,
    hint="In which voxels may the rule for one class change anything? `mask` should say that.",
    properties=(
        Property(
            "classes without the rule stay as they are",
            lambda result, labels, classes: bool(
                np.all((result == labels) | np.isin(labels, classes))
            ),
            "Count the voxels of each class before and after. Some of a class that is not in "
            "`classes` are gone.",
        ),
        Property(
            "something is left of every class",
            lambda result, labels, classes: set(np.unique(result)) == set(np.unique(labels)),
            "A class has vanished. Its largest piece should be left.",
        ),
    ),
    mistakes=(
        Mistake(
            "all foreground",
            "Count the voxels of each class before and after, with classes=[2]. Which pieces are "
            "compared with each other here, and which should be?",
            gives=of_foreground,
        ),
        Mistake(
            "every class",
            "You treat every class in the map. Only for those in `classes` has validation decided.",
            gives=lambda labels, classes: kept(labels, [1, 2, 3]),
        ),
        Mistake(
            "others removed",
            "The classes with the rule are right. But the other ones are gone: they should stay.",
            gives=others_removed,
        ),
        Mistake(
            "faces only",
            "For you only voxels that share a face belong together. Here an edge or a corner is "
            "enough.",
            gives=lambda labels, classes: kept(labels, classes, neighbours=1),
        ),
        Mistake(
            "smallest",
            "You keep the smallest piece.",
            gives=lambda labels, classes: kept(labels, classes, choose=min),
        ),
    ),
)

# 11.paste ------------------------------------------------------------------------------------


def draw_pasted(rng):
    """Padding that is unequal before and behind, factors that differ, and room in the scan."""
    calls = []
    for call in range(CALLS):
        padding = [[int(n), int(n) + 1] for n in rng.permutation([1, 2, 3])]
        if call == 0:
            padding = [[0, 0]] * 3  # a scan that needed none
        inner = rng.integers(2, 5, 3)
        size = [int(n + b + a) for n, (b, a) in zip(inner, padding, strict=True)]
        factors = [int(factor) for factor in rng.permutation([2, 3, 4])]
        corner = [int(n) for n in rng.integers(1, 4, 3)]
        room = [c + s * f for c, s, f in zip(corner, size, factors, strict=True)]
        calls.append(
            {
                "labels": rng.integers(1, 4, size).astype(np.uint8),
                "padding": padding,
                "factors": factors,
                "corner": corner,
                "shape": [n + int(rng.integers(1, 4)) for n in room],
            }
        )
    return calls


def by_place(labels, padding, factors, corner, shape, margin=None):
    """For each voxel of the scan, the network's voxel that it lies in.

    margin: makes the scan's voxels to leave out at each end from (before, behind) and the factor.
    """
    margin = margin or (lambda pair, factor: (pair[0] * factor, pair[1] * factor))
    axes, inside = [], []
    for pair, factor, start, size, length in zip(
        padding, factors, corner, labels.shape, shape, strict=True
    ):
        first, last = margin(pair, factor)
        places = np.arange(length) - start + first
        inside.append((places >= first) & (places < size * factor - last))
        axes.append(np.clip(places // factor, 0, size - 1))
    there = inside[0][:, None, None] & inside[1][:, None] & inside[2]
    return np.where(there, labels[np.ix_(*axes)], 0)


def cut_at_minus_nothing(labels, padding, factors, corner, shape):
    """What `padding_before:-padding_behind` keeps: nothing at all, where nothing was put behind."""
    if any(behind == 0 for _, behind in padding):
        return np.zeros(shape, labels.dtype)
    return by_place(labels, padding, factors, corner, shape)


PASTE = Exercise(
    function="paste",
    draw=draw_pasted,
    reference=by_place,
    hint="Write down the order in which preprocessing worked: crop, resample, pad. Now read the "
    "function backwards. On which grid is `padding` counted?",
    properties=(
        Property(
            "the result has the shape of the scan",
            lambda result, labels, padding, factors, corner, shape: list(result.shape) == shape,
            "The result lies on the scan's grid.",
        ),
        Property(
            "as much of the scan is covered as was cut out of it",
            lambda result, labels, padding, factors, corner, shape: (
                np.count_nonzero(result)
                == np.prod(
                    [
                        (size - sum(pair)) * factor
                        for size, pair, factor in zip(labels.shape, padding, factors, strict=True)
                    ]
                )
            ),
            "Every voxel of the box has a label here, and none beyond. Count them: what was padded "
            "has no place in the scan.",
        ),
    ),
    mistakes=(
        Mistake(
            "margins of another grid",
            "Without padding you are right. With it, compare the size of `box` just before it is "
            "pasted with that of what was cut out. How many voxels of which grid are cut off?",
            gives=lambda **inputs: by_place(**inputs, margin=lambda pair, factor: pair),
        ),
        Mistake(
            "padding left",
            "You leave the padding in. What was put around the image has no place in the scan.",
            gives=lambda **inputs: by_place(**inputs, margin=lambda pair, factor: (0, 0)),
        ),
        Mistake(
            "cut at minus nothing",
            "With padding you are right. Where nothing was put behind, `[before:-behind]` is "
            "`[0:-0]`, which is empty. Write the end as a place: the size less what is behind.",
            gives=cut_at_minus_nothing,
        ),
        Mistake(
            "same margin at both ends",
            "You cut as much off behind as before. Of an odd number more were put behind.",
            gives=lambda **inputs: by_place(
                **inputs, margin=lambda pair, factor: (pair[0] * factor, pair[0] * factor)
            ),
        ),
        Mistake(
            "ends exchanged",
            "The size is right. But you cut off before what was put behind.",
            gives=lambda **inputs: by_place(
                **inputs, margin=lambda pair, factor: (pair[1] * factor, pair[0] * factor)
            ),
        ),
    ),
)

EXERCISES = {
    "11.aside": ASIDE,
    "11.pairs": PAIRS,
    "11.prepare": PREPARE,
    "11.average": AVERAGE,
    "11.component": COMPONENT,
    "11.paste": PASTE,
}

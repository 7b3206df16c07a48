"""Answers that the checks of lesson 11 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""


# %% 11.aside | mistake: set aside, and used
def parts(cases, aside, folds, fold):
    left = cases[aside:]
    validation = left[fold::folds]
    return [case for case in cases if case not in validation], validation


# %% 11.aside | mistake: validated on training
def parts(cases, aside, folds, fold):
    left = cases[aside:]
    return left, left[fold::folds]


# %% 11.aside | mistake: one other fold
def parts(cases, aside, folds, fold):
    left = cases[aside:]
    return left[(fold + 1) % folds :: folds], left[fold::folds]


# %% 11.aside | mistake: the training cases are in the order of the list
def parts(cases, aside, folds, fold):
    left = cases[aside:]
    validation = left[fold::folds]
    return list(set(left) - set(validation)), validation


# %% 11.aside | right: by index
def parts(cases, aside, folds, fold):
    left = cases[aside:]
    training = []
    for index, case in enumerate(left):
        if index % folds != fold:
            training.append(case)
    return training, left[fold::folds]


# %% 11.pairs | mistake: sorted images
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name[: -len(suffix + ".nii.gz")]
                found.setdefault(patient, {})[suffix] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = sorted(files[c] for c in channels) + [files[label_suffix]]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: incomplete kept
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name[: -len(suffix + ".nii.gz")]
                found.setdefault(patient, {})[suffix] = name
    complete, missing = {}, []
    for patient, files in found.items():
        complete[patient] = [files[suffix] for suffix in suffixes if suffix in files]
        if len(files) < len(suffixes):
            missing.append(patient)
    return complete, sorted(missing)


# %% 11.pairs | mistake: first underscore
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name.split("_")[0]
                found.setdefault(patient, {})[suffix] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: last underscore
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        patient, _, end = name.removesuffix(".nii.gz").rpartition("_")
        if name.endswith(".nii.gz") and "_" + end in suffixes:
            found.setdefault(patient, {})["_" + end] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: every patient has a file
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        if name.endswith(".nii.gz"):
            patient, _, end = name.removesuffix(".nii.gz").rpartition("_")
            found.setdefault(patient, {})["_" + end] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: three files
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name[: -len(suffix + ".nii.gz")]
                found.setdefault(patient, {})[suffix] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == 3:
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: characters stripped
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name.rstrip(suffix + ".nii.gz")
                found.setdefault(patient, {})[suffix] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, sorted(set(found) - set(complete))


# %% 11.pairs | mistake: nobody missing
def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    found = {}
    for name in names:
        for suffix in suffixes:
            if name.endswith(suffix + ".nii.gz"):
                patient = name[: -len(suffix + ".nii.gz")]
                found.setdefault(patient, {})[suffix] = name
    complete = {}
    for patient, files in found.items():
        if len(files) == len(suffixes):
            complete[patient] = [files[suffix] for suffix in suffixes]
    return complete, []


# %% 11.pairs | mistake: every patient who has a file is complete or incomplete
def pairs(names, channels, label_suffix):
    first = channels[0] + ".nii.gz"
    patients = [name.removesuffix(first) for name in names if name.endswith(first)]
    complete, missing = {}, []
    for patient in sorted(patients):
        files = [patient + suffix + ".nii.gz" for suffix in [*channels, label_suffix]]
        if all(file in names for file in files):
            complete[patient] = files
        else:
            missing.append(patient)
    return complete, missing


# %% 11.pairs | right: regular expression
import re


def pairs(names, channels, label_suffix):
    suffixes = [*channels, label_suffix]
    pattern = re.compile("(.+)(" + "|".join(map(re.escape, suffixes)) + r")\.nii\.gz")
    matches = [match for match in map(pattern.fullmatch, names) if match]
    patients = {match[1] for match in matches}
    wanted = {one: [one + suffix + ".nii.gz" for suffix in suffixes] for one in patients}
    complete = {one: files for one, files in wanted.items() if set(files) <= set(names)}
    return complete, sorted(patients - set(complete))


# %% 11.prepare | mistake: whole numbers
import numpy as np


def prepare(image, normalisation):
    result = np.zeros_like(image)
    for c, rule in enumerate(normalisation):
        v = image[..., c].astype(np.float32)
        if rule["scheme"] == "ct":
            v = v.clip(rule["lower"], rule["upper"])
            v = (v - rule["mean"]) / rule["standard_deviation"]
        else:
            v = (v - v.mean()) / v.std()
        result[..., c] = v
    return result


# %% 11.prepare | mistake: not clipped
import numpy as np


def prepare(image, normalisation):
    result = np.zeros(image.shape, np.float32)
    for c, rule in enumerate(normalisation):
        v = image[..., c].astype(np.float32)
        if rule["scheme"] == "ct":
            v = (v - rule["mean"]) / rule["standard_deviation"]
        else:
            v = (v - v.mean()) / v.std()
        result[..., c] = v
    return result


# %% 11.prepare | mistake: metadata for all
import numpy as np


def prepare(image, normalisation):
    result = np.zeros(image.shape, np.float32)
    for c, rule in enumerate(normalisation):
        v = image[..., c].astype(np.float32)
        if rule["scheme"] == "ct":
            v = v.clip(rule["lower"], rule["upper"])
            v = (v - rule["mean"]) / rule["standard_deviation"]
        else:
            v = (v - rule["mean"]) / rule["standard_deviation"]
        result[..., c] = v
    return result


# %% 11.prepare | mistake: channels together
import numpy as np


def prepare(image, normalisation):
    result = np.zeros(image.shape, np.float32)
    for c, rule in enumerate(normalisation):
        v = image[..., c].astype(np.float32)
        if rule["scheme"] == "ct":
            v = v.clip(rule["lower"], rule["upper"])
            v = (v - rule["mean"]) / rule["standard_deviation"]
        else:
            v = (v - image.mean()) / image.std()
        result[..., c] = v
    return result


# %% 11.prepare | mistake: the result is float32
import numpy as np


def prepare(image, normalisation):
    result = np.zeros(image.shape)
    for c, rule in enumerate(normalisation):
        v = image[..., c].astype(np.float32)
        if rule["scheme"] == "ct":
            v = v.clip(rule["lower"], rule["upper"])
            v = (v - rule["mean"]) / rule["standard_deviation"]
        else:
            v = (v - v.mean()) / v.std()
        result[..., c] = v
    return result


# %% 11.prepare | right: bounds, centre and scale first
import numpy as np


def prepare(image, normalisation):
    values = image.reshape(-1, image.shape[-1]).astype(np.float64)  # (voxel, channel)
    ct = np.array([rule["scheme"] == "ct" for rule in normalisation])
    lower = [rule["lower"] if rule["scheme"] == "ct" else -np.inf for rule in normalisation]
    upper = [rule["upper"] if rule["scheme"] == "ct" else np.inf for rule in normalisation]
    mean = np.where(ct, [rule["mean"] for rule in normalisation], values.mean(axis=0))
    spread = [rule["standard_deviation"] for rule in normalisation]
    spread = np.where(ct, spread, values.std(axis=0))
    result = (values.clip(lower, upper) - mean) / spread
    return result.reshape(image.shape).astype("float32")


# %% 11.prepare | mistake: zeros left out
import numpy as np


def prepare(image, normalisation):
    result = np.empty(image.shape, np.float32)
    for channel, rule in enumerate(normalisation):
        values = image[..., channel].astype(np.float64)
        if rule["scheme"] == "ct":
            values = np.clip(values, rule["lower"], rule["upper"])
            values = (values - rule["mean"]) / rule["standard_deviation"]
        else:
            some = values[values != 0]
            values = (values - some.mean()) / some.std()
        result[..., channel] = values
    return result


# %% 11.prepare | mistake: zeros stay zero
import numpy as np


def prepare(image, normalisation):
    result = np.empty(image.shape, np.float32)
    for channel, rule in enumerate(normalisation):
        values = image[..., channel].astype(np.float64)
        if rule["scheme"] == "ct":
            values = np.clip(values, rule["lower"], rule["upper"])
            values = (values - rule["mean"]) / rule["standard_deviation"]
        else:
            some = values != 0
            values[some] = (values[some] - values[some].mean()) / values[some].std()
        result[..., channel] = values
    return result


# %% 11.average | mistake: not normalised
import numpy as np


def average(configurations):
    return np.mean([np.prod(f, axis=0) ** (1 / len(f)) for f in configurations], axis=0)


# %% 11.average | mistake: normalised late
import numpy as np


def average(configurations):
    means = [np.exp(np.log(folds).mean(axis=0)) for folds in configurations]
    mean = np.mean(means, axis=0)
    return mean / mean.sum(axis=-1, keepdims=True)


# %% 11.average | mistake: ordinary mean
import numpy as np


def average(configurations):
    return np.mean([folds.mean(axis=0) for folds in configurations], axis=0)


# %% 11.average | mistake: geometric throughout
import numpy as np


def average(configurations):
    def normalised(parts):
        mean = np.exp(np.log(parts).mean(axis=0))
        return mean / mean.sum(axis=-1, keepdims=True)

    return normalised([normalised(folds) for folds in configurations])


# %% 11.average | mistake: over voxels
import numpy as np


def average(configurations):
    answers = []
    for folds in configurations:
        mean = np.exp(np.log(folds).mean(axis=0))
        answers.append(mean / mean.sum(axis=0))
    return np.mean(answers, axis=0)


# %% 11.average | mistake: softmax of probabilities
import numpy as np


def average(configurations):
    answers = []
    for folds in configurations:
        mean = np.exp(np.exp(np.log(folds).mean(axis=0)))
        answers.append(mean / mean.sum(axis=-1, keepdims=True))
    return np.mean(answers, axis=0)


# %% 11.average | right: softmax of the logarithms
import numpy as np
from scipy.special import log_softmax


def average(configurations):
    total = 0
    for folds in configurations:
        logits = sum(np.log(one) for one in folds) / len(folds)
        total = total + np.exp(log_softmax(logits, axis=1))
    return total / len(configurations)


# %% 11.component | mistake: all foreground
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = labels.copy()
    for _ in classes:
        mask = labels > 0
        pieces, number = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        result[mask & (pieces != 1 + sizes.argmax())] = 0
    return result


# %% 11.component | mistake: every class
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = labels.copy()
    for value in np.unique(labels)[1:]:
        mask = labels == value
        pieces, number = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        result[mask & (pieces != 1 + sizes.argmax())] = 0
    return result


# %% 11.component | mistake: others removed
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = np.where(np.isin(labels, classes), labels, 0)
    for value in classes:
        mask = labels == value
        pieces, number = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        result[mask & (pieces != 1 + sizes.argmax())] = 0
    return result


# %% 11.component | mistake: faces only
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = labels.copy()
    for value in classes:
        mask = labels == value
        pieces, number = ndimage.label(mask)
        sizes = np.bincount(pieces.ravel())[1:]
        result[mask & (pieces != 1 + sizes.argmax())] = 0
    return result


# %% 11.component | mistake: smallest
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = labels.copy()
    for value in classes:
        mask = labels == value
        pieces, number = ndimage.label(mask, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        result[mask & (pieces != 1 + sizes.argmin())] = 0
    return result


# %% 11.component | right: by painting
import numpy as np
from scipy import ndimage


def keep_largest(labels, classes):
    result = np.where(np.isin(labels, classes), 0, labels)
    for value in classes:
        structure = ndimage.generate_binary_structure(3, 3)
        pieces, number = ndimage.label(labels == value, structure)
        sizes = [np.sum(pieces == piece) for piece in range(1, number + 1)]
        result[pieces == 1 + int(np.argmax(sizes))] = value
    return result


# %% 11.paste | mistake: margins of another grid
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = np.kron(labels, np.ones(factors, labels.dtype))
    scan = np.zeros(shape, labels.dtype)
    (z0, z1), (y0, y1), (x0, x1) = padding
    size_z, size_y, size_x = box.shape
    box = box[z0 : size_z - z1, y0 : size_y - y1, x0 : size_x - x1]
    z, y, x = corner
    size_z, size_y, size_x = box.shape
    scan[z : z + size_z, y : y + size_y, x : x + size_x] = box
    return scan


# %% 11.paste | mistake: padding left
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = np.kron(labels, np.ones(factors, labels.dtype))
    scan = np.zeros(shape, labels.dtype)
    (z0, z1), (y0, y1), (x0, x1) = [(0, 0)] * 3
    size_z, size_y, size_x = box.shape
    box = box[z0 : size_z - z1, y0 : size_y - y1, x0 : size_x - x1]
    z, y, x = corner
    size_z, size_y, size_x = box.shape
    scan[z : z + size_z, y : y + size_y, x : x + size_x] = box
    return scan


# %% 11.paste | mistake: cut at minus nothing
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = labels[tuple(slice(before, -behind) for before, behind in padding)]
    for axis, factor in enumerate(factors):
        box = box.repeat(factor, axis)
    scan = np.zeros(shape, labels.dtype)
    scan[tuple(slice(c, c + n) for c, n in zip(corner, box.shape))] = box
    return scan


# %% 11.paste | mistake: same margin at both ends
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = np.kron(labels, np.ones(factors, labels.dtype))
    scan = np.zeros(shape, labels.dtype)
    (z0, z1), (y0, y1), (x0, x1) = [(b * f, b * f) for (b, _), f in zip(padding, factors)]
    size_z, size_y, size_x = box.shape
    box = box[z0 : size_z - z1, y0 : size_y - y1, x0 : size_x - x1]
    z, y, x = corner
    size_z, size_y, size_x = box.shape
    scan[z : z + size_z, y : y + size_y, x : x + size_x] = box
    return scan


# %% 11.paste | mistake: ends exchanged
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = np.kron(labels, np.ones(factors, labels.dtype))
    scan = np.zeros(shape, labels.dtype)
    (z0, z1), (y0, y1), (x0, x1) = [(a * f, b * f) for (b, a), f in zip(padding, factors)]
    size_z, size_y, size_x = box.shape
    box = box[z0 : size_z - z1, y0 : size_y - y1, x0 : size_x - x1]
    z, y, x = corner
    size_z, size_y, size_x = box.shape
    scan[z : z + size_z, y : y + size_y, x : x + size_x] = box
    return scan


# %% 11.paste | right: margins on the scan's grid
import numpy as np


def paste(labels, padding, factors, corner, shape):
    box = np.kron(labels, np.ones(factors, labels.dtype))
    scan = np.zeros(shape, labels.dtype)
    (z0, z1), (y0, y1), (x0, x1) = [(b * f, a * f) for (b, a), f in zip(padding, factors)]
    size_z, size_y, size_x = box.shape
    box = box[z0 : size_z - z1, y0 : size_y - y1, x0 : size_x - x1]
    z, y, x = corner
    size_z, size_y, size_x = box.shape
    scan[z : z + size_z, y : y + size_y, x : x + size_x] = box
    return scan

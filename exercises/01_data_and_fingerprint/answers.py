"""Answers that the checks of lesson 01 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 01.millilitres | mistake: signed
import numpy as np


def millilitres(label, affine, value):
    return (label == value).sum() * np.linalg.det(affine[:3, :3]) / 1000


# %% 01.millilitres | mistake: diagonal
import numpy as np


def millilitres(label, affine, value):
    sx, sy, sz = abs(affine[0, 0]), abs(affine[1, 1]), abs(affine[2, 2])
    return np.count_nonzero(label == value) * sx * sy * sz / 1000


# %% 01.millilitres | mistake: diagonal with its sign
import numpy as np


def millilitres(label, affine, value):
    return (label == value).sum() * np.prod(np.diag(affine)[:3]) / 1000


# %% 01.millilitres | mistake: rows
import numpy as np


def millilitres(label, affine, value):
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=1))
    return np.count_nonzero(label == value) * spacing.prod() / 1000


# %% 01.millilitres | mistake: voxels
def millilitres(label, affine, value):
    return int((label == value).sum()) / 1000


# %% 01.millilitres | right: lengths of the columns
import numpy as np


def millilitres(label, affine, value):
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))  # the axes stand at right angles
    return float(np.prod(spacing) * np.sum(label == value) * 1e-3)


# %% 01.millilitres | right: nibabel
import nibabel
import numpy as np


def millilitres(label, affine, value):
    volume = np.float32(nibabel.affines.voxel_sizes(affine).prod())
    return [np.float32(np.sum(label == value)) * volume / 1000][0]


# %% 01.faults | mistake: looks into a missing file
def faults(description, files):
    found = {}
    for case in description["training"]:
        image, label = files[case["image"]], files[case["label"]]
        if label["shape"] != image["shape"]:
            found[case["label"]] = "shape"
    return found


# %% 01.faults | mistake: the last fault
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        image, label = files.get(case["image"]), files.get(case["label"])
        if image is None:
            found[case["image"]] = "missing"
        if label is None:
            found[case["label"]] = "missing"
        if image is None or label is None:
            continue
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        if np.abs(image["affine"] - label["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        if any(value not in description["labels"].values() for value in label["values"]):
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: exact affines
def faults(description, files):
    known, found = list(description["labels"].values()), {}
    for case in description["training"]:
        image, label = files.get(case["image"]), files.get(case["label"])
        if image is None:
            found[case["image"]] = "missing"
        if label is None:
            found[case["label"]] = "missing"
        if image is None or label is None:
            continue
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif (image["affine"] != label["affine"]).any():
            found[case["label"]] = "affine"
        elif any(value not in known for value in label["values"]):
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: only lowered entries
import numpy as np


def faults(description, files):
    known, found = set(description["labels"].values()), {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif (image["affine"] - label["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        elif set(label["values"]) - known:
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: only raised entries
import numpy as np


def faults(description, files):
    known, found = set(description["labels"].values()), {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif (label["affine"] - image["affine"] > 0.01).any():
            found[case["label"]] = "affine"
        elif set(label["values"]) - known:
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: the shift alone
import numpy as np


def faults(description, files):
    known, found = set(description["labels"].values()), {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif np.abs(label["affine"][:3, 3] - image["affine"][:3, 3]).max() > 0.01:
            found[case["label"]] = "affine"
        elif set(label["values"]) - known:
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: the axes alone
import numpy as np


def faults(description, files):
    known, found = set(description["labels"].values()), {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif np.abs((label["affine"] - image["affine"])[:3, :3]).max() > 0.01:
            found[case["label"]] = "affine"
        elif set(label["values"]) - known:
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: stops at the first
import numpy as np


def faults(description, files):
    for case in description["training"]:
        for path in case.values():
            if path not in files:
                return {path: "missing"}
        image, label = files[case["image"]], files[case["label"]]
        if label["shape"] != image["shape"]:
            return {case["label"]: "shape"}
        if np.abs(label["affine"] - image["affine"]).max() > 0.01:
            return {case["label"]: "affine"}
        if set(label["values"]) - set(description["labels"].values()):
            return {case["label"]: "values"}
    return {}


# %% 01.faults | mistake: labels counted
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if label["shape"] != image["shape"]:
            found[case["label"]] = "shape"
        elif np.abs(label["affine"] - image["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        elif max(label["values"]) >= len(description["labels"]):
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: values before the grid
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif set(label["values"]) - set(description["labels"].values()):
            found[case["label"]] = "values"
        elif np.abs(label["affine"] - image["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
    return found


# %% 01.faults | mistake: values of an image
def faults(description, files):
    known, found = set(description["labels"].values()), {}
    for case in description["training"]:
        for path in case.values():
            if path not in files:
                found[path] = "missing"
            elif set(files[path]["values"]) - known:
                found[path] = "values"
    return found


# %% 01.faults | mistake: names for values
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif np.abs(label["affine"] - image["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        elif any(v not in description["labels"] for v in label["values"]):
            found[case["label"]] = "values"
    return found


# %% 01.faults | mistake: all labels wanted
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif np.abs(label["affine"] - image["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        elif set(label["values"]) != set(description["labels"].values()):
            found[case["label"]] = "values"
    return found


# %% 01.faults | right: a set without the known
import numpy as np


def faults(description, files):
    found = {}
    for case in description["training"]:
        absent = {path: "missing" for path in case.values() if path not in files}
        found.update(absent)
        if absent:
            continue
        image, label = files[case["image"]], files[case["label"]]
        if image["shape"] != label["shape"]:
            found[case["label"]] = "shape"
        elif np.abs(label["affine"] - image["affine"]).max() > 0.01:
            found[case["label"]] = "affine"
        elif {*label["values"]}.difference(description["labels"].values()):
            found[case["label"]] = "values"
    return found


# %% 01.faults | right: a function for one case
import numpy as np


def fault(image, label, known):
    tests = {
        "shape": lambda: image["shape"] != label["shape"],
        "affine": lambda: not np.allclose(image["affine"], label["affine"], rtol=0, atol=0.01),
        "values": lambda: not known.issuperset(label["values"]),
    }
    return next((name for name, is_so in tests.items() if is_so()), None)


def faults(description, files):
    known, found = {*description["labels"].values()}, {}
    for case in description["training"]:
        image, label = files.get(case["image"]), files.get(case["label"])
        if image is None or label is None:
            found |= {path: "missing" for path in case.values() if path not in files}
        elif word := fault(image, label, known):
            found[case["label"]] = word
    return found


# %% 01.intensities | mistake: background
import numpy as np


def intensities(images, labels):
    mean = np.mean([image.mean() for image in images])
    return mean, np.sqrt(np.mean([((image - mean) ** 2).mean() for image in images]))


# %% 01.intensities | mistake: pooled
import numpy as np


def intensities(images, labels):
    values = np.concatenate([image[label != 0] for image, label in zip(images, labels)])
    return float(values.mean()), float(values.std())


# %% 01.intensities | mistake: mean of deviations
import numpy as np


def intensities(images, labels):
    inside = [image[label > 0] for image, label in zip(images, labels, strict=True)]
    return np.mean([v.mean() for v in inside]), np.mean([v.std() for v in inside])


# %% 01.intensities | mistake: only within cases
import numpy as np


def intensities(images, labels):
    inside = [image[label > 0] for image, label in zip(images, labels, strict=True)]
    return np.mean([v.mean() for v in inside]), np.mean([v.var() for v in inside]) ** 0.5


# %% 01.intensities | mistake: only between cases
import numpy as np


def intensities(images, labels):
    means = np.array([image[label > 0].mean() for image, label in zip(images, labels, strict=True)])
    return means.mean(), means.std()


# %% 01.intensities | mistake: structures weighing the same
import numpy as np


def intensities(images, labels):
    means, squares = [], []
    for image, label in zip(images, labels, strict=True):
        for structure in np.unique(label[label > 0]):
            values = image[label == structure].astype(float)
            means.append(values.mean())
            squares.append((values**2).mean())
    return np.mean(means), np.sqrt(np.mean(squares) - np.mean(means) ** 2)


# %% 01.intensities | right: each voxel with its weight
import numpy as np


def intensities(images, labels):
    values, weights = [], []
    for image, label in zip(images, labels, strict=True):
        inside = image[np.nonzero(label)]
        values.extend(inside.tolist())
        weights.extend([1 / inside.size] * inside.size)
    mean = np.average(values, weights=weights)
    return [mean, np.average((np.array(values) - mean) ** 2, weights=weights) ** 0.5]


# %% 01.intensities | right: variance within plus variance between
import numpy as np


def intensities(images, labels):
    inside = [image[label > 0].astype(float) for image, label in zip(images, labels, strict=True)]
    means, variances = [v.mean() for v in inside], [v.var() for v in inside]
    return np.array([np.mean(means), np.sqrt(np.mean(variances) + np.var(means))])


# %% 01.spacing | mistake: axis order
import numpy as np


def distance(first, second, affine):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return sum(((b - a) * s) ** 2 for a, b, s in zip(first, second, spacing, strict=True)) ** 0.5


# %% 01.spacing | mistake: rows
import numpy as np


def distance(first, second, affine):
    spacing = np.linalg.norm(affine[:3, :3], axis=1)[::-1]
    return np.linalg.norm(np.subtract(second, first) * spacing)


# %% 01.spacing | mistake: voxels
import math


def distance(first, second, affine):
    return math.dist(first, second)


# %% 01.spacing | right: through the places
import numpy as np


def distance(first, second, affine):
    one = affine[:3, :3] @ np.array(first[::-1]) + affine[:3, 3]
    other = affine[:3, :3] @ np.array(second[::-1]) + affine[:3, 3]
    return np.sqrt(((one - other) ** 2).sum())

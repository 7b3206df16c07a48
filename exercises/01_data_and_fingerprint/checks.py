"""What is checked of the exercises of lesson 01, and which mistakes are known."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5


def random_affine(rng):
    """Axes in a random order and direction, a little turned, and never of equal spacing."""
    spacing = rng.permutation(rng.uniform([0.5, 1.2, 3.0], [1.0, 2.5, 6.0]))
    axes = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    turn = Rotation.from_euler("xyz", rng.uniform(5, 25, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * spacing  # columns: the steps along i, j, k
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return affine


# 01.millilitres ------------------------------------------------------------------------------


def draw_structures(rng):
    """Every second scan is mirrored, and the first has a diagonal of negative product."""
    calls = []
    while len(calls) < CALLS:
        affine = random_affine(rng)
        if (np.linalg.det(affine) < 0) != (len(calls) % 2 == 0):
            affine[:3, 0] *= -1
        if not calls and np.prod(np.diag(affine)) > 0:
            continue
        label = rng.integers(0, 3, rng.integers(4, 9, 3)).astype(np.uint8)
        calls.append({"label": label, "affine": affine, "value": int(rng.integers(1, 3))})
    return calls


def volume(label, affine, value):
    along_i, along_j, along_k = affine[:3, :3].T
    return (label == value).sum() * abs(np.dot(along_i, np.cross(along_j, along_k))) / 1000


def count(label, value):
    return (label == value).sum()


TURNED = (
    "The diagonal holds the spacing only while i, j, k run along x, y, z. Look at the whole "
    "columns: these scans are turned."
)

MILLILITRES = Exercise(
    function="millilitres",
    draw=draw_structures,
    reference=volume,
    hint="A voxel is a box whose edges are the first three columns of the affine, without their "
    "last entries. Which function of a 3×3 matrix gives the volume of such a box?",
    mistakes=(
        Mistake(
            "signed",
            "Some of your volumes are negative. A scan may be stored from left to right or from "
            "right to left, and a determinant knows the difference. A volume does not.",
            gives=lambda label, affine, value: (
                count(label, value) * np.linalg.det(affine[:3, :3]) / 1000
            ),
        ),
        Mistake(
            "diagonal",
            TURNED,
            gives=lambda label, affine, value: (
                count(label, value) * abs(np.prod(np.diag(affine)[:3])) / 1000
            ),
        ),
        Mistake(
            "diagonal with its sign",
            f"{TURNED} And a volume is never negative.",
            gives=lambda label, affine, value: (
                count(label, value) * np.prod(np.diag(affine)[:3]) / 1000
            ),
        ),
        Mistake(
            "rows",
            "The step from a voxel to its neighbour is a *column* of the affine, and you took "
            "rows. On a scan that is turned they have other lengths.",
            gives=lambda label, affine, value: (
                count(label, value) * np.prod(np.linalg.norm(affine[:3, :3], axis=1)) / 1000
            ),
        ),
        Mistake(
            "voxels",
            "You count voxels, and give each of them 1 mm³. How many cubic millimetres has a voxel "
            "of this scan?",
            gives=lambda label, affine, value: count(label, value) / 1000,
        ),
    ),
)


# 01.faults -----------------------------------------------------------------------------------

NAMES = {"background": 0, "anterior": 1, "posterior": 3}  # 2 lies between, and is no label


def draw_datasets(rng):
    """The first other affine is raised or lowered, in its shift or its axes: each in turn."""
    calls = []
    for call in range(CALLS):
        first = OtherAffine(raised=call % 2 == 0, shifted=call % 4 < 2)
        second = OtherAffine(raised=not first.raised, shifted=not first.shifted)
        calls.append(draw_dataset(rng, int(rng.integers(12, 16)), first, second))
    return calls


def draw_dataset(rng, cases, first, second):
    """A dataset with each fault at least once, the faultless case first.

    Of the label maps without a fault one lacks a structure, and one has all.
    """
    names = [f"{name:03d}.nii.gz" for name in rng.choice(900, cases, replace=False)]
    training = [{"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"} for name in names]
    files = {}
    for case in training:
        shape, affine = tuple(int(size) for size in rng.integers(5, 50, 3)), random_affine(rng)
        files[case["image"]] = {"shape": shape, "affine": affine}
        noise = rng.uniform(-5e-3, 5e-3, (4, 4))  # more than files round, and allowed
        files[case["label"]] = {"shape": shape, "affine": affine + noise, "values": [0, 1, 3]}
    plants = (no_image, no_label, no_files, other_shape, all_of_it, first)
    plants += (balanced, strange_value, second)
    places = rng.permutation(np.arange(1, cases))[: len(plants)]
    for plant, place in zip(plants, places, strict=True):
        plant(files, training[place], rng)
    strange_value(files, training[places[-1]], rng)  # two faults
    files[training[0]["label"]]["values"] = [0, 1]
    return {"description": {"labels": dict(NAMES), "training": training}, "files": files}


def no_image(files, case, rng):
    del files[case["image"]]


def no_label(files, case, rng):
    del files[case["label"]]


def no_files(files, case, rng):
    no_image(files, case, rng)
    no_label(files, case, rng)


def other_shape(files, case, rng):
    """One voxel more or fewer, along any axis."""
    shape = list(files[case["label"]]["shape"])
    shape[rng.integers(3)] += int(rng.choice([-1, 1]))
    files[case["label"]]["shape"] = tuple(shape)


def all_of_it(files, case, rng):
    for plant in (other_shape, balanced, strange_value):
        plant(files, case, rng)


def balanced(files, case, rng):
    """Two entries differ, and their sum does not."""
    by = rng.uniform(0.5, 5)
    files[case["label"]]["affine"][:2, int(rng.integers(4))] += by, -by


@dataclass(frozen=True)
class OtherAffine:
    """One entry of the label's affine is raised or lowered: in the last column, or before it."""

    raised: bool
    shifted: bool

    def __call__(self, files, case, rng):
        column = 3 if self.shifted else rng.integers(3)
        by = rng.uniform(0.02, 0.1) * (1 if self.raised else -1)
        files[case["label"]]["affine"][rng.integers(3), column] += by


def strange_value(files, case, rng):
    files[case["label"]]["values"] = [0, 1, 2]


def all_near(image, label, near=0.01):
    return np.allclose(image, label, rtol=0, atol=near)


def all_faults(description, files, same=all_near, known=None):
    """By sieves: each fault is looked for in all pairs that the earlier ones have let through."""
    pairs = [(case["image"], case["label"]) for case in description["training"]]
    found = {path: "missing" for pair in pairs for path in pair if path not in files}
    whole = [(files[i], label, files[label]) for i, label in pairs if {i, label} <= files.keys()]
    alike = [(i, n, lab) for i, n, lab in whole if i["shape"] == lab["shape"]]
    found |= {name: "shape" for i, name, lab in whole if i["shape"] != lab["shape"]}
    near = [(n, lab) for i, n, lab in alike if same(i["affine"], lab["affine"])]
    found |= {name: "affine" for _, name, _ in alike if name not in dict(near)}
    known = known or set(description["labels"].values())
    return found | {name: "values" for name, lab in near if set(lab["values"]) - known}


def first_fault(description, files):
    found = all_faults(description, files)
    paths = [path for case in description["training"] for path in case.values()]
    first = next(path for path in paths if path in found)
    return {first: found[first]}


def last_fault(description, files):
    """Each file's last fault in the list of the task."""
    found, known = all_faults(description, files), set(description["labels"].values())
    for case in description["training"]:
        if set(case.values()) <= files.keys():
            image, label = files[case["image"]], files[case["label"]]
            if not all_near(image["affine"], label["affine"]):
                found[case["label"]] = "affine"
            if set(label["values"]) - known:
                found[case["label"]] = "values"
    return found


def path_by_path(found, description):
    """What is said of each path, so that the first that differs can be named."""
    if not isinstance(found, dict):
        return found
    listed = [path for case in description["training"] for path in case.values()]
    told = {path: found.get(path, NOT_REPORTED) for path in listed}
    return told | {"paths that are not listed": [path for path in found if path not in listed]}


NOT_REPORTED = "(not reported)"


def told(function):
    return lambda description, files: path_by_path(function(description, files), description)


def with_affines(same):
    """What comes of another comparison of two affines."""
    return told(lambda description, files: all_faults(description, files, same))


def with_known(labels_of):
    """What comes of taking other values for those that the description names."""
    return told(
        lambda description, files: all_faults(
            description, files, known=labels_of(description["labels"])
        )
    )


def all_wanted(description, files):
    """A label map's values must be all that are named, and not only some of them."""
    known = set(description["labels"].values())
    whole = [c["label"] for c in description["training"] if set(c.values()) <= files.keys()]
    other = {path: "values" for path in whole if set(files[path]["values"]) != known}
    return other | all_faults(description, files)


FAULTS = Exercise(
    function="faults",
    draw=draw_datasets,
    probe=lambda function, description, files: path_by_path(
        function(description, files), description
    ),
    reference=told(all_faults),
    hint="Go through description['training'], and through the list of faults for each case, with "
    "if and elif. Collect in a dictionary, and return it after the loop.",
    properties=(
        Property(
            "every faulty file is reported",
            lambda result, description, files: all(
                result[path] != NOT_REPORTED for path in all_faults(description, files)
            ),
            "Some faulty file is not reported. Take the path that is named above, and follow "
            "its case through each `if`.",
        ),
        Property(
            "no sound file is reported",
            lambda result, description, files: all(
                result[path] == NOT_REPORTED
                for path in result.keys() - all_faults(description, files).keys()
                if path in files
            ),
            "You report a file that is sound. Take the path that is named above: which of your "
            "tests does its case fail, and should it?",
        ),
    ),
    mistakes=(
        Mistake(
            "looks into a missing file",
            "A listed file that does not exist has no entry in `files`. Ask `path in files` before "
            "you look into it, and leave such a case after noting what is missing.",
            raises="KeyError",
            saying="Tr/",
        ),
        Mistake(
            "values of an image",
            "An image has no `values`: `files` has them of label maps alone.",
            raises="KeyError",
            saying="'values'",
        ),
        Mistake(
            "exact affines",
            "Affines are rounded when they are written: two files on one grid may differ in the "
            "sixth digit. Compare with the tolerance of 0.01, on the absolute difference.",
            gives=with_affines(np.array_equal),
        ),
        Mistake(
            "only lowered entries",
            "An entry of the label's affine may be larger than the image's, or smaller. Yours "
            "notices only the smaller ones: a difference has a sign, so take its absolute value.",
            gives=with_affines(lambda image, label: (image - label).max() <= 0.01),
        ),
        Mistake(
            "only raised entries",
            "An entry of the label's affine may be larger than the image's, or smaller. Yours "
            "notices only the larger ones: a difference has a sign, so take its absolute value.",
            gives=with_affines(lambda image, label: (label - image).max() <= 0.01),
        ),
        Mistake(
            "the shift alone",
            "You compare the last column, which says where the scan begins. Its other columns are "
            "the steps to the next voxel, and they may differ as well: compare all entries.",
            gives=with_affines(lambda image, label: all_near(image[:3, 3], label[:3, 3])),
        ),
        Mistake(
            "the axes alone",
            "You compare the columns with the steps to the next voxel. Two scans with the same "
            "steps may begin elsewhere, which the last column says: compare all entries.",
            gives=with_affines(lambda image, label: all_near(image[:3, :3], label[:3, :3])),
        ),
        Mistake(
            "stops at the first",
            "Only the first fault is reported. Whoever mends a dataset wants all of them at once: "
            "return after the loop, not inside of it.",
            gives=told(first_fault),
        ),
        Mistake(
            "the last fault",
            "Where a file has several faults you give the last of them, since a later `if` "
            "replaces what an earlier one noted. The first in the list is asked for: `elif`.",
            gives=told(last_fault),
        ),
        Mistake(
            "labels counted",
            "You take the labels for 0, 1, 2, ... up to their number. Labels are what the "
            "description names, and here they leave one out: look at its values.",
            gives=with_known(lambda labels: set(range(len(labels)))),
        ),
        Mistake(
            "names for values",
            "You find strange values in every label map. `in` asks a dictionary for its keys, and "
            "those of description['labels'] are names such as 'anterior'. Where are the numbers?",
            gives=with_known(set),
        ),
        Mistake(
            "all labels wanted",
            "A scan may show one structure and not the other, so a label map may lack a value. "
            "What is wrong is a value that the description does *not* name.",
            gives=told(all_wanted),
        ),
        Mistake(
            "values before the grid",
            "Of several faults of one file the first in the list counts: a wrong affine comes "
            "before a strange value.",
            gives=told(
                lambda description, files: {
                    path: "values" if fault == "affine" and 2 in files[path]["values"] else fault
                    for path, fault in all_faults(description, files).items()
                }
            ),
        ),
    ),
)


# 01.intensities ------------------------------------------------------------------------------


def draw_cases(rng):
    """The second structure is smaller than the first, and brighter by far."""
    calls = []
    for _ in range(CALLS):
        images, labels = [], []
        for share in rng.uniform([0.05, 0.2, 0.5], [0.1, 0.3, 0.8]):
            shape = rng.integers(8, 14, 3)
            label = (rng.uniform(size=shape) < share) * rng.choice([1, 1, 1, 2], shape)
            label.flat[:3] = 1, 1, 2  # no case is empty
            image = rng.normal(rng.uniform(100, 900), rng.uniform(20, 80), shape)
            image += (label == 2) * rng.uniform(150, 250)
            images.append(np.where(label > 0, image, image + 500).astype(np.float32))
            labels.append(label.astype(np.uint8))
        calls.append({"images": images, "labels": labels})
    return calls


def mixture(images, labels):
    """By moments: E[v²] - E[v]², each the mean over cases of the mean over voxels."""
    inside = [i[m > 0].astype(np.float64) for i, m in zip(images, labels, strict=True)]
    first = np.mean([v.mean() for v in inside])
    second = np.mean([(v**2).mean() for v in inside])
    return first, np.sqrt(second - first**2)


def pooled(images, labels):
    values = np.concatenate([i[m > 0] for i, m in zip(images, labels, strict=True)])
    return values.mean(), values.std()


def structure_by_structure(images, labels):
    """As if each structure of each case were a case."""
    parts = [(i, m == value) for i, m in zip(images, labels, strict=True) for value in (1, 2)]
    return mixture(*zip(*parts, strict=True))


def over_cases(images, labels, spread):
    inside = [i[m > 0].astype(np.float64) for i, m in zip(images, labels, strict=True)]
    return np.mean([v.mean() for v in inside]), spread(inside)


INTENSITIES = Exercise(
    function="intensities",
    draw=draw_cases,
    reference=mixture,
    relative=1e-3,
    hint="First the common mean: the mean of the cases' means. Then, in each case, the mean "
    "squared distance of its voxels from this common mean. The variance is the mean of these.",
    mistakes=(
        Mistake(
            "background",
            "You take all voxels. The fingerprint describes the structures, and the background "
            "would drown them: keep the voxels whose label is above 0.",
            gives=lambda images, labels: mixture(images, [np.ones_like(m) for m in labels]),
        ),
        Mistake(
            "pooled",
            "You throw the voxels of all cases into one heap, so that a case with a large "
            "structure counts for more. Take the mean over cases of what each case says.",
            gives=pooled,
        ),
        Mistake(
            "structures weighing the same",
            "You let each structure of a case weigh the same. It is each *case* that does: inside "
            "a case every voxel of its structures counts once, whatever its label.",
            gives=structure_by_structure,
        ),
        Mistake(
            "mean of deviations",
            "The mean is right. For the spread you average standard deviations, but those do not "
            "average: variances do. And they must be about the common mean.",
            gives=lambda images, labels: over_cases(
                images, labels, lambda inside: np.mean([v.std() for v in inside])
            ),
        ),
        Mistake(
            "only within cases",
            "The mean is right. Your variance is that within the cases, each about its own mean. "
            "That cases differ from each other belongs to the spread, too.",
            gives=lambda images, labels: over_cases(
                images, labels, lambda inside: np.sqrt(np.mean([v.var() for v in inside]))
            ),
        ),
        Mistake(
            "only between cases",
            "The mean is right. Your spread is that of the cases' means alone. The voxels within a "
            "case differ as well.",
            gives=lambda images, labels: over_cases(
                images, labels, lambda inside: np.std([v.mean() for v in inside])
            ),
        ),
    ),
)


# 01.spacing ----------------------------------------------------------------------------------


def draw_pairs(rng):
    return [
        {
            "first": tuple(rng.integers(0, 40, 3).tolist()),
            "second": tuple(rng.integers(60, 100, 3).tolist()),
            "affine": random_affine(rng),
        }
        for _ in range(CALLS)
    ]


def places_apart(first, second, affine):
    """Each voxel's place by the affine, then the distance of the places."""
    one, other = (affine @ [*voxel[::-1], 1] for voxel in (first, second))
    return np.linalg.norm(one - other)


def steps(first, second):
    return np.subtract(second, first)


SPACING = Exercise(
    function="distance",
    draw=draw_pairs,
    reference=places_apart,
    hint="The columns of the affine are the steps along i, j and k. The array's indices are z, y "
    "and x, which are k, j and i. Both must be in one order before they are multiplied.",
    mistakes=(
        Mistake(
            "axis order",
            "The three spacings are right, and so are the three steps. But look at which spacing "
            "meets which step: what does the first number of each belong to?",
            gives=lambda first, second, affine: np.linalg.norm(
                steps(first, second) * np.linalg.norm(affine[:3, :3], axis=0)
            ),
        ),
        Mistake(
            "rows",
            "The spacing along an axis is the length of a *column* of the affine. `axis` says "
            "which one is summed over, and now you take the rows' lengths.",
            gives=lambda first, second, affine: np.linalg.norm(
                steps(first, second) * np.linalg.norm(affine[:3, :3], axis=1)[::-1]
            ),
        ),
        Mistake(
            "voxels",
            "This is the distance in voxels. Millimetres come from multiplying each step by the "
            "spacing along its axis.",
            gives=lambda first, second, affine: np.linalg.norm(steps(first, second)),
        ),
    ),
)

EXERCISES = {
    "01.millilitres": MILLILITRES,
    "01.faults": FAULTS,
    "01.intensities": INTENSITIES,
    "01.spacing": SPACING,
}

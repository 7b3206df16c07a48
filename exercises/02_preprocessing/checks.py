"""What is checked of the exercises of lesson 02, and which mistakes are known."""

import math

import numpy as np
from scipy.ndimage import zoom

from nnunet_lib.course.exercises import Exercise, Mistake, Property
from nnunet_lib.planning.topology import plan_topology

CALLS = 5

# 02.crop -------------------------------------------------------------------------------------


def draw_framed(rng):
    """Two or three channels in a frame of zeros, each reaching further than the others somewhere.

    A face of the box has two channels that add up to 0, another one only negative voxels.
    """
    calls = []
    for call in range(CALLS):
        channels = 2 + call % 2
        image = np.zeros((*rng.integers(9, 14, 3), channels), np.float32)
        image[3:6, 3:6, 3:6] = rng.uniform(1, 9, (3, 3, 3, channels))
        image[2, 4, 4, 0] = image[6, 4, 4, 1] = rng.uniform(1, 9)
        image[4, 2, 4, :2] = np.array([1, -1]) * rng.integers(1, 9)
        image[4, 4, 6, rng.integers(2)] = -rng.uniform(1, 9)
        image[4, 4, 1, 1] = rng.uniform(1, 9)
        image[4, 6, 4, 2:] = rng.uniform(1, 9)
        calls.append({"image": image})
    return calls


def box_of(mask):
    """By walking inwards from each face, until there is something."""
    box = []
    for axis in range(mask.ndim):
        planes = [bool(mask.take(index, axis).any()) for index in range(mask.shape[axis])]
        box.append((planes.index(True), len(planes) - planes[::-1].index(True)))
    return box


CROP = Exercise(
    function="crop_box",
    draw=draw_framed,
    reference=lambda image: box_of(np.abs(image).max(axis=-1) > 0),
    hint="`image != 0` has a truth value for each voxel and channel. Which NumPy function makes "
    "one of the channels' truth values, along the last axis?",
    mistakes=(
        Mistake(
            "first channel",
            "Your box misses what only the second channel shows. A voxel counts if *any* of its "
            "channels is not zero.",
            gives=lambda image: box_of(image[..., 0] != 0),
        ),
        Mistake(
            "two channels",
            "Right for two channels. A scan may have three, or as many as you like: NumPy can ask "
            "all of them at once.",
            gives=lambda image: box_of((image[..., :2] != 0).any(axis=-1)),
        ),
        Mistake(
            "all channels",
            "Your box holds the voxels in which every channel has something. It cuts off what only "
            "one of them shows.",
            gives=lambda image: box_of((image != 0).all(axis=-1)),
        ),
        Mistake(
            "positive",
            "Zero means empty, but a negative value does not: in a CT, which counts from water at "
            "0, fat and lung lie below.",
            gives=lambda image: box_of((image > 0).any(axis=-1)),
        ),
        Mistake(
            "sum",
            "Channels may cancel: 3 and -3 add up to 0, and yet both are there. Ask each channel "
            "first, then combine the answers.",
            gives=lambda image: box_of(image.sum(axis=-1) != 0),
        ),
        Mistake(
            "four axes",
            "Your box has four axes: the mask still tells the channels apart. It should have one "
            "truth value for each voxel. Which question do you ask of a voxel's channels?",
            gives=lambda image: box_of(image != 0),
        ),
    ),
)

# 02.origin -----------------------------------------------------------------------------------


def draw_axes(rng):
    calls = []
    for _ in range(CALLS):
        old, new = (int(size) for size in rng.choice(np.arange(20, 60), 2, replace=False))
        before = int(rng.integers(1, 9))
        voxel = before + int(rng.integers(3, new))
        start = int(rng.integers(1, 30))
        calls.append({"voxel": voxel, "start": start, "old": old, "new": new, "before": before})
    return calls


def centre(voxel, start, old, new, before):
    """By the outer faces: the centre is at a share of the whole length, the same in both grids."""
    edges = np.linspace(start - 0.5, start + old - 0.5, new + 1)  # of the new voxels
    return (edges[voxel - before] + edges[voxel - before + 1]) / 2


ORIGIN = Exercise(
    function="origin",
    draw=draw_axes,
    reference=centre,
    hint="Padding shifted by `before`, so subtract it. Then t becomes (t + ½) · old / new - ½. "
    "Cropping took `start` voxels away in front, so add them.",
    mistakes=(
        Mistake(
            "half a voxel",
            "You scale the index itself. But what stays in place is the outer face of the volume, "
            "and the centre of voxel 0 lies half a voxel inside of it.",
            gives=lambda voxel, start, old, new, before: (voxel - before) * old / new + start,
        ),
        Mistake(
            "corners",
            "You let the first and last *centres* stay where they were. In the library voxels are "
            "little boxes, and the outer *faces* stay.",
            gives=lambda voxel, start, old, new, before: (
                (voxel - before) * (old - 1) / (new - 1) + start
            ),
        ),
        Mistake(
            "inverse",
            "The resampling is undone in the wrong direction: the way back goes from `new` voxels "
            "to `old` ones.",
            gives=lambda voxel, start, old, new, before: (
                (voxel - before + 0.5) * new / old - 0.5 + start
            ),
        ),
        Mistake(
            "padding",
            "Voxel 0 of the result is the first one of the padding, and the scan begins `before` "
            "voxels later. Undo that first.",
            gives=lambda voxel, start, old, new, before: (voxel + 0.5) * old / new - 0.5 + start,
        ),
        Mistake(
            "cropping",
            "You counted from the first voxel that cropping kept. In the scan there are `start` "
            "voxels in front of it.",
            gives=lambda voxel, start, old, new, before: (voxel - before + 0.5) * old / new - 0.5,
        ),
        Mistake(
            "order",
            "The padding was added *after* resampling, and so is counted in new voxels. Undo it "
            "before you scale.",
            gives=lambda voxel, start, old, new, before: (
                (voxel + 0.5) * old / new - 0.5 - before + start
            ),
        ),
    ),
)

# 02.normalise --------------------------------------------------------------------------------


def draw_images(rng):
    """CT and others, of which one is no MRI; a CT and an MRI are constant."""
    calls = []
    for modality in ("CT", "PET", "CT", "MRI", "CT", "MRI"):
        mean, deviation = rng.uniform(40, 60), rng.uniform(10, 15)
        statistics = {
            "mean": mean,
            "standard_deviation": deviation,
            "percentile_00_5": mean - rng.uniform(2.2, 2.6) * deviation,
            "percentile_99_5": mean + rng.uniform(2.2, 2.6) * deviation,
        }
        spread = deviation * rng.uniform(3, 5)
        image = rng.normal(mean + rng.uniform(10, 20), spread, rng.integers(5, 9, 3))
        calls.append(
            {"image": image.astype(np.float32), "modality": modality, "statistics": statistics}
        )
    for call in calls[-2:]:
        call["image"] = np.full((4, 5, 6), rng.integers(1, 30), np.float32)  # below any mean
    return calls


def z_score(image):
    """By moments."""
    values = image.astype(np.float64)
    deviation = np.sqrt((values**2).mean() - values.mean() ** 2) if np.ptp(values) else np.inf
    return (values - values.mean()) / deviation


def by_dataset(image, statistics, clip=True):
    low, high = (statistics[f"percentile_{share}"] for share in ("00_5", "99_5"))
    values = np.minimum(np.maximum(image, low), high) if clip else image
    return (values - statistics["mean"]) / statistics["standard_deviation"]


def normalised(image, modality, statistics):
    return by_dataset(image, statistics) if modality == "CT" else z_score(image)


def clipped_late(image, modality, statistics):
    if modality != "CT":
        return z_score(image)
    limits = (statistics["percentile_00_5"], statistics["percentile_99_5"])
    return np.clip(by_dataset(image, statistics, clip=False), *limits)


def mri_alone(image, modality, statistics):
    return normalised(image, modality, statistics) if modality in ("CT", "MRI") else None


def constant_first(image, modality, statistics):
    return normalised(image, modality, statistics) if np.ptp(image) else np.zeros(image.shape)


def without_guard(image, modality, statistics):
    if modality == "CT":
        return by_dataset(image, statistics)
    with np.errstate(invalid="ignore"):
        return (image - image.mean()) / image.std()


NORMALISE = Exercise(
    function="normalise",
    draw=draw_images,
    reference=normalised,
    relative=1e-3,
    absolute=1e-4,
    hint="CT: np.clip(image, low, high), then (clipped - mean) / standard deviation, all four from "
    "`statistics`. Else: image.mean() and image.std(), and np.zeros_like where std is 0.",
    properties=(
        Property(
            "the result is an array of the image's shape",
            lambda result, image, modality, statistics: result.shape == image.shape,
            "The result has another shape than the image. Which operation loses an axis?",
        ),
    ),
    mistakes=(
        Mistake(
            "z-score for all",
            "MRI is right. But you judge a CT by its own mean and spread, too: the same liver then "
            "gets another value in every patient. CT has a unit: take the dataset's numbers.",
            gives=lambda image, modality, statistics: z_score(image),
        ),
        Mistake(
            "dataset for all",
            "CT is right. But an MRI scanner has no unit, so the dataset's numbers say nothing "
            "about this case: take its own mean and standard deviation.",
            gives=lambda image, modality, statistics: by_dataset(image, statistics),
        ),
        Mistake(
            "not clipped",
            "MRI is right, and so is the scaling of CT. What is missing is the clipping: metal and "
            "air would reach far beyond the structures.",
            gives=lambda image, modality, statistics: (
                by_dataset(image, statistics, clip=False) if modality == "CT" else z_score(image)
            ),
        ),
        Mistake(
            "clipped late",
            "You clip what is scaled already, to percentiles in the scan's own unit. Clip first.",
            gives=clipped_late,
        ),
        Mistake(
            "no contrast",
            "A case in which all voxels are equal has the standard deviation 0, and you divide by "
            "it. Give zeros for it.",
            gives=without_guard,
        ),
        Mistake(
            "no contrast in CT",
            "A constant MRI becomes 0, and that is right. But a CT's values mean the same in every "
            "case, in a constant one too: treat it as any other CT.",
            gives=constant_first,
        ),
        Mistake(
            "MRI alone",
            "CT and MRI are right. The second scheme is for *everything* else: PET and ultrasound "
            "get nothing from you.",
            gives=mri_alone,
        ),
        Mistake(
            "MRI or CT",
            "CT and MRI are right. But the second scheme is for *everything* else, and you treat "
            "PET as if it were a CT. Which of the modalities should you ask for?",
            gives=lambda image, modality, statistics: (
                z_score(image) if modality == "MRI" else by_dataset(image, statistics)
            ),
        ),
        Mistake(
            "variance",
            "You divide by the variance. The standard deviation is its square root, and has the "
            "unit of the image.",
            gives=lambda image, modality, statistics: (
                by_dataset(image, statistics)
                if modality == "CT"
                else z_score(image) / _spread(image)
            ),
        ),
    ),
)


def _spread(image):
    return float(image.std()) or 1.0


# 02.strides ----------------------------------------------------------------------------------


def draw_patches(rng):
    """Thick slices, a ratio of exactly 2, a fine axis that is short, and one of exactly 8.

    In the second one rounding decides about a stage, and in the seventh a fine axis, alone and
    short, ends it all. Then comes a lone axis of exactly 12. In the last two a half is
    rounded: 7.5, of which rounding to the even number makes 8 as well, and 14.5, of which it
    makes 14.
    """
    rough = [
        ((rng.integers(12, 20), 160, 128), (5.0, 0.75, 0.75)),
        ((32, 64, rng.integers(57, 64)), (2.0, 1.0, 1.0)),
        ((5, 96, rng.integers(64, 96)), (0.5, 1.5, 1.25)),
        ((8, rng.integers(33, 56), 56), (1.0, 1.0, 1.0)),
        ((rng.integers(60, 90), 40, 11), (1.0, 1.25, 1.5)),
        ((4, 9, 80), (6.0, 3.0, 1.0)),
        ((10, 40, rng.integers(40, 64)), (1.0, 3.0, 3.0)),
        ((12, rng.integers(4, 8), 5), (1.0, 1.0, 1.0)),
        ((15, 15, rng.integers(4, 8)), (1.0, 1.0, 1.0)),
        ((29, 29, rng.integers(4, 8)), (1.0, 1.0, 1.0)),
    ]
    calls = []
    for patch, spacing in rough:
        order, scale = rng.permutation(3), float(rng.choice([0.5, 1.0, 2.0]))
        calls.append(
            {
                "patch": [int(patch[axis]) for axis in order],
                "spacing": [float(spacing[axis]) * scale for axis in order],
            }
        )
    return calls


def stages_of(
    patch,
    spacing,
    smallest=8,
    alone=12,
    alone_among_large=False,
    among_large=True,
    doubling=2,
    limit=2.0,
    half=lambda sizes: (sizes + 1) // 2,
):
    """The rule with its numbers as parameters, for those who have one of them wrong."""
    sizes, steps = np.array(patch), np.array(spacing)
    stages = [[1, 1, 1]]
    while len(stages) < 12:
        large = sizes >= smallest
        if not large.any():
            break
        finest = steps[large].min() if among_large else steps.min()
        halved = large & (steps < limit * finest)
        single = large if alone_among_large else halved
        if not halved.any() or (single.sum() == 1 and sizes[single][0] < alone):
            break
        stages.append(np.where(halved, 2, 1).tolist())
        sizes[halved] = half(sizes[halved])
        steps[halved] *= doubling
    return stages


STRIDES = Exercise(
    function="strides",
    draw=draw_patches,
    reference=lambda patch, spacing: plan_topology(spacing, patch).strides,
    hint="Keep two lists, of sizes and of spacings, and a list of stages. In a loop: which axes "
    "are large; the finest spacing of those; which of them to halve; stop, or note the stage.",
    properties=(
        Property(
            "the first stage halves nothing",
            lambda result, patch, spacing: list(result[0]) == [1, 1, 1],
            "The first stage works at the patch's full resolution: its strides are [1, 1, 1].",
        ),
        Property(
            "a stride is 1 or 2",
            lambda result, patch, spacing: set(np.ravel(result)) <= {1, 2},
            "A stride of 2 halves an axis, 1 leaves it.",
        ),
    ),
    mistakes=(
        Mistake(
            "spacing ignored",
            "You halve every large axis in each stage. A coarse axis has to wait until the others "
            "have caught up: compare the spacings.",
            gives=lambda patch, spacing: stages_of(patch, spacing, limit=math.inf),
        ),
        Mistake(
            "spacing not doubled",
            "A halved axis has voxels twice as wide. You compare with the first spacing in every "
            "stage, so that a coarse axis waits for ever.",
            gives=lambda patch, spacing: stages_of(patch, spacing, doubling=1),
        ),
        Mistake(
            "first stage",
            "Your stages are right but for the first, which is missing: at full resolution nothing "
            "is halved.",
            gives=lambda patch, spacing: stages_of(patch, spacing)[1:],
        ),
        Mistake(
            "at most twice",
            "Look at an axis that is exactly twice as coarse as the finest. *Less than* twice is "
            "the rule.",
            gives=lambda patch, spacing: stages_of(patch, spacing, limit=2.0001),
        ),
        Mistake(
            "finest of all",
            "The finest spacing is that of the *large* axes. A short axis is never halved, and if "
            "it is fine, all others would wait for it.",
            gives=lambda patch, spacing: stages_of(patch, spacing, among_large=False),
        ),
        Mistake(
            "more than 8",
            "What about an axis of exactly 8 voxels? *At least* 8 is the rule.",
            gives=lambda patch, spacing: stages_of(patch, spacing, smallest=9),
        ),
        Mistake(
            "one axis alone",
            "Look at step 4: a single axis must have 12 voxels to be worth a stage.",
            gives=lambda patch, spacing: stages_of(patch, spacing, alone=8),
        ),
        Mistake(
            "12 alone",
            "What about a single axis of exactly 12 voxels? Step 4 stops with *fewer than* 12.",
            gives=lambda patch, spacing: stages_of(patch, spacing, alone=13),
        ),
        Mistake(
            "one large axis",
            "Look at step 4 again. The single axis is the one that would be *halved*. Others may "
            "be large, too, and wait for it.",
            gives=lambda patch, spacing: stages_of(patch, spacing, alone_among_large=True),
        ),
        Mistake(
            "rounded down",
            "You round down. Half of an odd number of voxels is rounded *up*, and after some "
            "stages this decides whether an axis is still large.",
            gives=lambda patch, spacing: stages_of(patch, spacing, half=lambda n: n // 2),
        ),
        Mistake(
            "rounded to even",
            "Try round(6.5) and round(7.5): Python rounds a half to the *even* neighbour, which "
            "may lie below. Rounding *up* is another function.",
            gives=lambda patch, spacing: stages_of(
                patch, spacing, half=lambda n: np.rint(n / 2).astype(int)
            ),
        ),
    ),
)

# 02.labels -----------------------------------------------------------------------------------


def draw_labels(rng):
    """Blobs with gaps between their labels, resampled up and down, and without a tie."""
    calls = []
    while len(calls) < CALLS:
        values = [0, 2, 5] if len(calls) % 2 else [0, 3, 4]
        blobs = rng.choice(values, rng.integers(2, 4, 3), p=[0.4, 0.3, 0.3])
        label = blobs.repeat(2, 0).repeat(3, 1).repeat(2, 2).astype(np.uint8)
        shape = [int(size) for size in np.array(label.shape) + rng.choice([-1, 1, 3], 3)]
        if set(values) <= set(label.flat) and least_lead(label, shape) > 1e-6:
            calls.append({"label": label, "shape": shape})
    return calls


def least_lead(label, shape):
    """How far, at worst, the largest share is above the second."""
    second, first = np.sort(shares_of(label, shape), axis=0)[-2:]
    return (first - second).min()


def shares_of(label, shape):
    """For each label how much of each new voxel it has, by `numpy.interp` along each axis."""
    shares = []
    for value in np.unique(label):
        volume = (label == value).astype(np.float64)
        for axis, size in enumerate(shape):
            old = volume.shape[axis]
            places = (np.arange(size) + 0.5) * old / size - 0.5
            volume = np.apply_along_axis(
                lambda line, at, n: np.interp(at, np.arange(n), line), axis, volume, places, old
            )
        shares.append(volume)
    return np.stack(shares)


def winners(label, shape):
    return np.unique(label)[shares_of(label, shape).argmax(axis=0)]


def zoomed(values, shape, order=1):
    factors = np.divide(shape, values.shape)
    return zoom(values.astype(float), factors, order=order, mode="nearest", grid_mode=True)


def of_bools(label, shape):
    """SciPy gives a bool for a bool, and so cuts every share below 1 off."""
    values, factors = np.unique(label), np.divide(shape, label.shape)
    masks = [zoom(label == v, factors, order=1, mode="nearest", grid_mode=True) for v in values]
    return values[np.argmax(masks, axis=0)]


def without_background(label, shape):
    values = np.unique(label)[1:]
    return values[np.argmax([zoomed(label == value, shape) for value in values], axis=0)]


LABELS = Exercise(
    function="resample_labels",
    draw=draw_labels,
    reference=winners,
    hint="For each value in np.unique(label), resample (label == value).astype(float). Stack the "
    "results, take np.argmax over the stack, and turn its indices back into label values.",
    properties=(
        Property(
            "only labels of the map occur in the result",
            lambda result, label, shape: set(np.unique(result)) <= set(np.unique(label)),
            "The result holds labels that the map does not have. Where do they come from?",
        ),
        Property(
            "the result has the shape that was asked for",
            lambda result, label, shape: list(result.shape) == list(shape),
            "The result has another shape than `shape` says.",
        ),
    ),
    mistakes=(
        Mistake(
            "grey values",
            "Compare np.unique of the map and of the result. What does linear interpolation make "
            "halfway between 0 and 2, and is that a structure there?",
            gives=lambda label, shape: np.rint(zoomed(label, shape)),
        ),
        Mistake(
            "nearest",
            "Nearest neighbour invents no label, that is true. But it turns smooth surfaces into "
            "stairs. Interpolate each label's share linearly, and let the largest win.",
            gives=lambda label, shape: zoomed(label, shape, order=0),
        ),
        Mistake(
            "indices",
            "You give the *index* of the winning label. With the labels 0, 2, 5 the index 1 means "
            "label 2: look it up.",
            gives=lambda label, shape: shares_of(label, shape).argmax(axis=0),
        ),
        Mistake(
            "background left out",
            "The background competes as well: where it has the largest share, no structure wins.",
            gives=without_background,
        ),
        Mistake(
            "shares of bools",
            "You resample `label == value` as it is. It is bool, and SciPy gives a bool back, "
            "which knows no half: make numbers of it first, with .astype(float).",
            gives=of_bools,
        ),
        Mistake(
            "cut off",
            "Between two labels the values are still interpolated, and now they are rounded "
            "down, besides. A label is a name: no arithmetic on it is right.",
            gives=lambda label, shape: zoomed(label, shape).astype(np.uint8),
        ),
    ),
)

# 02.padding ----------------------------------------------------------------------------------


def draw_small(rng):
    """One axis too small by an odd number, one larger than the patch, one that may be either."""
    calls = []
    for _ in range(CALLS):
        shape = rng.integers(5, 9, 3)
        more = np.array([2 * rng.integers(1, 4) + 1, -2 * rng.integers(1, 3), rng.integers(-3, 4)])
        image = rng.uniform(1, 2, shape).astype(np.float32)
        calls.append({"image": image, "patch": [int(s) for s in shape + rng.permutation(more)]})
    return calls


def placed(image, patch, missing=None, part=0.5):
    """The image laid into zeros; `part` of the missing voxels come first."""
    sizes = np.array(image.shape)
    missing = np.maximum(0, np.array(patch) - sizes) if missing is None else missing
    before = np.floor(missing * part).astype(int)
    result = np.zeros(sizes + missing, image.dtype)
    result[tuple(slice(b, b + s) for b, s in zip(before, sizes, strict=True))] = image
    return result, before.tolist()


def difference_to(image, patch):
    return np.array(image.shape) - patch


def half_lost(image, patch):
    before = np.maximum(0, -difference_to(image, patch)) // 2
    return np.pad(image, [(b, b) for b in before]), before.tolist()


PADDING = Exercise(
    function="padded",
    draw=draw_small,
    reference=placed,
    hint="How many voxels does an axis of 5 lack in a patch of 8? Write it down with `size` and "
    "`wanted`, and look at the sign.",
    properties=(
        Property(
            "the result is an image and a place",
            lambda result, image, patch: (
                isinstance(result, list) and len(result) == 2 and np.ndim(result[0]) == 3
            ),
            "Return two things, as the function did before: the padded image, and for each axis "
            "where the scan's first voxel lies in it.",
        ),
        Property(
            "the result is at least as large as the patch",
            lambda result, image, patch: bool(np.all(np.array(result[0].shape) >= patch)),
            "There is an axis along which the result is still smaller than the patch.",
        ),
        Property(
            "an axis that is large enough stays as it is",
            lambda result, image, patch: all(
                new == old
                for new, old, wanted in zip(result[0].shape, image.shape, patch, strict=True)
                if old >= wanted
            ),
            "An axis that is large enough lacks nothing.",
        ),
    ),
    mistakes=(
        Mistake(
            "sign",
            "Compare the shapes before and after, axis by axis: which axes grow, the small ones or "
            "the large ones?",
            gives=lambda image, patch: placed(
                image, patch, missing=np.maximum(0, difference_to(image, patch))
            ),
        ),
        Mistake(
            "absolute",
            "The small axes are right. But now those that were large enough grow as well: what "
            "does such an axis lack?",
            gives=lambda image, patch: placed(
                image, patch, missing=np.abs(difference_to(image, patch))
            ),
        ),
        Mistake(
            "one side",
            "The size is right, but all zeros lie behind. Half of them belong in front.",
            gives=lambda image, patch: placed(image, patch, part=0.0),
        ),
        Mistake(
            "odd number",
            "Of an odd number of missing voxels you lose one: half of 5, rounded down, is 2, and "
            "twice that is 4.",
            gives=half_lost,
        ),
        Mistake(
            "negative",
            "np.pad refuses negative numbers. An axis that is larger than the patch lacks nothing, "
            "which is 0 and not less.",
            raises="ValueError",
            saying="negative",
        ),
        Mistake(
            "pad widths the wrong way round",
            "np.pad wants a pair for each *axis*, its voxels before and after. You give one list "
            "of all that comes before, and one of all that comes after.",
            raises="ValueError",
            saying="remapped",
        ),
        Mistake(
            "array too small",
            "The image does not fit into the part of the array that you assign it to. How large is "
            "an array with room for the image *and* the patch, along each axis?",
            raises="ValueError",
            saying="could not broadcast",
        ),
    ),
)

EXERCISES = {
    "02.crop": CROP,
    "02.origin": ORIGIN,
    "02.normalise": NORMALISE,
    "02.strides": STRIDES,
    "02.labels": LABELS,
    "02.padding": PADDING,
}

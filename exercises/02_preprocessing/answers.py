"""Answers that the checks of lesson 02 are tested with.

A section a line `# %% <exercise> | mistake: <name>`, whose hint must come, or `| right: <how>`.
"""

# %% 02.crop | mistake: first channel
import numpy as np


def crop_box(image):
    mask = image[:, :, :, 0] != 0
    return [(int(v.min()), int(v.max()) + 1) for v in np.nonzero(mask)]


# %% 02.crop | mistake: two channels
import numpy as np


def crop_box(image):
    mask = (image[..., 0] != 0) | (image[..., 1] != 0)
    return [(int(v.min()), int(v.max()) + 1) for v in np.nonzero(mask)]


# %% 02.crop | mistake: all channels
import numpy as np


def crop_box(image):
    mask = np.prod(image, axis=-1) != 0
    return [(int(v.min()), int(v.max()) + 1) for v in np.nonzero(mask)]


# %% 02.crop | mistake: positive
import numpy as np


def crop_box(image):
    mask = np.max(image, axis=-1) > 0
    return [(int(v.min()), int(v.max()) + 1) for v in np.nonzero(mask)]


# %% 02.crop | mistake: sum
import numpy as np


def crop_box(image):
    mask = image.sum(axis=-1).astype(bool)
    return [(int(v.min()), int(v.max()) + 1) for v in np.nonzero(mask)]


# %% 02.crop | mistake: four axes
import numpy as np


def crop_box(image):
    mask = image != 0
    return [(int(voxels.min()), int(voxels.max()) + 1) for voxels in np.nonzero(mask)]


# %% 02.crop | right: argwhere over all four axes
import numpy as np


def crop_box(image):
    places = np.argwhere(image)[:, :3]
    return np.stack([places.min(axis=0), places.max(axis=0) + 1], axis=1)


# %% 02.crop | right: the library
from nnunet_lib.datasets import bounding_box, nonzero_mask


def crop_box(image):
    return bounding_box(nonzero_mask(image))


# %% 02.origin | mistake: half a voxel
def origin(voxel, start, old, new, before):
    return start + (voxel - before) * (old / new)


# %% 02.origin | mistake: corners
def origin(voxel, start, old, new, before):
    share = (voxel - before) / (new - 1)
    return start + share * (old - 1)


# %% 02.origin | mistake: inverse
def origin(voxel, start, old, new, before):
    unpadded = voxel - before
    resampled = (unpadded + 0.5) * new / old - 0.5
    return resampled + start


# %% 02.origin | mistake: padding
def origin(voxel, start, old, new, before):
    return (voxel + 0.5) / new * old - 0.5 + start


# %% 02.origin | mistake: cropping
def origin(voxel, start, old, new, before):
    return ((voxel - before) * 2 + 1) * old / (2 * new) - 0.5


# %% 02.origin | mistake: order
def origin(voxel, start, old, new, before):
    place = (voxel + 0.5) * old / new - 0.5
    return place + start - before


# %% 02.origin | right: by the share of the length
def origin(voxel, start, old, new, before):
    share = (2 * (voxel - before) + 1) / (2 * new)  # from outer face to outer face
    return start - 0.5 + share * old


# %% 02.normalise | mistake: z-score for all
def normalise(image, modality, statistics):
    return (image - image.mean()) / image.std() if image.std() else image * 0


# %% 02.normalise | mistake: dataset for all
import numpy as np


def normalise(image, modality, statistics):
    image = np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"])
    return (image - statistics["mean"]) / statistics["standard_deviation"]


# %% 02.normalise | mistake: not clipped
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    return (image - image.mean()) / max(image.std(), 1e-8)


# %% 02.normalise | mistake: clipped late
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        scaled = (image - statistics["mean"]) / statistics["standard_deviation"]
        return scaled.clip(statistics["percentile_00_5"], statistics["percentile_99_5"])
    return (image - image.mean()) / max(image.std(), 1e-8)


# %% 02.normalise | mistake: no contrast
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        image = np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"])
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    return (image - np.mean(image)) / np.std(image)


# %% 02.normalise | mistake: no contrast in CT
import numpy as np


def normalise(image, modality, statistics):
    if image.std() == 0:
        return np.zeros_like(image)
    if modality == "CT":
        image = np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"])
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    return (image - image.mean()) / image.std()


# %% 02.normalise | mistake: MRI alone
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        image = np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"])
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    elif modality == "MRI":
        return (image - image.mean()) / (image.std() or 1)


# %% 02.normalise | mistake: variance
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        image = np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"])
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    if image.var() == 0:
        return np.zeros(image.shape)
    return (image - image.mean()) / image.var()


# %% 02.normalise | mistake: changes its input
import numpy as np


def normalise(image, modality, statistics):
    if modality == "CT":
        np.clip(image, statistics["percentile_00_5"], statistics["percentile_99_5"], out=image)
        return (image - statistics["mean"]) / statistics["standard_deviation"]
    image -= image.mean()
    return image / (image.std() or 1)


# %% 02.normalise | mistake: the result is an array of the image's shape
def normalise(image, modality, statistics):
    return [(float(v) - float(image.mean())) / float(image.std() or 1) for v in image.flat]


# %% 02.normalise | mistake: MRI or CT
import numpy as np


def normalise(image, modality, statistics):
    if modality == "MRI":
        deviation = image.std()
        return (image - image.mean()) / deviation if deviation else np.zeros_like(image)
    low, high = statistics["percentile_00_5"], statistics["percentile_99_5"]
    return (image.clip(low, high) - statistics["mean"]) / statistics["standard_deviation"]


# %% 02.normalise | right: in float64, with a guard in the divisor
import numpy as np


def normalise(image, modality, statistics):
    values = image.astype(np.float64)
    if modality == "CT":
        values = values.clip(min=statistics["percentile_00_5"]).clip(
            max=statistics["percentile_99_5"]
        )
        mean, deviation = statistics["mean"], statistics["standard_deviation"]
    else:
        mean, deviation = values.mean(), max(values.std(), 1e-8)
    return ((values - mean) / deviation).astype(np.float32)


# %% 02.strides | mistake: spacing ignored
def strides(patch, spacing):
    sizes, stages = list(patch), [(1, 1, 1)]
    while True:
        halved = [size >= 8 for size in sizes]
        if not any(halved) or (sum(halved) == 1 and max(sizes) < 12):
            return stages
        stages.append(tuple(2 if half else 1 for half in halved))
        sizes = [-(-size // 2) if half else size for size, half in zip(sizes, halved)]


# %% 02.strides | mistake: spacing not doubled
def strides(patch, spacing):
    sizes, stages = list(patch), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(spacing, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(spacing, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
    return stages


# %% 02.strides | mistake: first stage
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), []
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: at most twice
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s <= 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: finest of all
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        halved = [size >= 8 and s < 2 * min(steps) for s, size in zip(steps, sizes)]
        if sum(halved) == 0 or (sum(halved) == 1 and sizes[halved.index(True)] < 12):
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: more than 8
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size > 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size > 8)
        halved = [size > 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: one axis alone
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: one large axis
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while True:
        large = [axis for axis in range(3) if sizes[axis] >= 8]
        if not large or (len(large) == 1 and sizes[large[0]] < 12):
            return stages
        finest = min(steps[axis] for axis in large)
        stages.append([1, 1, 1])
        for axis in large:
            if steps[axis] < 2 * finest:
                stages[-1][axis] = 2
                sizes[axis] = (sizes[axis] + 1) // 2
                steps[axis] *= 2


# %% 02.strides | mistake: rounded down
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [size // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: 12 alone
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] <= 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [(size + 1) // 2 if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | mistake: rounded to even
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [round(size / 2) if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | right: a half added, then cut off
def strides(patch, spacing):
    sizes, steps, stages = list(patch), list(spacing), [[1, 1, 1]]
    while any(size >= 8 for size in sizes):
        finest = min(s for s, size in zip(steps, sizes) if size >= 8)
        halved = [size >= 8 and s < 2 * finest for s, size in zip(steps, sizes)]
        if sum(halved) == 1 and sizes[halved.index(True)] < 12:
            break
        stages.append([1 + half for half in halved])
        sizes = [int(size / 2 + 0.5) if half else size for size, half in zip(sizes, halved)]
        steps = [s * 2 if half else s for s, half in zip(steps, halved)]
    return stages


# %% 02.strides | right: recursion on arrays
import numpy as np


def further(sizes, steps):
    large = sizes >= 8
    if not large.any():
        return []
    halved = large & (steps / steps[large].min() < 2)
    if halved.sum() == 1 and sizes[halved].item() < 12:
        return []
    stride = 1 + halved.astype(int)
    return [stride, *further(np.ceil(sizes / stride), steps * stride)]


def strides(patch, spacing):
    return np.array([(1, 1, 1), *further(np.array(patch), np.array(spacing))])


# %% 02.labels | mistake: grey values
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors = [new / old for new, old in zip(shape, label.shape)]
    grey = zoom(label.astype(float), factors, order=1, mode="nearest", grid_mode=True)
    return np.round(grey).astype(int)


# %% 02.labels | mistake: shares of bools
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors, values = np.divide(shape, label.shape), np.unique(label)
    shares = [
        zoom(label == value, factors, order=1, mode="nearest", grid_mode=True) for value in values
    ]
    return values[np.stack(shares).argmax(axis=0)]


# %% 02.labels | mistake: nearest
import numpy as np


def resample_labels(label, shape):
    for axis, size in enumerate(shape):
        places = (np.arange(size) + 0.5) * label.shape[axis] / size
        label = label.take(places.astype(int), axis)
    return label


# %% 02.labels | mistake: indices
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors = np.divide(shape, label.shape)
    one_hot = [(label == value).astype(float) for value in np.unique(label)]
    shares = [zoom(o, factors, order=1, mode="nearest", grid_mode=True) for o in one_hot]
    return np.argmax(shares, axis=0)


# %% 02.labels | mistake: background left out
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors = np.divide(shape, label.shape)
    values = [value for value in np.unique(label) if value > 0]
    one_hot = [(label == value).astype(float) for value in values]
    shares = [zoom(o, factors, order=1, mode="nearest", grid_mode=True) for o in one_hot]
    return np.take(values, np.argmax(shares, axis=0))


# %% 02.labels | mistake: cut off
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors = np.divide(shape, label.shape)
    grey = zoom(label.astype(float), factors, order=1, mode="nearest", grid_mode=True)
    return grey.astype(label.dtype)


# %% 02.labels | mistake: only labels of the map occur in the result
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    factors = np.divide(shape, label.shape)
    grey = zoom(label.astype(float), factors, order=3, mode="nearest", grid_mode=True)
    return np.rint(grey)


# %% 02.labels | right: one label at a time, kept where it is larger
import numpy as np
from scipy.ndimage import zoom


def resample_labels(label, shape):
    result, best = np.zeros(shape, label.dtype), np.zeros(shape, np.float32)
    for value in range(int(label.max()) + 1):
        one_hot = np.where(label == value, np.float32(1), np.float32(0))
        share = zoom(
            one_hot, np.divide(shape, label.shape), order=1, mode="nearest", grid_mode=True
        )
        result = np.where(share > best, value, result)
        best = np.maximum(share, best)
    return result


# %% 02.labels | right: the library
from nnunet_lib.preprocessing import resample_labels as library


def resample_labels(label, shape):
    return library(label, shape, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


# %% 02.padding | mistake: sign
import numpy as np


def padded(image, patch):
    more = [max(size - wanted, 0) for size, wanted in zip(image.shape, patch)]
    return np.pad(image, [(m // 2, (m + 1) // 2) for m in more]), [m // 2 for m in more]


# %% 02.padding | mistake: absolute
import numpy as np


def padded(image, patch):
    more = [abs(size - wanted) for size, wanted in zip(image.shape, patch)]
    return np.pad(image, [(m // 2, (m + 1) // 2) for m in more]), [m // 2 for m in more]


# %% 02.padding | mistake: one side
import numpy as np


def padded(image, patch):
    result = np.zeros(np.maximum(image.shape, patch), image.dtype)
    result[tuple(slice(size) for size in image.shape)] = image
    return result, (0, 0, 0)


# %% 02.padding | mistake: odd number
import numpy as np


def padded(image, patch):
    before = [max(0, wanted - size) // 2 for size, wanted in zip(image.shape, patch)]
    return np.pad(image, [(b, b) for b in before]), before


# %% 02.padding | mistake: negative
import numpy as np


def padded(image, patch):
    missing = np.subtract(patch, image.shape)
    before = missing // 2
    return np.pad(image, np.stack([before, missing - before], axis=1)), before


# %% 02.padding | mistake: pad widths the wrong way round
import numpy as np


def padded(image, patch):
    missing = [max(0, wanted - size) for size, wanted in zip(image.shape, patch)]
    before = [voxels // 2 for voxels in missing]
    after = [voxels - voxels // 2 for voxels in missing]
    return np.pad(image, [before, after]), before


# %% 02.padding | mistake: array too small
import numpy as np


def padded(image, patch):
    before = [max(0, wanted - size) // 2 for size, wanted in zip(image.shape, patch)]
    result = np.zeros(patch, image.dtype)
    z, y, x = (slice(b, b + size) for b, size in zip(before, image.shape))
    result[z, y, x] = image
    return result, before


# %% 02.padding | mistake: the result is an image and a place
import numpy as np


def padded(image, patch):
    missing = [max(0, wanted - size) for size, wanted in zip(image.shape, patch)]
    return np.pad(image, [(m // 2, m - m // 2) for m in missing])


# %% 02.padding | right: laid into zeros
import numpy as np


def padded(image, patch):
    sizes = np.array(image.shape)
    result = np.zeros(np.maximum(sizes, patch), image.dtype)
    before = (np.array(result.shape) - sizes) // 2
    z, y, x = (slice(b, b + size) for b, size in zip(before, sizes))
    result[z, y, x] = image
    return result, before


# %% 02.padding | right: the library
import numpy as np

from nnunet_lib.preprocessing import padding_to


def padded(image, patch):
    padding = padding_to(image.shape, patch)
    return np.pad(image, padding), tuple(before for before, _ in padding)

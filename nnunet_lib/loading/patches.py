"""What happens to a case between its file and a batch, in NumPy and SciPy.

Taught in lesson 03. The twin of DALI's graphs in `pipelines.py`, function by function: read the
two side by side. What DALI draws by itself comes from `random` here, a generator for this one
patch. `twin.py` turns patches into tf.data datasets. Needs neither TensorFlow nor DALI.

Voxel counts and positions are integer arrays (3,), in plan order.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage, special
from scipy.spatial.transform import Rotation

from nnunet_lib.loading.cases import CaseFiles, Version, read, version_of
from nnunet_lib.loading.settings import AugmentationSettings, LoaderSettings, Range
from nnunet_lib.preprocessing.resampling import nearest_voxels

Random = np.random.Generator
Pair = tuple[np.ndarray, np.ndarray]

SPATIAL_AXES = (0, 1, 2)
LARGEST_COMPONENTS = 2
CASES_REMEMBERED = 4096
MATRICES_REMEMBERED = 256
ROWS_AT_ONCE = 16
"""Of a matrix: fewer leave out more zeros, more make quicker products; see `bands`."""
TINY = 1e-7


def training_patch(case: CaseFiles, settings: LoaderSettings, random: Random) -> Pair:
    """Crop, zoom, rotate and flip image and label alike; then change the image's intensities.

    Returns:
        Image (*patch, channels) float32 and label (*patch, 1) uint8.
    """
    augmentation, apart = settings.augmentation, settings.keeps_slices_apart
    region, zoomed = draw_region(settings, random)  # (3,), bool
    anchor = draw_anchor(case.label, region, settings.foreground_oversampling, random)  # (3,)
    image = crop(read(case.image), anchor, region)  # (*region, c)
    label = crop(read(case.label), anchor, region)  # (*region, 1)
    if augmentation.enabled:
        image, label = zoom(image, label, zoomed, settings.crop_size)  # (*crop_size, c)
        image, label = rotate(image, label, augmentation, apart, random)
        image, label = flip(
            image, label, augmentation.flip_probability, settings.dimensions, random
        )
        image = augment_intensities(image, augmentation, apart, random)
    if settings.dimensions == 2:
        image, label = image[0], label[0]  # (h, w, c), (h, w, 1)
    return image, label  # perhaps views, which a batch copies


def benchmark_patch(case: CaseFiles, settings: LoaderSettings) -> Pair:
    """The first corner of a case: the least work that gives patches of the right shape."""
    corner, size = np.zeros(3, int), np.array(settings.crop_size)
    image, label = (crop(read(path), corner, size) for path in (case.image, case.label))
    return (image[0], label[0]) if settings.dimensions == 2 else (image, label)


def crop(volume: np.ndarray, anchor: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The `region` voxels from `anchor` on: (*region, c), a view, so that only these are read."""
    return volume[tuple(map(slice, anchor, anchor + region))]


def draw_region(settings: LoaderSettings, random: Random) -> tuple[np.ndarray, bool]:
    """Voxels an axis to crop, (3,), and whether they are to be zoomed to the patch."""
    zoomed = draw(settings.augmentation.zoom_probability, random)
    scale = draw_from(settings.augmentation.zoom_scale, random)
    size = np.array(settings.crop_size)
    if settings.augmentation.enabled and zoomed:
        size = scaled(size, scale, settings.keeps_slices_apart)
    return size, zoomed


def scaled(size: np.ndarray, scale: float, keeps_slices_apart: bool) -> np.ndarray:
    """A size (3,) times `scale`, but for the axis across slices that are kept apart; at least 1."""
    axes = np.array([not keeps_slices_apart, True, True])
    return np.maximum(np.floor(np.where(axes, scale, 1) * size + 0.5), 1).astype(int)


def draw_anchor(
    label: Path, region: np.ndarray, foreground_oversampling: float, random: Random
) -> np.ndarray:
    """The crop's first voxel, (3,): aimed at the foreground, or anywhere."""
    volume = read(label)[..., 0]  # (d, h, w)
    shape = np.array(volume.shape)
    start, extent = np.zeros(3, int), shape
    if draw(foreground_oversampling, random):
        start, extent = draw_target(label, region, random)
    # Inside the box where the crop is the smaller, around it where the box is.
    ends = np.stack([start, start + extent - region])  # (2, 3)
    lowest, highest = np.clip([ends.min(axis=0), ends.max(axis=0)], 0, shape - region)
    return random.integers(lowest, highest, endpoint=True)


def draw_target(label: Path, region: np.ndarray, random: Random) -> Pair:
    """A box (start, extent) that a foreground crop must contain.

    A class that is present is drawn, then one of its two largest components. On axes where
    the component fits into the crop, the box is the component's; on the others it is one
    voxel of that class, drawn at random, so that the crop always shows some of it.
    A label without foreground counts as one object of the background class.
    """
    objects = largest_objects(label, version_of(label))
    drawn_class = random.choice(list(objects))
    start, extent = random.choice(objects[drawn_class])  # each (3,)
    component = crop(read(label), start, extent)[..., 0]
    voxel = random.choice(np.flatnonzero(component == drawn_class))
    position = start + np.unravel_index(voxel, component.shape)
    fits = extent <= region
    return np.where(fits, start, position), np.where(fits, extent, 1)


@lru_cache(maxsize=CASES_REMEMBERED)  # finding components costs more than all the rest
def largest_objects(label: Path, version: Version) -> dict[int, list[Pair]]:
    """For each class present, the boxes (start, extent) of its components with the largest boxes.

    Args:
        label: a label map's file.
        version: of that file, so that a new one is looked at anew.
    """
    volume = read(label)[..., 0]
    objects = {}
    for value, box in enumerate(ndimage.find_objects(volume), start=1):
        if box is not None:
            components, _ = ndimage.label(volume[box] == value)  # neighbours share a face
            boxes = [_start_and_extent(item) for item in ndimage.find_objects(components)]
            boxes.sort(key=lambda item: -int(item[1].prod()))
            corner, _ = _start_and_extent(box)
            objects[value] = [(corner + s, e) for s, e in boxes[:LARGEST_COMPONENTS]]
    return objects or {0: [(np.zeros(3, int), np.array(volume.shape))]}


def zoom(image: np.ndarray, label: np.ndarray, zoomed: bool, crop_size: tuple[int, ...]) -> Pair:
    """Enlarge a cropped region to the patch: cubic for the image, nearest for the label."""
    if zoomed:
        image, label = resize_cubic(image, crop_size), resize_nearest(label, crop_size)
    return image, label


def rotate(
    image: np.ndarray,
    label: np.ndarray,
    settings: AugmentationSettings,
    keeps_slices_apart: bool,
    random: Random,
) -> Pair:
    """Turn the patch about its centre: linear for the image, nearest for the label.

    Beyond the patch the edges of both continue: what looks like an organ is labelled as one.
    """
    if draw(settings.rotation_probability, random):
        matrix = draw_rotation(settings, keeps_slices_apart, random)  # (3, 3)
        centre = (np.array(label.shape[:3]) - 1) / 2
        offset = centre - matrix @ centre
        turned = [
            ndimage.affine_transform(channel, matrix, offset, order=1, mode="nearest")
            for channel in np.moveaxis(image, -1, 0)
        ]
        image = np.stack(turned, axis=-1)
        label = ndimage.affine_transform(label[..., 0], matrix, offset, order=0, mode="nearest")[
            ..., np.newaxis
        ]
    return image, label


def draw_rotation(
    settings: AugmentationSettings, keeps_slices_apart: bool, random: Random
) -> np.ndarray:
    """The matrix (3, 3) from a position in the turned patch to one in the patch."""
    limit = settings.slice_rotation_limit if keeps_slices_apart else settings.rotation_limit
    angles = random.uniform(-limit, limit, size=3)  # degrees about axes 0, 1 and 2
    if keeps_slices_apart:
        angles[1:] = 0
    # SciPy's z is our axis 0: reversing rows and columns turns (x, y, z) into plan order.
    return Rotation.from_euler("zyx", angles, degrees=True).as_matrix()[::-1, ::-1]


def flip(
    image: np.ndarray, label: np.ndarray, probability: float, dimensions: int, random: Random
) -> Pair:
    """Mirror on every axis of the patch, each with its own draw."""
    axes = [axis for axis in SPATIAL_AXES[3 - dimensions :] if draw(probability, random)]
    if 2 in axes and 1 not in axes:
        # Rows from last to first, but one after the other: slow from a file, fast from a copy.
        image = np.ascontiguousarray(image)
    return np.flip(image, axes), np.flip(label, axes)


def augment_intensities(
    image: np.ndarray, settings: AugmentationSettings, keeps_slices_apart: bool, random: Random
) -> np.ndarray:
    """Noise, blur, brightness, contrast, resolution, gamma, each with its own probability."""
    if draw(settings.noise_probability, random):
        deviation = draw_from(settings.noise_standard_deviation, random)
        image = image + np.float32(deviation) * normal_noise(image.shape, random)
    if draw(settings.blur_probability, random):
        image = blur(image, settings.blur_sigma, keeps_slices_apart, random)
    if draw(settings.brightness_probability, random):
        image = image * draw_from(settings.brightness_factor, random)
    if draw(settings.contrast_probability, random):
        image = change_contrast(image, settings.contrast_factor, random)
    if draw(settings.low_resolution_probability, random):
        image = lower_resolution(image, settings, keeps_slices_apart, random)
    if draw(settings.inverted_gamma_probability, random):
        image = -change_gamma(-image, settings.gamma_exponent, random)
    if draw(settings.gamma_probability, random):
        image = change_gamma(image, settings.gamma_exponent, random)
    return image


def normal_noise(shape: tuple[int, ...], random: Random) -> np.ndarray:
    """Normal numbers of mean 0 and deviation 1, float32 of that shape.

    16 random bits each choose a quantile: inverse transform sampling, with a table in the place
    of the inverse. No number lies beyond 4.2, and it takes a fifth of the time of NumPy's own.
    """
    numbers = math.prod(shape)
    bits = random.bit_generator.random_raw(-(-numbers // 4)).view(np.uint16)[:numbers]
    return normal_quantiles().take(bits).reshape(shape)


@cache
def normal_quantiles() -> np.ndarray:
    """The normal curve's quantiles in the middles of 65536 equal shares: (65536,) float32."""
    return special.ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)


def draw(probability: float, random: Random) -> bool:
    """True with this probability."""
    return random.random() < probability


def draw_from(values: Range, random: Random) -> float:
    """A number between the two."""
    return random.uniform(*values)


def blur(image: np.ndarray, sigma: Range, keeps_slices_apart: bool, random: Random) -> np.ndarray:
    """Gaussian blur, cut off at 3 sigma as DALI does, and where needed each slice by itself."""
    width = draw_from(sigma, random)
    matrices = [gaussian_matrix(size, width) for size in image.shape[:3]]
    if keeps_slices_apart:
        matrices[0] = np.eye(len(image), dtype=np.float32)
    return along_each_axis(matrices, image)


def gaussian_matrix(size: int, sigma: float) -> np.ndarray:
    """The matrix (size, size) that blurs a line of voxels: column i is what voxel i becomes."""
    lines, radius = np.eye(size, dtype=np.float32), int(np.ceil(3 * sigma))
    return ndimage.gaussian_filter1d(lines, sigma, axis=0, mode="mirror", radius=radius)


def change_contrast(image: np.ndarray, factor: Range, random: Random) -> np.ndarray:
    """Stretch each channel about its mean, and clip it to the range that it had (nnU-Net)."""
    mean = image.mean(axis=SPATIAL_AXES)  # (c,)
    lowest, highest = image.min(axis=SPATIAL_AXES), image.max(axis=SPATIAL_AXES)
    stretch = draw_from(factor, random)
    # The same as mean + stretch (image - mean), with one pass through memory less.
    stretched = image * stretch
    stretched += mean * (1 - stretch)
    return np.clip(stretched, lowest, highest, out=stretched)


def lower_resolution(
    image: np.ndarray, settings: AugmentationSettings, keeps_slices_apart: bool, random: Random
) -> np.ndarray:
    """Channels as a scan of larger voxels would show them: shrunk by nearest, enlarged by cubic."""
    size = np.array(image.shape[:3])
    channels = []
    for channel in np.split(image, image.shape[-1], axis=-1):  # (d, h, w, 1)
        if draw(settings.low_resolution_channel_probability, random):
            scale = draw_from(settings.low_resolution_scale, random)
            small = resize_nearest(channel, scaled(size, scale, keeps_slices_apart))
            channel = resize_cubic(small, tuple(size))
        channels.append(channel)
    return np.concatenate(channels, axis=-1)


def change_gamma(image: np.ndarray, exponent: Range, random: Random) -> np.ndarray:
    """Bend each channel's range by its own exponent, and keep its mean and deviation (nnU-Net)."""
    mean, deviation = image.mean(axis=SPATIAL_AXES), image.std(axis=SPATIAL_AXES)  # (c,)
    lowest, highest = image.min(axis=SPATIAL_AXES), image.max(axis=SPATIAL_AXES)
    gamma = random.uniform(*exponent, size=image.shape[-1]).astype(np.float32)  # (c,)
    bent = ((image - lowest) / (highest - lowest + TINY)) ** gamma
    centred = bent - bent.mean(axis=SPATIAL_AXES)
    return centred / (bent.std(axis=SPATIAL_AXES) + TINY) * deviation + mean


def resize_cubic(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An image (d, h, w, c) at another size, by cubic convolution along each axis."""
    matrices = [cubic_matrix(old, new) for old, new in zip(image.shape, size, strict=False)]
    return along_each_axis(matrices, image)


def along_each_axis(matrices: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
    """Multiply every line of an image (d, h, w, c) with its axis's matrix: one axis at a time."""
    (z, y, x), (d, h, w, c) = matrices, image.shape
    # A mirrored view would be multiplied without BLAS.
    volume = np.ascontiguousarray(image).reshape(d, h * w * c)
    planes = np.empty((len(z), h, w * c), np.float32)
    for new, old in bands(z):
        np.matmul(z[new, old], volume[old], out=planes.reshape(len(z), -1)[new])
    lines = np.empty((len(z), len(y), w * c), np.float32)
    for new, old in bands(y):
        np.matmul(y[new, old], planes[:, old], out=lines[:, new])
    each_channel = np.kron(x, np.eye(c, dtype=x.dtype))  # (x c, w c)
    voxels = np.empty((len(z) * len(y), len(x) * c), np.float32)
    for new, old in bands(each_channel):
        np.matmul(lines.reshape(-1, w * c)[:, old], each_channel[new, old].T, out=voxels[:, new])
    return voxels.reshape(len(z), len(y), len(x), c)


def bands(matrix: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Some rows of a matrix at a time, and its columns in which these are not all zero.

    Voxels become what is near them: most numbers lie far from the diagonal and are zero. No
    row may be all zero.
    """
    for first in range(0, len(matrix), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        columns = np.flatnonzero(matrix[rows].any(axis=0))
        yield rows, slice(columns[0], columns[-1] + 1)


@lru_cache(maxsize=MATRICES_REMEMBERED)
def cubic_matrix(size: int, new_size: int) -> np.ndarray:
    """The matrix (new_size, size) of cubic convolution, which is what DALI means by cubic.

    Each new voxel is a weighted mean of its four old neighbours; beyond the ends the edge value
    continues. Preprocessing's splines are sharper, and ask for all voxels of a line. Source:
    Keys, IEEE Transactions on Acoustics, Speech and Signal Processing 29(6) (1981), a = -1/2.
    """
    centres = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5  # in old voxels
    neighbours = np.floor(centres[:, np.newaxis]).astype(int) + np.arange(-1, 3)  # (new_size, 4)
    x = np.abs(centres[:, np.newaxis] - neighbours)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    matrix = np.zeros((new_size, size), np.float32)
    rows = np.arange(new_size)[:, np.newaxis]
    np.add.at(matrix, (rows, np.clip(neighbours, 0, size - 1)), np.where(x < 1, near, far))
    return matrix


def resize_nearest(array: np.ndarray, size: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """An array (d, h, w, c) at another size, each voxel from the one that holds its centre."""
    for axis in reversed(SPATIAL_AXES):  # one at a time takes a fraction of the time
        array = array.take(nearest_voxels(array.shape[axis], int(size[axis])), axis)
    return array


def _start_and_extent(box: tuple[slice, ...]) -> Pair:
    """Slices as two arrays (3,)."""
    start = np.array([side.start for side in box])
    return start, np.array([side.stop for side in box]) - start

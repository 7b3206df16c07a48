"""DALI's graphs: what happens to a case between its file and a batch.

Taught in lesson 03. Importing this module needs DALI; `dali.py` turns its graphs into
tf.data datasets. With `enable_conditionals`, an `if` on a drawn value computes only the branch
that a patch takes, which is about a quarter of the work of computing both.

Shapes in comments are those of one sample: DALI adds the batch axis itself. The files of images
and labels are listed in the same order, and neither reader shuffles: so they stay paired.
"""

from collections.abc import Sequence
from typing import Any

from nvidia.dali import fn, math, pipeline_def, types

from nnunet_lib.loading.settings import AugmentationSettings, LoaderSettings, Range

Node = Any  # DALI's DataNode, which knows no shape

SPATIAL_AXES = [0, 1, 2]
LARGEST_COMPONENTS = 2
TINY = 1e-7


@pipeline_def(enable_conditionals=True)
def training_graph(
    images: list[str], labels: list[str], settings: LoaderSettings, channels: int, on_gpu: bool
) -> tuple[Node, Node]:
    """Crop, zoom, rotate and flip image and label alike; then change the image's intensities."""
    crop_size, augmentation = list(settings.crop_size), settings.augmentation
    apart = settings.keeps_slices_apart
    volume = read_label(labels)  # (d, h, w, 1)
    region, zoomed = draw_region(settings)  # (3,), ()
    anchor = draw_anchor(volume, region, settings.foreground_oversampling)  # (3,)
    image = read_image(images, anchor, region)  # (*region, c)
    label = fn.slice(volume, anchor, region, axes=SPATIAL_AXES)  # (*region, 1)
    if on_gpu:
        image, label = image.gpu(), label.gpu()
    # A slice loses its layout, and the operators below need to know which axes are spatial.
    image, label = fn.reshape(image, layout="DHWC"), fn.reshape(label, layout="DHWC")
    if augmentation.enabled:
        image, label = zoom(image, label, zoomed, crop_size)  # (*crop_size, c), (*crop_size, 1)
        image, label = rotate(image, label, augmentation, apart, crop_size)
        image, label = flip(image, label, augmentation.flip_probability, settings.dimensions)
        image = augment_intensities(image, augmentation, apart, crop_size, channels)
    if settings.dimensions == 2:
        image, label = fn.squeeze(image, axes=[0]), fn.squeeze(label, axes=[0])  # (h, w, c)
    return image, label


@pipeline_def
def benchmark_graph(
    images: list[str], labels: list[str], settings: LoaderSettings, on_gpu: bool
) -> tuple[Node, Node]:
    """The first corner of each case: the least work that gives batches of the right shape."""
    corner, size = types.Constant([0, 0, 0]), list(settings.crop_size)
    image = read_image(images, corner, size)  # (*crop_size, c)
    label = fn.slice(read_label(labels), corner, size, axes=SPATIAL_AXES)  # (*crop_size, 1)
    if settings.dimensions == 2:
        image, label = fn.squeeze(image, axes=[0]), fn.squeeze(label, axes=[0])  # (h, w, c)
    return (image.gpu(), label.gpu()) if on_gpu else (image, label)


def read_label(files: list[str]) -> Node:
    """A whole label map (d, h, w, 1): the foreground is looked for in all of it."""
    return fn.readers.numpy(files=files)


def read_image(files: list[str], anchor: Node, region: Node) -> Node:
    """Only the crop of an image: the rest of the file is never touched."""
    return fn.readers.numpy(
        files=files,
        roi_start=anchor,
        roi_shape=region,
        roi_axes=SPATIAL_AXES,
    )


def draw_region(settings: LoaderSettings) -> tuple[Node, Node]:
    """Voxels an axis to crop, int32 (3,), and whether they are to be zoomed to the patch."""
    zoomed = draw(settings.augmentation.zoom_probability)
    scale = draw_from(settings.augmentation.zoom_scale)
    if settings.augmentation.enabled:
        scale = 1.0 - zoomed * (1.0 - scale)
        size = scaled(settings.crop_size, scale, settings.keeps_slices_apart)
        return fn.cast(size, dtype=types.INT32), zoomed
    return types.Constant(list(settings.crop_size)), zoomed


def scaled(size: Sequence[int], scale: Node, keeps_slices_apart: bool) -> Node:
    """A size (3,) times `scale`, but for the axis across slices that are kept apart; at least 1."""
    voxels = types.Constant([float(number) for number in size])
    axes = types.Constant([0.0 if keeps_slices_apart else 1.0, 1.0, 1.0])
    return math.max(math.floor(voxels * (1.0 - axes * (1.0 - scale)) + 0.5), 1.0)


def draw_anchor(label: Node, region: Node, foreground_oversampling: float) -> Node:
    """The crop's first voxel, int32 (3,): aimed at the foreground, or anywhere."""
    volume = fn.squeeze(label, axes=[3])  # (d, h, w)
    shape = fn.shapes(volume, dtype=types.INT32)
    start, extent = shape * 0, shape
    aimed = fn.random.coin_flip(probability=foreground_oversampling, dtype=types.BOOL)
    if aimed:
        start, extent = draw_target(volume, region)
    anchor = fn.roi_random_crop(
        roi_start=start, roi_shape=extent, crop_shape=region, in_shape=shape
    )
    return fn.cast(anchor, dtype=types.INT32)  # readers and slices refuse int64


def draw_target(volume: Node, region: Node) -> tuple[Node, Node]:
    """A box (start, extent) that a foreground crop must contain.

    A class that is present is drawn, then one of its two largest components. On axes where
    the component fits into the crop, the box is the component's; on the others it is one
    voxel of that class, drawn at random, so that the crop always shows some of it.
    A label without foreground counts as one object of the background class.
    """
    start, extent, drawn_class = fn.segmentation.random_object_bbox(  # type: ignore[misc]  # DALI's stubs
        volume,
        format="anchor_shape",
        k_largest=LARGEST_COMPONENTS,
        output_class=True,
        cache_objects=True,  # finding components costs more than all the rest
    )
    start, extent = fn.cast(start, dtype=types.INT32), fn.cast(extent, dtype=types.INT32)
    component = fn.slice(volume, start, extent, axes=SPATIAL_AXES)
    voxel = fn.segmentation.random_mask_pixel(component, foreground=1, value=drawn_class)
    fits = extent <= region
    return start + fn.cast(voxel, dtype=types.INT32) * (1 - fits), fits * extent + (1 - fits)


def zoom(image: Node, label: Node, zoomed: Node, crop_size: list[int]) -> tuple[Node, Node]:
    """Enlarge a cropped region to the patch: cubic for the image, nearest for the label."""
    if zoomed:
        image = fn.resize(image, size=crop_size, interp_type=types.INTERP_CUBIC, antialias=False)
        label = fn.resize(label, size=crop_size, interp_type=types.INTERP_NN)
    return image, label


def rotate(
    image: Node,
    label: Node,
    settings: AugmentationSettings,
    keeps_slices_apart: bool,
    crop_size: list[int],
) -> tuple[Node, Node]:
    """Turn the patch about its centre: linear for the image, nearest for the label.

    Beyond the patch the edges of both continue: what looks like an organ is labelled as one.
    """
    if draw(settings.rotation_probability):
        matrix = draw_rotation(settings, keeps_slices_apart, crop_size)  # (3, 4)
        image = fn.warp_affine(image, matrix=matrix, interp_type=types.INTERP_LINEAR)
        label = fn.warp_affine(label, matrix=matrix, interp_type=types.INTERP_NN)
    return image, label


def draw_rotation(
    settings: AugmentationSettings, keeps_slices_apart: bool, crop_size: list[int]
) -> Node:
    """The matrix (3, 4) from a position in the turned patch to one in the patch.

    DALI's positions are (x, y, z), and zero is the first voxel's corner.
    """
    limit = settings.slice_rotation_limit if keeps_slices_apart else settings.rotation_limit
    centre = [size / 2 for size in reversed(crop_size)]
    angle = draw_from((-limit, limit))
    matrix = fn.transforms.rotation(angle=angle, axis=[0, 0, 1], center=centre)
    if not keeps_slices_apart:
        for axis in ([0, 1, 0], [1, 0, 0]):
            angle = draw_from((-limit, limit))
            matrix = fn.transforms.rotation(matrix, angle=angle, axis=axis, center=centre)
    return matrix


def flip(image: Node, label: Node, probability: float, dimensions: int) -> tuple[Node, Node]:
    """Mirror on every axis of the patch, each with its own draw."""
    axes = ("depthwise", "vertical", "horizontal")[3 - dimensions :]
    draws = {axis: fn.random.coin_flip(probability=probability) for axis in axes}
    return fn.flip(image, **draws), fn.flip(label, **draws)


def augment_intensities(
    image: Node,
    settings: AugmentationSettings,
    keeps_slices_apart: bool,
    crop_size: list[int],
    channels: int,
) -> Node:
    """Noise, blur, brightness, contrast, resolution, gamma, each with its own probability."""
    if draw(settings.noise_probability):
        deviation = draw_from(settings.noise_standard_deviation)
        image = fn.noise.gaussian(image, stddev=deviation)
    if draw(settings.blur_probability):
        image = blur(image, settings.blur_sigma, keeps_slices_apart)
    if draw(settings.brightness_probability):
        image = image * draw_from(settings.brightness_factor)
    if draw(settings.contrast_probability):
        image = change_contrast(image, settings.contrast_factor)
    if draw(settings.low_resolution_probability):
        image = lower_resolution(image, settings, keeps_slices_apart, crop_size, channels)
    if draw(settings.inverted_gamma_probability):
        image = -change_gamma(-image, settings.gamma_exponent, channels)
    if draw(settings.gamma_probability):
        image = change_gamma(image, settings.gamma_exponent, channels)
    return image


def draw(probability: float) -> Node:
    """True with this probability, for each sample apart."""
    return fn.random.coin_flip(probability=probability, dtype=types.BOOL)


def draw_from(values: Range) -> Node:
    """A number between the two, for each sample apart; DALI itself refuses an empty range."""
    lowest, highest = values
    return lowest + (highest - lowest) * fn.random.uniform(range=[0.0, 1.0])


def blur(image: Node, sigma: Range, keeps_slices_apart: bool) -> Node:
    """Gaussian blur; in the layout FHWC ("frames") DALI blurs each slice by itself."""
    frames = fn.reshape(image, layout="FHWC" if keeps_slices_apart else "DHWC")
    blurred = fn.gaussian_blur(frames, sigma=draw_from(sigma))
    return fn.reshape(blurred, layout="DHWC")


def change_contrast(image: Node, factor: Range) -> Node:
    """Stretch each channel about its mean, and clip it to the range that it had (nnU-Net)."""
    mean = fn.reductions.mean(image, axes=SPATIAL_AXES, keep_dims=True)  # (1, 1, 1, c)
    lowest = fn.reductions.min(image, axes=SPATIAL_AXES, keep_dims=True)
    highest = fn.reductions.max(image, axes=SPATIAL_AXES, keep_dims=True)
    stretched = (image - mean) * draw_from(factor) + mean
    return math.clamp(stretched, lowest, highest)


def lower_resolution(
    image: Node,
    settings: AugmentationSettings,
    keeps_slices_apart: bool,
    crop_size: list[int],
    channels: int,
) -> Node:
    """Channels as a scan of larger voxels would show them: shrunk by nearest, enlarged by cubic."""
    changed = []
    for number in range(channels):
        channel = fn.reshape(image[:, :, :, number : number + 1], layout="DHWC")  # (d, h, w, 1)
        if draw(settings.low_resolution_channel_probability):
            scale = draw_from(settings.low_resolution_scale)
            size = scaled(crop_size, scale, keeps_slices_apart)
            channel = fn.resize(channel, size=size, interp_type=types.INTERP_NN)
            channel = fn.resize(
                channel, size=crop_size, interp_type=types.INTERP_CUBIC, antialias=False
            )
        changed.append(channel)
    return fn.cat(*changed, axis=3)


def change_gamma(image: Node, exponent: Range, channels: int) -> Node:
    """Bend each channel's range by its own exponent, and keep its mean and deviation (nnU-Net)."""
    mean, deviation = mean_and_deviation(image)  # each (1, 1, 1, c)
    lowest = fn.reductions.min(image, axes=SPATIAL_AXES, keep_dims=True)
    highest = fn.reductions.max(image, axes=SPATIAL_AXES, keep_dims=True)
    shares = fn.random.uniform(range=[0.0, 1.0], shape=[1, 1, 1, channels])
    gamma = exponent[0] + (exponent[1] - exponent[0]) * shares
    bent = math.pow((image - lowest) / (highest - lowest + TINY), gamma)
    bent_mean, bent_deviation = mean_and_deviation(bent)
    return (bent - bent_mean) / (bent_deviation + TINY) * deviation + mean


def mean_and_deviation(image: Node) -> tuple[Node, Node]:
    """Of each channel, (1, 1, 1, c)."""
    mean = fn.reductions.mean(image, axes=SPATIAL_AXES, keep_dims=True)
    return mean, fn.reductions.std_dev(image, mean, axes=SPATIAL_AXES, keep_dims=True)

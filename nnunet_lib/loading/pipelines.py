"""DALI's graphs: what happens to a case between its file and a batch.

Taught in lesson 03. Importing this module needs DALI; `dali.py` turns its graphs into
tf.data datasets. With `enable_conditionals`, an `if` on a drawn value computes only the branch
that a patch takes, which is about a quarter of the work of computing both.

Shapes in comments are those of one sample: DALI adds the batch axis itself. The files of images
and labels are listed in the same order, and neither reader shuffles: so they stay paired.
"""

from typing import Any

from nvidia.dali import fn, math, pipeline_def, types

from nnunet_lib.loading.settings import AugmentationSettings, LoaderSettings, Range

Node = Any  # DALI's DataNode, which knows no shape

SPATIAL_AXES = [0, 1, 2]
LARGEST_COMPONENTS = 2


@pipeline_def(enable_conditionals=True)
def training_graph(
    images: list[str], labels: list[str], settings: LoaderSettings, on_gpu: bool
) -> tuple[Node, Node]:
    """Crop, zoom and flip image and label alike; then change the image's intensities."""
    crop_size, augmentation = list(settings.crop_size), settings.augmentation
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
        image, label = flip(image, label, augmentation.flip_probability, settings.dimensions)
        image = augment_intensities(image, augmentation, settings.keeps_slices_apart)
    if settings.dimensions == 2:
        image, label = fn.squeeze(image, axes=[0]), fn.squeeze(label, axes=[0])  # (h, w, c)
    return image, label


@pipeline_def
def evaluation_graph(images: list[str], labels: list[str]) -> tuple[Node, Node]:
    """Whole cases as they lie on disk."""
    return fn.readers.numpy(files=images), read_label(labels)


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
    size = types.Constant([float(voxels) for voxels in settings.crop_size])
    zoomed = draw(settings.augmentation.zoom_probability)
    scale = draw_from(settings.augmentation.zoom_scale)
    # 0 on the axis that keeps its size, so that slices are not mixed.
    axes = types.Constant([0.0 if settings.keeps_slices_apart else 1.0, 1.0, 1.0])
    if settings.augmentation.enabled:
        size = size * (1.0 - zoomed * axes * (1.0 - scale))
    return fn.cast(math.floor(size + 0.5), dtype=types.INT32), zoomed


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
    # DALI's type stubs say that this operator gives nothing.
    start, extent, drawn_class = fn.segmentation.random_object_bbox(  # type: ignore[misc]
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


def flip(image: Node, label: Node, probability: float, dimensions: int) -> tuple[Node, Node]:
    """Mirror on every axis of the patch, each with its own draw."""
    axes = ("depthwise", "vertical", "horizontal")[3 - dimensions :]
    draws = {axis: fn.random.coin_flip(probability=probability) for axis in axes}
    return fn.flip(image, **draws), fn.flip(label, **draws)


def augment_intensities(
    image: Node, settings: AugmentationSettings, keeps_slices_apart: bool
) -> Node:
    """Noise, blur, brightness and contrast, each with its own probability."""
    if draw(settings.noise_probability):
        deviation = draw_from(settings.noise_standard_deviation)
        image = fn.noise.gaussian(image, stddev=deviation)
    if draw(settings.blur_probability):
        image = blur(image, settings.blur_sigma, keeps_slices_apart)
    if draw(settings.brightness_probability):
        image = image * draw_from(settings.brightness_factor)
    if draw(settings.contrast_probability):
        image = change_contrast(image, settings.contrast_factor)
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

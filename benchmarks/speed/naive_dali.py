"""DALI's graph as one would write it first: whole cases read, both sides of each choice computed.

What conditional execution and reads of a region save, the library's own graph shows against it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvidia.dali import fn, math, pipeline_def, types

from benchmarks.speed import data_inputs as data
from benchmarks.speed import inputs

Node = Any
AXES = [0, 1, 2]
LIST = data.NVIDIA


def patches(files: Sequence[tuple[Path, Path]]) -> Any:
    """A built pipeline of batches, on two threads."""
    images, labels = ([str(path) for path in paths] for paths in zip(*files, strict=True))
    options = {"batch_size": inputs.BATCH, "num_threads": 2, "device_id": None, "seed": 0}
    pipeline = _graph(images, labels, **options)
    pipeline.build()
    return pipeline


@pipeline_def
def _graph(images: list[str], labels: list[str]) -> tuple[Node, Node]:
    image, volume = fn.readers.numpy(files=images), fn.readers.numpy(files=labels)
    size = types.Constant(list(data.PATCH), dtype=types.INT32)
    label = fn.squeeze(volume, axes=[3])
    start, extent = fn.segmentation.random_object_bbox(  # type: ignore[misc]  # DALI's stubs
        label,
        format="anchor_shape",
        foreground_prob=data.FOREGROUND,
        k_largest=2,
        cache_objects=True,
    )
    anchor = fn.roi_random_crop(
        roi_start=start,
        roi_shape=extent,
        crop_shape=size,
        in_shape=fn.shapes(label, dtype=types.INT32),
    )
    anchor = fn.cast(anchor, dtype=types.INT32)
    image, label = (
        fn.reshape(fn.slice(array, anchor, size, axes=AXES), layout="DHWC")
        for array in (image, volume)
    )
    image, label = _zoom(image, label)
    draws = {axis: _coin(LIST.flip_probability) for axis in ("depthwise", "vertical", "horizontal")}
    image, label = fn.flip(image, **draws), fn.flip(label, **draws)
    return _intensities(image), label


def _zoom(image: Node, label: Node) -> tuple[Node, Node]:
    """A region about the centre enlarged to the patch; without a zoom the region is the patch."""
    scale = 1.0 - _coin(LIST.zoom_probability) * (1.0 - _between(LIST.zoom_scale))
    size = types.Constant([float(side) for side in data.PATCH])
    region = {
        "roi_start": size * (0.5 - 0.5 * scale),
        "roi_end": size * (0.5 + 0.5 * scale),
        "size": list(data.PATCH),
    }
    cubic = fn.resize(image, interp_type=types.INTERP_CUBIC, antialias=False, **region)
    return cubic, fn.resize(label, interp_type=types.INTERP_NN, **region)


def _intensities(image: Node) -> Node:
    noisy = fn.noise.gaussian(image, stddev=_between(LIST.noise_standard_deviation))
    image = _either(LIST.noise_probability, noisy, image)
    blurred = fn.gaussian_blur(image, sigma=_between(LIST.blur_sigma))
    image = _either(LIST.blur_probability, blurred, image)
    brighter = image * _between(LIST.brightness_factor)
    image = _either(LIST.brightness_probability, brighter, image)
    mean = fn.reductions.mean(image, axes=AXES, keep_dims=True)
    lowest = fn.reductions.min(image, axes=AXES, keep_dims=True)
    highest = fn.reductions.max(image, axes=AXES, keep_dims=True)
    stretched = math.clamp((image - mean) * _between(LIST.contrast_factor) + mean, lowest, highest)
    return _either(LIST.contrast_probability, stretched, image)


def _either(probability: float, changed: Node, image: Node) -> Node:
    share = fn.cast(_coin(probability), dtype=types.FLOAT)
    return changed * share + image * (1.0 - share)


def _coin(probability: float) -> Node:
    return fn.random.coin_flip(probability=probability)


def _between(values: tuple[float, float]) -> Node:
    return fn.random.uniform(range=list(values))

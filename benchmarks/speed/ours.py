"""The work of the pairs, done by this library. Each function prepares it and returns it."""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from benchmarks.speed import inputs
from benchmarks.speed.worker import Work
from nnunet_lib.datasets import Volume
from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.inference import InferenceSettings, predict_logits, predict_volume, sliding_window
from nnunet_lib.model import as_network, build_unet
from nnunet_lib.model.network import Network
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing import resample_logits
from nnunet_lib.training import TrainingSettings
from nnunet_lib.training.optimisers import make_optimiser
from nnunet_lib.training.step import make_step

STRIDES = ((1, 1, 1), *((2, 2, 2),) * (len(inputs.FILTERS) - 1))


def plan_of(classes: int = inputs.CLASSES, target_spacing: float = 1.0) -> Plan:
    """The plan of the pairs."""
    return Plan(
        dataset="pairs",
        dimensions=3,
        channels=("MRI",),
        labels=("background", *(f"class {value}" for value in range(1, classes))),
        axis_order=(0, 1, 2),
        target_spacing=(target_spacing,) * 3,
        normalisation=(Normalisation("z_score"),),
        patch_size=inputs.PATCH,
        batch_size=inputs.BATCH,
        strides=STRIDES,
        kernels=((3, 3, 3),) * len(STRIDES),
        filters=inputs.FILTERS,
    )


PLAN = plan_of()
HALF = InferenceSettings(overlap=0.5, window_batch_size=1)
ZEROS = np.zeros((1, *inputs.PATCH, inputs.CLASSES), np.float32)


def training_step(ranks: Ranks = ALONE, batch: int = inputs.BATCH) -> Work:
    """Forward, deep supervision, backward, clipping, Adam."""
    settings, model = TrainingSettings(), build_unet(PLAN)
    step = make_step(model, make_optimiser(settings), PLAN, settings, ranks)
    image = tf.constant(inputs.noise(batch, *inputs.PATCH, 1))
    label = tf.constant(inputs.labels(batch, *inputs.PATCH, 1))
    return lambda: float(step(image, label))


def forward() -> Work:
    """The network alone, on a batch in memory."""
    network, image = _network(), inputs.noise(inputs.BATCH, *inputs.PATCH, 1)
    return lambda: np.asarray(network(image))


def whole_case() -> Work:
    """Sliding window over a case."""
    return _predict(inputs.image(), HALF)


def small_case() -> Work:
    """The same over a smaller case."""
    return _predict(inputs.noise(*inputs.SMALL_IMAGE), HALF)


def small_case_with_flips() -> Work:
    """The same, averaged over all 8 flips of the case."""
    return _predict(inputs.noise(*inputs.SMALL_IMAGE), replace(HALF, tta=True))


def _predict(image: np.ndarray, settings: InferenceSettings) -> Work:
    return partial(predict_logits, _network(), image[..., np.newaxis], PLAN, settings)


def stitching() -> Work:
    """Sliding window with a network that costs nothing."""
    return partial(_stitch, inputs.noise(*inputs.IMAGE, 1))


def large_stitching() -> Work:
    """A scan of 512x512x400, made anew and predicted by a network that costs nothing."""
    return lambda: _stitch(np.ones((*inputs.SCAN, 1), np.float32)).shape


def logits_to_scan() -> Work:
    """Logits of 3 classes from half the grid to 512x512x400."""
    coarse = inputs.noise(*inputs.COARSE_SCAN, inputs.CLASSES)
    return lambda: resample_logits(coarse, inputs.SCAN, (2.0,) * 3, (1.0,) * 3)


def whole_prediction() -> Work:
    """The same scan, made anew: normalised, predicted and brought back as labels."""

    def work() -> tuple[int, ...]:
        image = Volume(np.ones((*inputs.SCAN, 1), np.float32), np.eye(4), (1.0, 1.0, 1.0))
        return predict_volume(lambda patches: ZEROS, image, PLAN, HALF).labels.shape

    return work


def convolution() -> Work:
    """The fastest lone 3x3x3 convolution over 32 to 320 channels, which are equal work."""
    works = {channels: _convolution(channels) for channels in inputs.CONVOLUTIONS}
    seconds = {channels: min(_timed(work) for _ in range(3)) for channels, work in works.items()}
    fastest = min(seconds, key=lambda channels: seconds[channels])
    return lambda: (works[fastest](), f"{fastest} channels")[1]


def _convolution(channels: int) -> Work:
    image = tf.random.normal((1, *inputs.CONVOLUTIONS[channels], channels))
    kernel = tf.random.normal((3, 3, 3, channels, channels))
    convolve = tf.function(lambda: tf.nn.conv3d(image, kernel, [1] * 5, "SAME"))
    convolve()
    return lambda: convolve().numpy()


def _timed(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def matrix_product() -> Work:
    """A large matrix product."""
    left, right = tf.random.normal((2, inputs.MATRIX, inputs.MATRIX))
    return lambda: tf.matmul(left, right).numpy()


def _network() -> Network:
    return as_network(build_unet(PLAN, deep_supervision=False), batch_size=inputs.BATCH)


def _stitch(image: np.ndarray) -> np.ndarray:
    return sliding_window(lambda patches: ZEROS, image, inputs.PATCH, window_batch_size=1)

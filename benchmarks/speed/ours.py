"""The work of the pairs, done by this library. Each function prepares it and returns it."""

from functools import partial

import numpy as np
import tensorflow as tf

from benchmarks.speed import inputs
from benchmarks.speed.worker import Work
from nnunet_lib.inference import InferenceSettings, predict_logits, sliding_window
from nnunet_lib.model import as_network, build_unet
from nnunet_lib.model.network import Network
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing import resample_logits
from nnunet_lib.training import TrainingSettings
from nnunet_lib.training.optimisers import make_optimiser
from nnunet_lib.training.step import make_step

STRIDES = ((1, 1, 1), *((2, 2, 2),) * (len(inputs.FILTERS) - 1))
PLAN = Plan(
    dataset="pairs",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "a", "b"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=inputs.PATCH,
    batch_size=inputs.BATCH,
    strides=STRIDES,
    kernels=((3, 3, 3),) * len(STRIDES),
    filters=inputs.FILTERS,
)
HALF = InferenceSettings(overlap=0.5, window_batch_size=1)
ZEROS = np.zeros((1, *inputs.PATCH, inputs.CLASSES), np.float32)


def training_step() -> Work:
    """Forward, deep supervision, backward, clipping, Adam."""
    settings, model = TrainingSettings(), build_unet(PLAN)
    step = make_step(model, make_optimiser(settings), PLAN, settings)
    image = tf.constant(inputs.noise(inputs.BATCH, *inputs.PATCH, 1))
    label = tf.constant(inputs.labels(inputs.BATCH, *inputs.PATCH, 1))
    return lambda: float(step(image, label))


def forward() -> Work:
    """The network alone, on a batch in memory."""
    network, image = _network(), inputs.noise(inputs.BATCH, *inputs.PATCH, 1)
    return lambda: np.asarray(network(image))


def whole_case() -> Work:
    """Sliding window over a case, 27 windows."""
    return partial(predict_logits, _network(), inputs.noise(*inputs.IMAGE, 1), PLAN, HALF)


def whole_case_with_flips() -> Work:
    """The same, averaged over all 8 flips of the case."""
    flips = InferenceSettings(tta=True, overlap=0.5, window_batch_size=1)
    return partial(predict_logits, _network(), inputs.noise(*inputs.IMAGE, 1), PLAN, flips)


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


def convolution_peak() -> Work:
    """The fastest lone 3x3x3 convolution over 32 to 320 channels, as GFLOP/s in the note."""
    speeds = {width: _convolution_speed(width) for width in (32, 64, 128, 256, 320)}
    best = max(speeds, key=lambda width: speeds[width])
    note = f"{speeds[best] / 1e9:.0f} GFLOP/s at {best} channels"
    return lambda: note


def _convolution_speed(channels: int) -> float:
    import time

    size = max(8, 40 * 32 // channels)
    image = tf.random.normal((inputs.BATCH, size, size, size, channels))
    kernel = tf.random.normal((3, 3, 3, channels, channels))
    convolve = tf.function(lambda: tf.nn.conv3d(image, kernel, [1] * 5, "SAME"))
    convolve()
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        convolve().numpy()
        best = min(best, time.perf_counter() - began)
    return 2 * 27 * channels**2 * inputs.BATCH * size**3 / best


def _network() -> Network:
    return as_network(build_unet(PLAN, deep_supervision=False), batch_size=inputs.BATCH)


def _stitch(image: np.ndarray) -> np.ndarray:
    return sliding_window(lambda patches: ZEROS, image, inputs.PATCH, window_batch_size=1)

"""How the network's arithmetic is done: light to import, so that the command line can ask.

Taught in lessons 07 and 08.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from nnunet_lib.errors import InputError, require_choice

Precision = Literal["float32", "float16", "bfloat16"]

FLOAT16_NEEDS = (7, 0)
"""NVIDIA's compute capability from which on tensor cores multiply in float16 (Volta)."""
BFLOAT16_NEEDS = (8, 0)
"""The same for bfloat16 (Ampere)."""

SLOW_FLOAT16 = (
    "float16 on a CPU takes far longer than float32: 3D training steps took 20 to 80 times as long "
    "where they were measured. It is for learning how it works."
)
SLOW_XLA = (
    "XLA on a CPU makes 3D networks slower: training steps took 7 to 10 times as long as with "
    "TensorFlow's own kernels where they were measured. Leave --xla out for speed."
)
NO_CONVOLUTION = (
    "{precision}: this machine cannot compute convolutions in it ({error}). Leave --amp out, or "
    "set TF_ENABLE_ONEDNN_OPTS=0 before Python starts, which is slow."
)


@dataclass(frozen=True)
class ComputeSettings:
    """Precision and compilation of the network, in training and in prediction.

    Attributes:
        precision: of activations and convolutions; weights, logits and losses stay float32.
        tf32: whether NVIDIA GPUs since Ampere may round float32 factors to 10 bits of mantissa,
            as TensorFlow does by default. Without effect elsewhere.
        xla: whether XLA compiles the network.

    Raises:
        InputError: if there is no such precision.
    """

    precision: Precision = "float32"
    tf32: bool = True
    xla: bool = False

    def __post_init__(self) -> None:
        require_choice("precision", self.precision, Precision)


DEFAULT_COMPUTE = ComputeSettings()


def prepare(compute: ComputeSettings) -> tuple[str, ...]:
    """Set TensorFlow up for these settings; call it before the work starts.

    With several processes call it after `distributed.join`, which chooses the GPU.

    Returns:
        A sentence for each thing that this machine does, but not well: for people to read.

    Raises:
        InputError: if this machine cannot compute in that precision at all.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(compute.tf32)
    if compute.precision != "float32":
        _quieten_keras(compute.precision)
        _try_convolution(compute)
    return tuple(_weaknesses(compute, _capabilities()))


@cache
def has_avx512() -> bool:
    """Whether this processor has AVX-512, for which oneDNN has more kernels than for AVX2."""
    import numpy as np

    show_config: Any = np.show_config  # NumPy's own types know neither this argument nor a result
    found = show_config("dicts")["SIMD Extensions"].get("found", ())  # left out where it is empty
    return any(name.startswith("AVX512") for name in found)


def is_cpu() -> bool:
    """Whether TensorFlow computes on the processor, because it sees no GPU."""
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")


def _weaknesses(compute: ComputeSettings, capabilities: dict[str, tuple[int, int]]) -> list[str]:
    """What is slow on these GPUs, named with their compute capability, or on a CPU if none."""
    if not capabilities:
        if compute.xla:
            return [SLOW_XLA]
        return [SLOW_FLOAT16] if compute.precision == "float16" else []
    needed = {"float16": FLOAT16_NEEDS, "bfloat16": BFLOAT16_NEEDS}.get(compute.precision, (0, 0))
    return [
        f"{name} has compute capability {found[0]}.{found[1]}: {compute.precision} gains speed "
        f"only from {needed[0]}.{needed[1]} on."
        for name, found in capabilities.items()
        if found < needed
    ]


def _capabilities() -> dict[str, tuple[int, int]]:
    """Compute capability of each GPU that TensorFlow uses, by name; those that do not tell, not."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return {
        item.get("device_name", "GPU"): item["compute_capability"]
        for item in details
        if "compute_capability" in item
    }


def _try_convolution(compute: ComputeSettings) -> None:
    """Compute one tiny 3D convolution and its gradient: asking is surer than knowing.

    Which processors have bfloat16 convolutions depends on their instructions, on TensorFlow's
    build and its switches.
    """
    import tensorflow as tf

    features = tf.ones((1, 4, 4, 4, 1), compute.precision)
    kernel = tf.ones((3, 3, 3, 1, 1), compute.precision)

    @tf.function(jit_compile=compute.xla, autograph=False)
    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            convolved = tf.nn.conv3d(features, kernel, [1] * 5, "SAME")
        return tape.gradient(convolved, kernel)

    try:
        gradient()
    except tf.errors.OpError as error:
        cause = type(error).__name__
        message = NO_CONVOLUTION.format(precision=compute.precision, error=cause)
        raise InputError(message) from None


def _quieten_keras(precision: Precision) -> None:
    """Let Keras give its own warning of slow devices, once a process, to nobody: ours follows."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        tf.keras.mixed_precision.Policy(f"mixed_{precision}")
    finally:
        logger.setLevel(level)

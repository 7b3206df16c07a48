"""The U-Net's building blocks: normalisation, convolution block, step up.

Taught in lesson 04. All tensors are channels last: (batch, *spatial, channels).
"""

from typing import Any

import tensorflow as tf

LEAKY_RELU_SLOPE = 0.01
INSTANCE_NORM_EPSILON = 1e-5


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class InstanceNormalization(tf.keras.layers.Layer):
    """Instance normalisation: each channel of each case gets mean 0 and variance 1.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance over the
    spatial axes of one case alone (Ulyanov et al., arXiv:1607.08022). No case sees another,
    so a batch of two serves as well as a batch of a hundred.
    """

    def __init__(self, epsilon: float = INSTANCE_NORM_EPSILON, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        """Make gamma and beta, one a channel."""
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise (batch, *spatial, channels) to the same shape."""
        spatial_axes = list(range(1, inputs.shape.rank - 1))
        mean, variance = tf.nn.moments(inputs, spatial_axes, keepdims=True)  # (batch, 1.., c)
        return tf.nn.batch_normalization(
            inputs, mean, variance, self.beta, self.gamma, self.epsilon
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


def convolution_block(
    inputs: tf.Tensor,
    filters: int,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    name: str,
) -> tf.Tensor:
    """Convolution, instance norm, leaky ReLU: (batch, *s, c) -> (batch, *s / strides, filters).

    The convolution has no bias, because the normalisation would subtract it again.
    """
    convolution = _layer("Conv", len(kernel))(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_convolution",
    )
    normalised = InstanceNormalization(name=f"{name}_norm")(convolution(inputs))
    return tf.keras.layers.LeakyReLU(LEAKY_RELU_SLOPE, name=f"{name}_activation")(normalised)


def double_block(
    inputs: tf.Tensor,
    filters: int,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    name: str,
) -> tf.Tensor:
    """Two convolution blocks, of which the first may stride: one stage of the U-Net."""
    ones = (1,) * len(strides)
    hidden = convolution_block(inputs, filters, kernel, strides, f"{name}_first")
    return convolution_block(hidden, filters, kernel, ones, f"{name}_second")


def up(inputs: tf.Tensor, filters: int, strides: tuple[int, ...], name: str) -> tf.Tensor:
    """Transposed convolution whose kernel is its stride: (batch, *s, c) -> (batch, *s·strides, f).

    Each coarse voxel fills its own block of fine voxels, so no checkerboard can arise.
    """
    transposed = _layer("Conv", len(strides), "Transpose")
    return transposed(filters, strides, strides, kernel_initializer="he_normal", name=name)(inputs)


def output_head(inputs: tf.Tensor, classes: int, name: str) -> tf.Tensor:
    """1x1 convolution to logits, in float32 whatever the compute precision is."""
    dimensions = inputs.shape.rank - 2
    convolution = _layer("Conv", dimensions)(classes, 1, name=f"{name}_convolution")
    return tf.keras.layers.Activation("linear", dtype="float32", name=name)(convolution(inputs))


def _layer(kind: str, dimensions: int, suffix: str = "") -> type[tf.keras.layers.Layer]:
    """Keras's layer for that many dimensions, such as Conv3DTranspose."""
    return getattr(tf.keras.layers, f"{kind}{dimensions}D{suffix}")

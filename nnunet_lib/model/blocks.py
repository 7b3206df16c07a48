"""The U-Net's building blocks: normalisation, convolution block, step up, output head.

Taught in lesson 04. All tensors are channels last: (batch, *spatial, channels).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from nnunet_lib.model.compute import Precision
from nnunet_lib.model.convolution import Conv3D
from nnunet_lib.planning import Norm, Plan

NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9
"""How much of the moving statistics each training step keeps."""
MAXIMUM_GROUPS = 8


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class InstanceNormalization(tf.keras.layers.Layer):
    """Instance normalisation: each channel of each case gets mean 0 and variance 1.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance over the
    spatial axes of one case alone (Ulyanov et al., arXiv:1607.08022). No case sees another,
    so a batch of two serves as well as a batch of a hundred.
    """

    def __init__(self, epsilon: float = NORM_EPSILON, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        """Make gamma and beta, one a channel."""
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalise (batch, *spatial, channels) to the same shape."""
        return self._alone(inputs) if inputs.shape[0] == 1 else self._by_formula(inputs)

    def _by_formula(self, inputs: tf.Tensor) -> tf.Tensor:
        """All cases at once, one operation after the other."""
        spatial_axes = list(range(1, inputs.shape.rank - 1))
        mean, variance = tf.nn.moments(inputs, spatial_axes, keepdims=True)  # (batch, 1.., c)
        return tf.nn.batch_normalization(
            inputs, mean, variance, self.beta, self.gamma, self.epsilon
        )

    def _alone(self, case: tf.Tensor) -> tf.Tensor:
        """One case, (1, *spatial, channels), of which batch norm makes the same.

        That is one kernel forward and one back, which go through memory less often.
        """
        rows = tf.reshape(case, (1, -1, *case.shape[-2:]))  # (1, rows, columns, channels)
        normalised = tf.raw_ops.FusedBatchNormV3(
            x=rows, scale=self.gamma, offset=self.beta, mean=[], variance=[], epsilon=self.epsilon
        )
        return tf.reshape(normalised.y, case.shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class ZeroMargins(tf.keras.layers.Layer):
    """As many zeros on both sides of each spatial axis as `margins` says.

    TensorFlow 2.14 fuses its usual Pad into a 3D convolution even where the gradient still needs
    what was padded, and then gives up all fusions of that graph with an error on the screen. PadV2,
    the same with a value to pad with, is left alone.
    """

    def __init__(self, margins: Sequence[int], **options: Any) -> None:
        super().__init__(**options)
        self.margins = tuple(margins)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, *spatial, channels) -> (batch, *spatial + 2 margins, channels)."""
        paddings = [(0, 0), *((margin, margin) for margin in self.margins), (0, 0)]
        zero = tf.zeros((), inputs.dtype)
        return tf.raw_ops.PadV2(input=inputs, paddings=paddings, constant_values=zero)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "margins": self.margins}


def number_of_groups(channels: int) -> int:
    """Groups of a group norm: the largest divisor of the channels up to `MAXIMUM_GROUPS`."""
    return max(groups for groups in range(1, MAXIMUM_GROUPS + 1) if channels % groups == 0)


@dataclass(frozen=True)
class Blocks:
    """Makes the blocks of one network, which have these in common.

    Attributes:
        norm: instance; batch (Ioffe and Szegedy, arXiv:1502.03167); group (Wu and He,
            arXiv:1803.08494); or none, and then the convolutions have a bias.
        negative_slope: of the leaky ReLU.
        precision: of convolutions and activations. Weights, norms and logits are float32.
    """

    norm: Norm = "instance"
    negative_slope: float = 0.01
    precision: Precision = "float32"

    @classmethod
    def of(cls, plan: Plan, precision: Precision = "float32") -> "Blocks":
        """The blocks that a plan asks for."""
        return cls(plan.norm, plan.negative_slope, precision)

    @property
    def policy(self) -> str:
        """Keras's name for this precision with float32 weights."""
        return self.precision if self.precision == "float32" else f"mixed_{self.precision}"

    def convolution(
        self,
        inputs: tf.Tensor,
        filters: int,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        name: str,
    ) -> tf.Tensor:
        """Convolution, norm, leaky ReLU: (batch, *s, c) -> (batch, *s / strides, filters).

        The convolution has no bias where a norm follows, which would subtract it again.
        """
        padding = "same" if max(strides) == 1 else "valid"
        if padding == "valid":
            inputs = self._pad(inputs, kernel, f"{name}_padding")
        convolution = _convolution_layer(len(kernel))(
            filters,
            kernel,
            strides,
            padding=padding,
            use_bias=self.norm == "none",
            kernel_initializer="he_normal",
            dtype=self.policy,
            name=f"{name}_convolution",
        )
        normalised = self._normalise(convolution(inputs), f"{name}_norm")
        activation = tf.keras.layers.LeakyReLU(
            self.negative_slope, dtype=self.policy, name=f"{name}_activation"
        )
        return activation(normalised)  # rounds to the compute precision first

    def stage(
        self,
        inputs: tf.Tensor,
        filters: int,
        kernel: tuple[int, ...],
        strides: tuple[int, ...],
        name: str,
    ) -> tf.Tensor:
        """Two convolution blocks, of which the first may stride: one stage of the U-Net."""
        ones = (1,) * len(strides)
        hidden = self.convolution(inputs, filters, kernel, strides, f"{name}_first")
        return self.convolution(hidden, filters, kernel, ones, f"{name}_second")

    def up(self, inputs: tf.Tensor, filters: int, strides: tuple[int, ...], name: str) -> tf.Tensor:
        """Transposed convolution with kernel = stride: (batch, *s, c) -> (batch, *s·strides, f).

        Each coarse voxel fills its own block of fine voxels, so no checkerboard can arise.
        """
        transposed = _convolution_layer(len(strides), "Transpose")(
            filters,
            strides,
            strides,
            kernel_initializer="he_normal",
            dtype=self.policy,
            name=name,
        )
        return transposed(inputs)

    def join(self, inputs: list[tf.Tensor], name: str) -> tf.Tensor:
        """Feature maps of one grid side by side: (batch, *s, c) each -> (batch, *s, sum of c)."""
        return tf.keras.layers.Concatenate(dtype=self.policy, name=name)(inputs)

    def head(self, inputs: tf.Tensor, classes: int, name: str) -> tf.Tensor:
        """1x1 convolution to logits, handed on in float32 whatever the compute precision is."""
        convolution = _convolution_layer(inputs.shape.rank - 2)(
            classes, 1, dtype=self.policy, name=f"{name}_convolution"
        )
        return tf.keras.layers.Activation("linear", dtype="float32", name=name)(convolution(inputs))

    def _pad(self, inputs: tf.Tensor, kernel: tuple[int, ...], name: str) -> tf.Tensor:
        """Zeros on both sides, which centre coarse voxel i on fine voxel 2i, as in nnU-Net.

        Keras's own "same" pads an even size at its end alone, which centres it on 2i + 1: the
        mirror image of nnU-Net's network, to which its weights would not fit.
        """
        margins = [width // 2 for width in kernel]
        return ZeroMargins(margins, dtype=self.policy, name=name)(inputs)

    def _normalise(self, inputs: tf.Tensor, name: str) -> tf.Tensor:
        """In float32, because the square of a feature above 256 overflows in float16."""
        options: dict[str, Any] = {"epsilon": NORM_EPSILON, "dtype": "float32", "name": name}
        layers = tf.keras.layers
        match self.norm:
            case "instance":
                return InstanceNormalization(**options)(inputs)
            case "batch":
                return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, **options)(inputs)
            case "group":
                groups = number_of_groups(inputs.shape[-1])
                return layers.GroupNormalization(groups, **options)(inputs)
        return inputs


def _convolution_layer(dimensions: int, suffix: str = "") -> type[tf.keras.layers.Layer]:
    """The layer for that many dimensions, such as Keras's Conv3DTranspose."""
    if (dimensions, suffix) == (3, ""):
        return Conv3D
    return getattr(tf.keras.layers, f"Conv{dimensions}D{suffix}")

"""How the network's arithmetic is done: light to import, so that the command line can ask.

Taught in lessons 07 and 08.
"""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class ComputeSettings:
    """Precision and compilation of the network, in training and in prediction.

    Attributes:
        precision: of activations and convolutions; weights, logits and losses stay float32.
        tf32: whether NVIDIA GPUs since Ampere may round float32 factors to 10 bits of mantissa,
            as TensorFlow does by default. Without effect elsewhere.
        xla: whether XLA compiles the network.
    """

    precision: Precision = "float32"
    tf32: bool = True
    xla: bool = False

"""The U-Net in 2D and 3D, and its checkpoint files. Taught in lessons 04 and 06."""

from nnunet_lib.model.blocks import InstanceNormalization
from nnunet_lib.model.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    assign_arrays,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.model.network import Network, as_network, load_network
from nnunet_lib.model.unet import build_unet, head_strides, number_of_heads

__all__ = [
    "BEST",
    "LAST",
    "Checkpoint",
    "InstanceNormalization",
    "Network",
    "as_network",
    "assign_arrays",
    "build_unet",
    "find_checkpoint",
    "head_strides",
    "load_checkpoint",
    "load_network",
    "number_of_heads",
    "save_checkpoint",
    "variable_arrays",
]

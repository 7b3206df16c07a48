"""The work of the pairs, done by nnU-Net, MONAI and others: runs in the peers' environment."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from monai.inferers import sliding_window_inference
from monai.networks.nets import DynUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from benchmarks.speed import inputs
from benchmarks.speed.worker import Work

torch.set_num_threads(2)
STRIDES = (1, *(2,) * (len(inputs.FILTERS) - 1))
STAGES = len(STRIDES)
Network = Callable[[torch.Tensor], Any]


def plain_conv_unet(deep_supervision: bool = True) -> nn.Module:
    """nnU-Net's network."""
    return PlainConvUNet(
        input_channels=1,
        n_stages=STAGES,
        features_per_stage=inputs.FILTERS,
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=STRIDES,
        n_conv_per_stage=2,
        num_classes=inputs.CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    )


def dyn_unet(deep_supervision: bool = True) -> nn.Module:
    """MONAI's network of the same sizes."""
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=inputs.CLASSES,
        kernel_size=[3] * STAGES,
        strides=STRIDES,
        upsample_kernel_size=STRIDES[1:],
        filters=inputs.FILTERS,
        norm_name=("instance", {"affine": True}),
        deep_supervision=deep_supervision,
        deep_supr_num=inputs.HEADS - 1,
    )


def training_step_plain() -> Work:
    """PlainConvUNet with nnU-Net's loss, clipping and Adam."""
    network = plain_conv_unet()
    return _training_step(network, lambda image: list(network(image))[: inputs.HEADS], scaled=True)


def training_step_dyn() -> Work:
    """DynUNet, whose heads come at full size, with the same loss."""
    network = dyn_unet()
    return _training_step(
        network, lambda image: list(torch.unbind(network(image), 1)), scaled=False
    )


def _training_step(network: nn.Module, heads: Network, scaled: bool) -> Work:
    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    supervised = DeepSupervisionWrapper(loss, inputs.HEAD_WEIGHTS)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    image = torch.from_numpy(inputs.noise(inputs.BATCH, 1, *inputs.PATCH))
    label = torch.from_numpy(inputs.labels(inputs.BATCH, 1, *inputs.PATCH)).float()
    steps = [2**level if scaled else 1 for level in range(inputs.HEADS)]
    truths = [label[:, :, ::step, ::step, ::step].contiguous() for step in steps]

    def step() -> float:
        optimiser.zero_grad()
        value = supervised(heads(image), truths)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimiser.step()
        return float(value.item())

    return step


def forward_plain() -> Work:
    """PlainConvUNet alone, without gradients."""
    return _forward(plain_conv_unet(deep_supervision=False))


def forward_dyn() -> Work:
    """DynUNet alone, without gradients."""
    return _forward(dyn_unet(deep_supervision=False))


def _forward(network: nn.Module) -> Work:
    image = torch.from_numpy(inputs.noise(inputs.BATCH, 1, *inputs.PATCH))
    return _without_gradients(partial(network.eval(), image))


def whole_case_nnunet() -> Work:
    """nnU-Net's sliding window with its own Gaussian (sigma an eighth of the patch)."""
    return _nnunet(plain_conv_unet(deep_supervision=False), inputs.image())


def small_case_nnunet() -> Work:
    """The same over a smaller case."""
    return _nnunet(plain_conv_unet(deep_supervision=False), inputs.noise(*inputs.SMALL_IMAGE))


def small_case_nnunet_with_flips() -> Work:
    """The same with all 8 flips, of each window."""
    network = plain_conv_unet(deep_supervision=False)
    return _nnunet(network, inputs.noise(*inputs.SMALL_IMAGE), mirror=True)


def stitching_nnunet() -> Work:
    """nnU-Net's sliding window with a network that costs nothing."""
    return _nnunet(_Nothing(), inputs.noise(*inputs.IMAGE))


def _nnunet(network: nn.Module, image: np.ndarray, mirror: bool = False) -> Work:
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=mirror,
        perform_everything_on_device=True,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = network.eval()
    predictor.allowed_mirroring_axes = (0, 1, 2) if mirror else None
    predictor.configuration_manager = _Patch()
    predictor.label_manager = _Heads()
    channels = torch.from_numpy(image)[None]  # (1, z, y, x)
    return _without_gradients(partial(predictor.predict_sliding_window_return_logits, channels))


class _Patch:
    """All of a plan that nnU-Net's sliding window reads."""

    patch_size = inputs.PATCH


class _Heads:
    """All of a label manager that nnU-Net's sliding window reads."""

    num_segmentation_heads = inputs.CLASSES


class _Nothing(nn.Module):
    """A network that costs nothing: zeros, made beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.zeros = torch.zeros(1, inputs.CLASSES, *inputs.PATCH)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Zeros, whatever comes."""
        return self.zeros


def whole_case_monai() -> Work:
    """MONAI's sliding window with its Gaussian, around DynUNet."""
    return _monai(dyn_unet(deep_supervision=False).eval(), inputs.image())


def stitching_monai() -> Work:
    """MONAI's sliding window with a network that costs nothing."""
    return _monai(_Nothing(), inputs.noise(*inputs.IMAGE))


def _monai(network: Network, image: np.ndarray) -> Work:
    batch = torch.from_numpy(image)[None, None]  # (1, 1, z, y, x)
    arguments = {"overlap": 0.5, "mode": "gaussian"}
    return _without_gradients(
        partial(sliding_window_inference, batch, inputs.PATCH, 1, network, **arguments)
    )


def logits_to_scan_default() -> Work:
    """nnU-Net's default: order 1, one class at a time."""
    return _logits_to_scan(partial(resample_data_or_seg_to_shape, order=1, order_z=0))


def logits_to_scan_torch() -> Work:
    """nnU-Net's torch variant, which does not cost its time."""
    return _logits_to_scan(partial(resample_torch_fornnunet, num_threads=2))


def _logits_to_scan(resample: Callable[..., Any]) -> Work:
    coarse = torch.from_numpy(inputs.noise(inputs.CLASSES, *inputs.COARSE_SCAN))
    spacings = ((2.0,) * 3, (1.0,) * 3)
    return lambda: resample(coarse, inputs.SCAN, *spacings, is_seg=False)


def large_copy() -> Work:
    """A copy of memory, on both threads."""
    source = torch.ones(inputs.COPIED // 4)
    return partial(torch.empty_like(source).copy_, source)


def _without_gradients(work: Work) -> Work:
    def quietly() -> object:
        with torch.inference_mode():
            return work()

    return quietly

"""The work of the rows about data, done by others: runs in the peers' environment."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.speed import data_inputs as data
from benchmarks.speed import inputs
from benchmarks.speed.worker import Work
from nnunet_lib.loading import AugmentationSettings

torch.set_num_threads(2)
SEED = 0
Pair = tuple[torch.Tensor, torch.Tensor]


def isotropic() -> Work:
    """nnU-Net's DefaultPreprocessor on arrays in memory."""
    return _preprocessing(data.ISOTROPIC)


def anisotropic() -> Work:
    """The same with thick slices, which are resampled in plane."""
    return _preprocessing(data.ANISOTROPIC)


def _preprocessing(scan: data.Scan) -> Work:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(_plans(scan))
    preprocessor = DefaultPreprocessor(verbose=False)
    # Only nnU-Net's preprocessing looks for foreground; here the loader does, so it is left out.
    preprocessor._sample_foreground_locations = lambda *_, **__: {}
    arrays = data.case_of(scan.shape)
    image, label = arrays[0][np.newaxis], arrays[1][np.newaxis].astype(np.int8)  # (1, z, y, x)
    names = {"labels": {"background": 0, "organ": 1, "core": 2}, "channel_names": {"0": "MRI"}}
    configuration = plans.get_configuration("3d_fullres")
    return lambda: preprocessor.run_case_npy(
        image, label, {"spacing": list(scan.spacing)}, plans, configuration, names
    )


def _plans(scan: data.Scan) -> dict[str, Any]:
    """As nnU-Net's planner writes them: images cubic, labels linear, thick slices apart."""
    arguments = {"order_z": 0, "force_separate_z": None}
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": list(scan.target),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **arguments},
        "resampling_fn_seg": resampling,
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **arguments},
        "architecture": {},
    }
    return {
        "dataset_name": "Dataset001_pairs",
        "plans_name": "pairs",
        "configurations": {"3d_fullres": configuration},
        "transpose_forward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


def batchgenerators_processes() -> Work:
    """batchgeneratorsv2 in two worker processes of one thread each, NVIDIA's list."""
    return _drawing(partial(_batchgenerators, data.NVIDIA), workers=2)


def batchgenerators_threads() -> Work:
    """batchgeneratorsv2 in this process, PyTorch on two threads."""
    return _drawing(partial(_batchgenerators, data.NVIDIA), workers=0)


def monai_processes() -> Work:
    """MONAI in two worker processes of one thread each."""
    return _drawing(partial(_monai, data.NVIDIA), workers=2)


def monai_threads() -> Work:
    """MONAI in this process, PyTorch on two threads."""
    return _drawing(partial(_monai, data.NVIDIA), workers=0)


def nnunet_batchgenerators_processes() -> Work:
    """As `batchgenerators_processes`, with nnU-Net's list."""
    return _drawing(partial(_batchgenerators, data.NNUNET), workers=2)


def nnunet_batchgenerators_threads() -> Work:
    """As `batchgenerators_threads`, with nnU-Net's list."""
    return _drawing(partial(_batchgenerators, data.NNUNET), workers=0)


def nnunet_monai_processes() -> Work:
    """As `monai_processes`, with nnU-Net's list."""
    return _drawing(partial(_monai, data.NNUNET), workers=2)


def nnunet_monai_threads() -> Work:
    """As `monai_threads`, with nnU-Net's list."""
    return _drawing(partial(_monai, data.NNUNET), workers=0)


class _Patches(torch.utils.data.IterableDataset):
    """Patches without end from what `make` makes, once in each worker."""

    def __init__(self, make: Callable[[], Callable[[], Pair]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Pair]:
        draw = self.make()
        while True:
            yield draw()


def _drawing(make: Callable[[], Callable[[], Pair]], workers: int) -> Work:
    torch.manual_seed(SEED)  # each worker process makes seeds of its own from it, NumPy's too
    np.random.seed(SEED)
    loader = torch.utils.data.DataLoader(
        _Patches(make),
        batch_size=inputs.BATCH,
        num_workers=workers,
        prefetch_factor=3 if workers else None,  # nnU-Net keeps six batches ready too
        in_order=False,  # as in nnU-Net: nobody waits for the slower worker
    )
    batches = iter(loader)
    return data.drawing(lambda: next(batches)[0])


def _seed() -> int:
    """A seed that differs between worker processes, and not between runs."""
    return int(np.random.randint(2**31))


def _batchgenerators(settings: AugmentationSettings) -> Callable[[], Pair]:
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    space = [_batchgenerators_space(settings), MirrorTransform((0, 1, 2))]
    transform = ComposeTransforms([*space, *_batchgenerators_intensities(settings)])
    crop = _crops()

    def draw() -> Pair:
        image, label = crop()
        changed = transform(image=image, segmentation=label)
        return changed["image"], changed["segmentation"]

    return draw


def _batchgenerators_space(settings: AugmentationSettings) -> Any:
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    limit = math.radians(settings.rotation_limit)
    return SpatialTransform(
        data.PATCH,
        0,
        False,
        p_rotation=settings.rotation_probability,
        rotation=(-limit, limit),
        p_scaling=settings.zoom_probability,
        scaling=settings.zoom_scale,
        p_synchronize_scaling_across_axes=1,
        mode_seg="nearest",
        padding_mode_image="border",
    )


def _batchgenerators_intensities(settings: AugmentationSettings) -> list[Any]:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    # What it calls the noise's variance is its deviation.
    noise = GaussianNoiseTransform(settings.noise_standard_deviation, 1, True)
    blur = GaussianBlurTransform(settings.blur_sigma, True, True, 1, benchmark=True)
    brightness = MultiplicativeBrightnessTransform(settings.brightness_factor, True, 1)
    contrast = ContrastTransform(settings.contrast_factor, True, True, 1)
    resolution = SimulateLowResolutionTransform(
        settings.low_resolution_scale,
        synchronize_channels=False,
        synchronize_axes=True,
        ignore_axes=None,
        p_per_channel=settings.low_resolution_channel_probability,
    )
    inverted, gamma = (
        GammaTransform(settings.gamma_exponent, of_inverted, False, 1, 1) for of_inverted in (1, 0)
    )
    changes = [
        (noise, settings.noise_probability),
        (blur, settings.blur_probability),
        (brightness, settings.brightness_probability),
        (contrast, settings.contrast_probability),
        (resolution, settings.low_resolution_probability),
        (inverted, settings.inverted_gamma_probability),
        (gamma, settings.gamma_probability),
    ]
    return [RandomTransform(change, often) for change, often in changes if often]


def _crops() -> Callable[[], Pair]:
    """Crops from memory-mapped files, as nnU-Net's loader takes them."""
    random = np.random.default_rng(_seed())
    files = data.write_cases()
    cases = [tuple(np.load(path, mmap_mode="r")[..., 0] for path in pair) for pair in files]
    foreground = [[np.argwhere(label == value) for value in (1, 2)] for _, label in cases]

    def crop() -> Pair:
        number = random.integers(len(cases))
        room = np.array(data.ISOTROPIC.shape) - data.PATCH
        corner = random.integers(room + 1)
        if random.random() < data.FOREGROUND:
            voxels = foreground[number][random.integers(2)]
            middle = voxels[random.integers(len(voxels))]
            corner = np.clip(middle - np.array(data.PATCH) // 2, 0, room)
        box = tuple(slice(at, at + size) for at, size in zip(corner, data.PATCH, strict=True))
        image, label = (torch.from_numpy(np.array(array[box]))[None] for array in cases[number])
        return image, label.to(torch.int16)

    return crop


def _monai(settings: AugmentationSettings) -> Callable[[], Pair]:
    from monai import transforms

    both = ("image", "label")
    cases = [
        {"image": torch.from_numpy(image)[None], "label": torch.from_numpy(label)[None]}
        for image, label in (
            (data.scan_of(data.ISOTROPIC.shape, number), data.label_of(data.ISOTROPIC.shape))
            for number in range(data.CASES)
        )
    ]
    indices = transforms.FgBgToIndicesd("label")
    cases = [indices(case) for case in cases]
    crop = transforms.RandCropByPosNegLabeld(
        both,
        label_key="label",
        spatial_size=data.PATCH,
        pos=data.FOREGROUND,
        neg=1 - data.FOREGROUND,
        fg_indices_key="label_fg_indices",
        bg_indices_key="label_bg_indices",
    )
    transform = transforms.Compose([crop, *_monai_space(settings), *_monai_intensities(settings)])
    transform.set_random_state(_seed())
    random = np.random.default_rng(_seed())

    def draw() -> Pair:
        changed = transform(cases[random.integers(len(cases))])[0]
        return changed["image"].as_tensor(), changed["label"].as_tensor()

    return draw


def _monai_space(settings: AugmentationSettings) -> list[Any]:
    from monai import transforms

    both = ("image", "label")
    limit = math.radians(settings.rotation_limit)
    smallest, largest = (1 / share for share in settings.zoom_scale[::-1])
    zoom = transforms.RandZoomd(
        both,
        settings.zoom_probability,
        smallest,
        largest,
        mode=("trilinear", "nearest"),
        align_corners=(False, None),
    )
    angles = [(-limit, limit)] * 3
    rotation = transforms.RandRotated(
        both,
        *angles,
        prob=settings.rotation_probability,
        mode=("bilinear", "nearest"),
        padding_mode=("border", "zeros"),
    )
    flips = [transforms.RandFlipd(both, settings.flip_probability, axis) for axis in range(3)]
    return [zoom, *([rotation] if settings.rotation_probability else []), *flips]


def _monai_intensities(settings: AugmentationSettings) -> list[Any]:
    from monai import transforms

    sigma = settings.blur_sigma
    contrast = [factor - 1 for factor in settings.contrast_factor]
    resolution = settings.low_resolution_probability * settings.low_resolution_channel_probability
    changes: list[tuple[Any, float, dict[str, Any]]] = [
        (
            transforms.RandGaussianNoised,
            settings.noise_probability,
            {"std": settings.noise_standard_deviation[1]},
        ),
        (
            transforms.RandGaussianSmoothd,
            settings.blur_probability,
            {"sigma_x": sigma, "sigma_y": sigma, "sigma_z": sigma},
        ),
        (
            transforms.RandScaleIntensityd,
            settings.brightness_probability,
            {"factors": settings.brightness_factor[1] - 1},
        ),
        (
            transforms.RandScaleIntensityFixedMeand,
            settings.contrast_probability,
            {"factors": contrast, "preserve_range": True},
        ),
        (
            transforms.RandSimulateLowResolutiond,
            resolution,
            {"zoom_range": settings.low_resolution_scale},
        ),
        (
            transforms.RandAdjustContrastd,
            settings.inverted_gamma_probability,
            {"gamma": settings.gamma_exponent, "invert_image": True, "retain_stats": True},
        ),
        (
            transforms.RandAdjustContrastd,
            settings.gamma_probability,
            {"gamma": settings.gamma_exponent, "retain_stats": True},
        ),
    ]
    return [make("image", prob=often, **how) for make, often, how in changes if often]


def overlap() -> Work:
    """MedPy's Dice."""
    from medpy.metric import binary

    predicted, true = (array.astype(bool) for array in data.predicted_and_true())
    return lambda: binary.dc(predicted, true)


def surfaces() -> Work:
    """MONAI's HD95."""
    from monai.metrics import compute_hausdorff_distance

    predicted, true = (torch.from_numpy(array)[None, None] for array in data.predicted_and_true())
    return lambda: compute_hausdorff_distance(
        predicted, true, include_background=True, percentile=95
    )

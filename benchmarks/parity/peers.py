"""What the peers answer. Runs in their environment: `python -m benchmarks.parity.peers FOLDER`.

Each quantity becomes one file: `preprocessing.npz`, `planning.json` and so on, which
`benchmarks.parity.ours` compares with the library's answers.
"""

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import surface_distance
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import (
    DownsampleSegForDSTransform,
)
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from medpy.metric import binary
from monai import metrics
from monai.inferers.utils import sliding_window_inference
from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner,
)
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.sliding_window_prediction import (
    compute_gaussian,
    compute_steps_for_sliding_window,
)
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from benchmarks.parity import problems
from benchmarks.parity.problems import (
    LossProblem,
    MaskProblem,
    NetworkProblem,
    PlanningProblem,
    PreprocessingProblem,
    WindowProblem,
)

Arrays = dict[str, np.ndarray]
PACKAGES = (
    "nnunetv2", "monai", "dynamic-network-architectures", "batchgenerators", "batchgeneratorsv2",
    "surface-distance", "medpy", "torch", "numpy", "scipy", "scikit-image",
)  # fmt: skip


def main() -> None:
    """Write all answers into a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity.peers", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=int, default=1, help="1 makes what is committed")
    parser.add_argument("--image", type=Path, help="a scan, for one more case to preprocess")
    parser.add_argument("--label", type=Path, help="its label map")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name, answer in answers(chosen.scale, chosen.image, chosen.label):
        print(f"{name} ...", flush=True)
        save(chosen.folder, name, answer)


def answers(scale: int, image: Path | None, label: Path | None) -> Iterator[tuple[str, Any]]:
    """The name and the values of each file; arrays for .npz, anything else for .json."""
    yield "versions", {name: version(name) for name in PACKAGES}
    cases = {
        problem.name: preprocessed(problem) for problem in problems.preprocessing_problems(scale)
    }
    if image is not None and label is not None:
        for name, problem in problems.scan_problems():
            cases[name] = preprocessed_files(problem, image, label)
    yield "preprocessing", _flat(cases)
    yield "planning", {problem.name: planned(problem) for problem in problems.planning_problems()}
    networks = problems.network_problems(scale)
    yield "network", _flat({problem.name: logits_of(problem) for problem in networks})
    yield "loss", _flat({problem.name: loss_of(problem) for problem in problems.loss_problems()})
    windows = problems.window_problems(scale)
    yield "windows", _flat({problem.name: stitched(problem) for problem in windows})
    yield "grids", [window_starts(*grid) for grid in problems.WINDOW_GRIDS]
    masks = problems.mask_problems(scale)
    yield "metrics", {problem.name: scores_of(problem) for problem in masks} | {"empty": empty()}


def save(folder: Path, name: str, answer: Any) -> None:
    """One file, .npz for a dictionary of arrays."""
    if isinstance(answer, dict) and all(isinstance(item, np.ndarray) for item in answer.values()):
        np.savez_compressed(folder / f"{name}.npz", **answer)
    else:
        text = json.dumps(answer, default=_plain)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else list(value)


def _flat(answers: dict[str, Arrays]) -> Arrays:
    return {
        f"{name}/{part}": array
        for name, arrays in answers.items()
        for part, array in arrays.items()
    }


# Preprocessing


def preprocessed(problem: PreprocessingProblem) -> Arrays:
    """nnU-Net's DefaultPreprocessor on arrays: image (a, b, c, channel), label (a, b, c)."""
    image, labels = problems.case_of(problem)
    plans, configuration, dataset = _plans(problem)
    data, label, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        image.transpose(3, 0, 1, 2),
        labels[np.newaxis].astype(np.int16),
        {"spacing": list(problem.spacing)},
        plans,
        configuration,
        dataset,
    )
    return _case(data, label)


def preprocessed_files(problem: PreprocessingProblem, image: Path, label: Path) -> Arrays:
    """The same, with nnU-Net's own reader."""
    data, labels, _ = DefaultPreprocessor(verbose=False).run_case(
        [str(image)], str(label), *_plans(problem)
    )
    return _case(data, labels)


def _case(data: np.ndarray, label: np.ndarray) -> Arrays:
    # nnU-Net marks background outside the mask with -1; its loader makes it 0.
    return {"image": data.transpose(1, 2, 3, 0), "label": np.maximum(label[0], 0).astype(np.uint8)}


def _plans(problem: PreprocessingProblem) -> tuple[PlansManager, Any, dict[str, Any]]:
    common = {"order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "parity",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": list(problem.target),
        "normalization_schemes": [
            "CTNormalization" if scheme == "ct" else "ZScoreNormalization"
            for scheme in problem.schemes
        ],
        "use_mask_for_norm": [scheme == "z_score_inside" for scheme in problem.schemes],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **common},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **common},
        "architecture": {},
    }
    channels = range(len(problem.schemes))
    plans = PlansManager(
        {
            "dataset_name": "parity",
            "plans_name": "parity",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": list(problem.axis_order),
            "configurations": {"parity": configuration},
            "foreground_intensity_properties_per_channel": {str(c): problems.CT for c in channels},
            "label_manager": "LabelManager",
        }
    )
    names = {"background": 0, **{str(value): value for value in range(1, problem.labels)}}
    dataset = {"channel_names": {str(channel): "any" for channel in channels}, "labels": names}
    return plans, plans.get_configuration("parity"), dataset


# Planning


class _Planner(ExperimentPlanner):
    """Without files of cases to look at, and without a configuration of low resolution."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.lowres_creation_threshold = 0.0

    def determine_reader_writer(self) -> type:
        """Any class: its name goes into the plan."""
        return dict

    @staticmethod
    def static_estimate_VRAM_usage(*arguments: Any) -> Any:  # noqa: N802 (nnU-Net's name)
        """On no device, where a network of any size is made at once."""
        with torch.device("meta"):
            return ExperimentPlanner.static_estimate_VRAM_usage(*arguments)


def planned(problem: PlanningProblem) -> dict[str, Any]:
    """nnU-Net's plans for 8 GB, by dimensions."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _dataset(problem, Path(folder)) as name,
        redirect_stdout(io.StringIO()),
    ):
        plans = _Planner(name, 8).plan_experiment()
    order = plans["transpose_forward"]
    return {
        dimensions: {"axis_order": order, **_configuration(plans["configurations"][key])}
        for dimensions, key in (("2", "2d"), ("3", "3d_fullres"))
    }


@contextmanager
def _dataset(problem: PlanningProblem, folder: Path) -> Iterator[str]:
    """A dataset that is all description, in nnU-Net's folders."""
    name = "Dataset001_Parity"
    channels = {str(index): channel for index, channel in enumerate(problem.channels)}
    dataset = {
        "channel_names": channels,
        "labels": {"background": 0, **{str(n): n for n in range(1, problem.labels)}},
        "numTraining": len(problem.shapes),
        "file_ending": ".nii.gz",
        "dataset": {"case": {"images": ["image.nii.gz"], "label": "label.nii.gz"}},
    }
    fingerprint = {
        "shapes_after_crop": problem.shapes,
        "spacings": problem.spacings,
        "median_relative_size_after_cropping": problem.relative_size,
        "foreground_intensity_properties_per_channel": dict.fromkeys(channels, problems.CT),
    }
    for part, file, value in (
        ("raw", "dataset", dataset),
        ("preprocessed", "dataset_fingerprint", fingerprint),
    ):
        (folder / part / name).mkdir(parents=True)
        (folder / part / name / f"{file}.json").write_text(json.dumps(value))
    places = {"nnUNet_raw": "raw", "nnUNet_preprocessed": "preprocessed"}
    with patch.dict(os.environ, {key: str(folder / part) for key, part in places.items()}):
        yield name


def _configuration(plan: dict[str, Any]) -> dict[str, Any]:
    network = plan["architecture"]["arch_kwargs"]
    return {
        "target_spacing": plan["spacing"],
        "patch_size": plan["patch_size"],
        "batch_size": plan["batch_size"],
        "strides": network["strides"],
        "kernels": network["kernel_sizes"],
        "filters": network["features_per_stage"],
        "ct": [scheme == "CTNormalization" for scheme in plan["normalization_schemes"]],
        "inside_mask": plan["use_mask_for_norm"],
    }


# Network and loss


def logits_of(problem: NetworkProblem) -> Arrays:
    """PlainConvUNet's logits of every decoder level: (2, *grid, classes)."""
    stages, volume = len(problem.filters), len(problem.patch) == 3
    network = PlainConvUNet(
        input_channels=problem.channels,
        n_stages=stages,
        features_per_stage=problem.filters,
        conv_op=torch.nn.Conv3d if volume else torch.nn.Conv2d,
        kernel_sizes=problem.kernels,
        strides=problem.strides,
        n_conv_per_stage=2,
        num_classes=problem.classes,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d if volume else torch.nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        deep_supervision=True,
    )
    parameters, weights = dict(network.named_parameters()), problems.network_weights(problem)
    assert parameters.keys() == weights.keys(), parameters.keys() ^ weights.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(weights[name]))
        heads = network.eval()(_channels_first(problems.network_input(problem)))
    return {str(index): _channels_last(head) for index, head in enumerate(heads)}


def loss_of(problem: LossProblem) -> Arrays:
    """nnU-Net's Dice and cross-entropy: its value, and its gradient for each head."""
    arrays, labels = problems.loss_input(problem)
    heads = [_channels_first(array).requires_grad_() for array in arrays]
    loss = DC_and_CE_loss(
        {"batch_dice": True, "smooth": 1e-5, "do_bg": problem.include_background, "ddp": False},
        {},
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    scales = [[1 / step for step in stride] for stride in problem.strides]
    targets = DownsampleSegForDSTransform(scales)(segmentation=torch.from_numpy(labels))
    grids = [target[:, None] for target in targets["segmentation"]]  # (2, 1, *grid)
    value = DeepSupervisionWrapper(loss, problems.head_weights(len(heads)))(heads, grids)
    value.backward()
    gradients = {f"gradient {index}": _channels_last(head.grad) for index, head in enumerate(heads)}
    return {"loss": value.detach().numpy(), **gradients}


def _channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def _channels_last(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(tensor.detach().numpy(), 1, -1))


# Sliding window


def stitched(problem: WindowProblem) -> Arrays:
    """Logits (*shape, 2) of nnU-Net and MONAI, with the library's map and with their own."""
    weights = torch.from_numpy(problems.gaussian_map(problem.patch))
    image = problems.window_input(problem)
    with (
        patch.object(torch, "half", torch.float32),  # nnU-Net adds up in half precision
        patch.object(predict_from_raw_data, "compute_gaussian", lambda *_, **__: weights),
    ):
        found = {"nnunetv2": _nnunet_windows(problem, image)}
    found["nnunetv2, as it is"] = _nnunet_windows(problem, image).astype(np.float32)
    if len(problem.patch) == 3:
        if problem.same_grid:
            found["monai"] = _monai_windows(problem, image, weights)
        found["monai, as it is"] = _monai_windows(problem, image, None)
    return found


def _network(patches: torch.Tensor) -> torch.Tensor:
    return _channels_first(problems.window_network(_channels_last(patches)))


def _nnunet_windows(problem: WindowProblem, image: np.ndarray) -> np.ndarray:
    """nnU-Net's predictor on the CPU, without mirroring."""
    predictor = predict_from_raw_data.nnUNetPredictor(
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.network = type("Network", (torch.nn.Module,), {"forward": lambda _, x: _network(x)})()
    predictor.configuration_manager = argparse.Namespace(patch_size=problem.patch)
    predictor.label_manager = argparse.Namespace(num_segmentation_heads=2)
    compute_gaussian.cache_clear()
    logits = predictor.predict_sliding_window_return_logits(_channels_first(image[None])[0])
    return np.moveaxis(logits.numpy(), 0, -1)


def _monai_windows(
    problem: WindowProblem, image: np.ndarray, weights: torch.Tensor | None
) -> np.ndarray:
    logits = sliding_window_inference(
        _channels_first(image[None]), problem.patch, 2, _network, 0.5, "gaussian",
        roi_weight_map=weights,
    )  # fmt: skip
    return _channels_last(logits)[0]


def window_starts(size: int, patch_size: int) -> list[int]:
    """nnU-Net's first voxels of the windows along one axis."""
    starts: list[int] = compute_steps_for_sliding_window((size,), (patch_size,), 0.5)[0]
    return starts


# Metrics


def scores_of(problem: MaskProblem) -> dict[str, float]:
    """Dice and surface scores, each by everyone who has it."""
    prediction, truth = problems.masks_of(problem)
    masks, spacing = (prediction > 0, truth > 0), problem.spacing
    distances = surface_distance.compute_surface_distances(masks[1], masks[0], spacing)
    robust = surface_distance.compute_robust_hausdorff(distances, 95)
    means = surface_distance.compute_average_surface_distance(distances)
    within = surface_distance.compute_surface_dice_at_tolerance(distances, problem.tolerance)
    options = {"spacing": spacing}
    return {
        **_dice_of(*masks),
        "hd95 monai": _monai(metrics.compute_hausdorff_distance, masks, percentile=95, **options),
        "assd monai": _monai(
            metrics.compute_average_surface_distance, masks, symmetric=True, **options
        ),
        "surface dice monai": _monai(
            metrics.compute_surface_dice, masks, class_thresholds=[problem.tolerance], **options
        ),
        "hd95 medpy": binary.hd95(*masks, spacing),
        "assd medpy": binary.assd(*masks, spacing),
        "hd95 surface-distance": robust,
        "assd surface-distance": float(np.mean(means)),
        "surface dice surface-distance": within,
    }


def empty() -> dict[str, dict[str, float | None]]:
    """Dice where one mask or both are empty; None for NaN."""
    full, nothing = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    pairs = {
        "neither": (nothing, nothing),
        "only predicted": (full, nothing),
        "only true": (nothing, full),
    }
    # surface-distance asks NumPy for a name that version 2 no longer has.
    with patch.object(np, "NaN", np.nan, create=True), np.errstate(invalid="ignore"):
        return {name: _without_nan(_dice_of(*pair)) for name, pair in pairs.items()}


def _without_nan(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _dice_of(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    tp, fp, fn, _ = compute_tp_fp_fn_tn(truth, prediction)
    nothing = tp + fp + fn == 0
    return {
        "dice nnunetv2": np.nan if nothing else 2 * tp / (2 * tp + fp + fn),
        "dice monai": _monai(metrics.compute_dice, (prediction, truth)),
        "dice medpy": float(binary.dc(prediction, truth)),
        "dice surface-distance": surface_distance.compute_dice_coefficient(truth, prediction),
    }


def _monai(score: Callable[..., Any], masks: Sequence[np.ndarray], **options: Any) -> float:
    prediction, truth = (torch.from_numpy(mask[None, None]).float() for mask in masks)
    return float(score(y_pred=prediction, y=truth, include_background=True, **options))


if __name__ == "__main__":
    main()

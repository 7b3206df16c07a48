"""The library's answers beside the peers': one row of the table a comparison.

Every function takes what `benchmarks.parity.peers` wrote, and gives rows. The tests do the same
with the answers that are committed in `references/`, so that parity holds without the peers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.parity import problems
from benchmarks.parity.problems import (
    NetworkProblem,
    PlanningProblem,
    PreprocessingProblem,
    WindowProblem,
)
from nnunet_lib import evaluation, inference, model, planning, preprocessing, training
from nnunet_lib.datasets import LabelMap, Volume, read_label, read_volume
from nnunet_lib.files import read_json
from nnunet_lib.inference.windows import blend_weights, window_starts
from nnunet_lib.planning import (
    Fingerprint,
    IntensityStatistics,
    Normalisation,
    Plan,
    PlannerSettings,
)
from nnunet_lib.planning.planner import SMALL_BATCH, SMALL_PATCH

Arrays = Mapping[str, np.ndarray]
REFERENCES = Path(__file__).parent / "references"


@dataclass(frozen=True)
class Row:
    """One line of the table: how far the library is from a peer, at the worst.

    Attributes:
        bound: the largest difference that is allowed; None where the two differ by choice.
        note: where the worst was, or why the two differ.
    """

    quantity: str
    peer: str
    bound: float | None
    worst: float
    note: str = ""

    @property
    def held(self) -> bool:
        """Whether the difference stays within the bound; NaN never does."""
        return self.bound is None or self.worst <= self.bound


def rows_of(
    folder: Path, name: str, scale: int = 1, scan: tuple[Path, Path] | None = None
) -> list[Row]:
    """One file of what the peers answered into a folder, at that scale, with that scan."""
    answers = load(folder, name)
    if name == "preprocessing":
        return list(preprocessing_rows(answers, scale, scan))
    return list(SCALED[name](answers, scale) if name in SCALED else FIXED[name](answers))


def load(folder: Path, name: str) -> Any:
    """A file of answers, .npz or .json."""
    path = folder / f"{name}.npz"
    if not path.exists():
        return read_json(folder / f"{name}.json")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _worst(
    quantity: str, peer: str, bound: float | None, found: Iterable[tuple[float, str]], why: str = ""
) -> Row:
    """The row of the largest of (difference, where); NaN is larger than any number."""
    value, where = max(found, key=lambda pair: (np.isnan(pair[0]), pair[0]))
    note = f"{where}. {why}".strip() if value > 0 or np.isnan(value) else why
    return Row(quantity, peer, bound, float(value), note)


def _difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference; infinite where the shapes differ."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")


# Preprocessing


def preprocessing_rows(
    answers: Arrays, scale: int, scan: tuple[Path, Path] | None = None
) -> Iterator[Row]:
    """Shapes, image and labels of whole cases, against nnU-Net's preprocessor."""
    cases = {
        problem.name: _preprocessed(problem, *problems.case_of(problem))
        for problem in problems.preprocessing_problems(scale)
    }
    if scan is not None:
        volume, truth = read_volume((scan[0],)), read_label(scan[1])
        for name, problem in problems.scan_problems():
            cases[name] = preprocessing.preprocess_case(volume, _plan_for(problem), truth)
    images = [
        (_difference(case.image, answers[f"{name}/image"]), name) for name, case in cases.items()
    ]
    labels = [
        (_share_of_difference(case.label, answers[f"{name}/label"]), name)
        for name, case in cases.items()
    ]
    yield _worst("preprocessed image, in standard deviations", "nnunetv2", 1e-3, images)
    yield _worst(
        "preprocessed labels, share of voxels that differ", "nnunetv2", 1e-3, labels,
        "nnU-Net resamples the background outside the mask as a label of its own, and settles "
        "ties by the last bit of a float64; ties here go to the nearest voxel whatever the bit.",
    )  # fmt: skip


def _preprocessed(
    problem: PreprocessingProblem, image: np.ndarray, labels: np.ndarray
) -> preprocessing.PreprocessedCase:
    grid = np.eye(4), problem.spacing
    return preprocessing.preprocess_case(
        Volume(image, *grid), _plan_for(problem), LabelMap(labels, *grid)
    )


def _plan_for(problem: PreprocessingProblem) -> Plan:
    schemes = {
        "ct": _ct(),
        "z_score": Normalisation("z_score"),
        "z_score_inside": Normalisation("z_score", inside_mask=True),
    }
    dimensions = len(problem.target)
    return _plan(
        channels=tuple(f"channel {index}" for index in range(len(problem.schemes))),
        labels=tuple(f"label {value}" for value in range(problem.labels)),
        axis_order=problem.axis_order,
        target_spacing=problem.target,
        normalisation=tuple(schemes[scheme] for scheme in problem.schemes),
        patch_size=(8,) * dimensions,
        strides=((1,) * dimensions,),
        kernels=((3,) * dimensions,),
        filters=(4,),
    )


def _ct() -> Normalisation:
    statistics = problems.CT
    bounds = statistics["percentile_00_5"], statistics["percentile_99_5"]
    return Normalisation("ct", False, *bounds, statistics["mean"], statistics["std"])


def _plan(**fields: Any) -> Plan:
    return Plan(dataset="parity", dimensions=len(fields["patch_size"]), batch_size=2, **fields)


def _share_of_difference(ours: np.ndarray | None, theirs: np.ndarray) -> float:
    assert ours is not None
    return float(np.mean(ours != theirs)) if ours.shape == theirs.shape else float("inf")


# Planning


def planning_rows(answers: Mapping[str, Any]) -> Iterator[Row]:
    """Everything that a plan decides, against nnU-Net's planner with nnU-Net's settings."""
    known = {problem.name: problem for problem in problems.planning_problems()}
    compared = [
        (name, int(dimensions), theirs, planned(known[name], nnunet_settings(int(dimensions))))
        for name, plans in answers.items()
        for dimensions, theirs in plans.items()
    ]
    for decision in compared[0][2]:
        spacing = decision == "target_spacing"
        found = [
            (_plan_difference(ours[decision], theirs[decision], spacing), f"{name}, {dimensions}D")
            for name, dimensions, theirs, ours in compared
        ]
        what = f"plan's {decision.replace('_', ' ')}, {len(found)} plans of {len(answers)} datasets"
        unit = "relative difference" if spacing else "plans that differ"
        worst = max(found) if spacing else (sum(value for value, _ in found), max(found)[1])
        yield _worst(f"{what}: {unit}", "nnunetv2", 1e-9 if spacing else 0, [worst])
    yield _default_plans(known, answers)


def _default_plans(known: Mapping[str, PlanningProblem], answers: Mapping[str, Any]) -> Row:
    """How many plans the library's defaults change, which are for a CPU."""
    differ = [
        _listed(planned(known[name], PlannerSettings(int(dimensions)))["patch_size"])
        != theirs["patch_size"]
        for name, plans in answers.items()
        for dimensions, theirs in plans.items()
    ]
    ours = PlannerSettings()
    note = (
        f"By choice: the defaults are for a CPU ({ours.memory_gigabytes:g} GB, "
        f"{ours.base_filters} filters, {SMALL_BATCH[3]} volumes or {SMALL_BATCH[2]} slices a "
        f"batch, at most {SMALL_PATCH:g} of a case that would fit). "
        "`--memory 8 --base-filters 32 --no-small-steps` gives nnU-Net's, as above."
    )
    what = f"patch size by the library's own defaults, of {len(differ)} plans: those that differ"
    return Row(what, "nnunetv2", None, sum(differ), note)


def _plan_difference(ours: Any, theirs: Any, spacing: bool) -> float:
    if spacing:
        return float(np.max(np.abs(np.divide(ours, theirs) - 1)))
    return float(_listed(ours) != _listed(theirs))


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def nnunet_settings(dimensions: int) -> PlannerSettings:
    """What nnU-Net assumes: a GPU of 8 GB."""
    return PlannerSettings(dimensions, memory_gigabytes=8.0, base_filters=32, small_steps=False)


def planned(problem: PlanningProblem, settings: PlannerSettings) -> dict[str, Any]:
    """The library's decisions, by the names that the peers' answers have."""
    plan = planning.make_plan(_fingerprint(problem), settings)
    names = ("axis_order", "target_spacing", "patch_size", "batch_size", "strides", "kernels")
    return {name: getattr(plan, name) for name in (*names, "filters")} | {
        "ct": [scheme.scheme == "ct" for scheme in plan.normalisation],
        "inside_mask": [scheme.inside_mask for scheme in plan.normalisation],
    }


def _fingerprint(problem: PlanningProblem) -> Fingerprint:
    names = ("mean", "median", "std", "min", "max", "percentile_00_5", "percentile_99_5")
    statistics = IntensityStatistics(*(problems.CT[name] for name in names))
    return Fingerprint(
        dataset=problem.name,
        channels=problem.channels,
        labels=tuple(f"label {value}" for value in range(problem.labels)),
        spacings=problem.spacings,
        shapes=problem.shapes,
        median_relative_size=problem.relative_size,
        intensities=(statistics,) * len(problem.channels),
    )


# Network and loss


def network_rows(answers: Arrays, scale: int) -> Iterator[Row]:
    """Logits of all heads from the same weights, against PlainConvUNet."""
    found = [
        (_difference(head, answers[f"{problem.name}/{index}"]), f"{problem.name}, head {index}")
        for problem in problems.network_problems(scale)
        for index, head in enumerate(logits_of(problem))
    ]
    yield _worst(
        "logits of the U-Net with ported weights, every head", "dynamic-network-architectures",
        1e-4, found,
        "PlainConvUNet's biases before a norm, which are random here, change nothing. It has a "
        "head on every level; the library on the three finest, by choice.",
    )  # fmt: skip


def logits_of(problem: NetworkProblem) -> list[np.ndarray]:
    """The library's logits of each head: (2, *grid, classes)."""
    plan = _plan(
        channels=("any",) * problem.channels,
        labels=tuple(f"label {value}" for value in range(problem.classes)),
        axis_order=(0, 1, 2),
        target_spacing=(1.0,) * len(problem.patch),
        normalisation=(Normalisation("z_score"),) * problem.channels,
        patch_size=problem.patch,
        strides=problem.strides,
        kernels=problem.kernels,
        filters=problem.filters,
    )
    unet = model.build_unet(plan)
    port(problems.network_weights(problem), unet, len(problem.filters))
    forward = tf.function(model.training_forward(unet))
    heads = forward(tf.constant(problems.network_input(problem)))
    return [head.numpy() for head in heads]


def port(weights: Arrays, unet: tf.keras.Model, stages: int) -> None:
    """Give the library's U-Net the weights of a PlainConvUNet, by their PyTorch names."""
    layers = {layer.name: layer for layer in unet.layers}
    for stage in range(stages):
        _port_stage(weights, f"encoder.stages.{stage}.0", layers, f"down_{stage}")
    for step, level in enumerate(reversed(range(stages - 1))):
        transposed = f"decoder.transpconvs.{step}"
        _port_layer(weights, transposed, layers[f"up_{level}_transposed"], bias=True)
        _port_stage(weights, f"decoder.stages.{step}", layers, f"up_{level}")
        head = layers.get(f"head_{level}_convolution")
        if head is not None:
            _port_layer(weights, f"decoder.seg_layers.{step}", head, bias=True)


def _port_stage(
    weights: Arrays, source: str, layers: Mapping[str, tf.keras.layers.Layer], target: str
) -> None:
    for index, place in enumerate(("first", "second")):
        block = f"{source}.convs.{index}"
        convolution = layers[f"{target}_{place}_convolution"]
        _port_layer(weights, f"{block}.conv", convolution, bias=False)
        norm = [weights[f"{block}.norm.weight"], weights[f"{block}.norm.bias"]]
        layers[f"{target}_{place}_norm"].set_weights(norm)


def _port_layer(weights: Arrays, source: str, layer: tf.keras.layers.Layer, bias: bool) -> None:
    kernel = weights[f"{source}.weight"]  # (out, in, *kernel), or (in, out, *kernel) transposed
    kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)  # (*kernel, in, out), or the other
    layer.set_weights([kernel, weights[f"{source}.bias"]] if bias else [kernel])


def loss_rows(answers: Arrays) -> Iterator[Row]:
    """Loss and gradients: theirs is twice the library's, less one."""
    values, gradients = [], []
    for problem in problems.loss_problems():
        loss, slopes = _loss_of(problem)
        values.append((_difference(2 * loss - 1, answers[f"{problem.name}/loss"]), problem.name))
        for index, slope in enumerate(slopes):
            theirs = answers[f"{problem.name}/gradient {index}"]
            gradients.append((_difference(2 * slope, theirs), f"{problem.name}, head {index}"))
    why = "Same reduction (over the batch), background and heads' weights."
    yield _worst("loss: 2 · ours − 1", "nnunetv2", 1e-5, values, why)
    yield _worst("gradients of the loss: 2 · ours", "nnunetv2", 1e-5, gradients, why)


def _loss_of(problem: problems.LossProblem) -> tuple[float, list[np.ndarray]]:
    arrays, labels = problems.loss_input(problem)
    heads = [tf.constant(array) for array in arrays]
    settings = training.LossSettings(include_background=problem.include_background)
    with tf.GradientTape() as tape:
        tape.watch(heads)
        truth = tf.constant(labels[..., np.newaxis])
        loss = training.deep_supervision_loss(heads, truth, problem.strides, settings)
    return float(loss), [slope.numpy() for slope in tape.gradient(loss, heads)]


# Sliding window


def window_rows(answers: Arrays, scale: int) -> Iterator[Row]:
    """Stitched logits, with the library's Gaussian map in all, and with everyone's own."""
    found: dict[str, list[tuple[float, str]]] = {}
    for problem in problems.window_problems(scale):
        ours = _stitched(problem)
        for key, theirs in answers.items():
            name, peer = key.rsplit("/", 1)
            if name == problem.name:
                found.setdefault(peer, []).append((_difference(ours, theirs), name))
    same = "sliding window's logits, same map and grid"
    yield _worst(same, "nnunetv2", 1e-4, found["nnunetv2"], "nnU-Net adding up in float32.")
    yield _worst(same, "monai", 1e-4, found["monai"])
    own = "sliding window's logits, everyone's own map"
    yield _worst(
        own, "nnunetv2", None, found["nnunetv2, as it is"],
        "nnU-Net adds up in float16, and its map's middle is voxel n // 2, half a voxel off the "
        "patch's middle where n is even; the library's map is symmetric, and its sums float32.",
    )  # fmt: skip
    yield _worst(
        own, "monai", None, found["monai, as it is"],
        "MONAI's map is the library's, but no weight below 0.001; it steps by half a patch and "
        "pushes the last window back, where nnU-Net and the library space all evenly.",
    )  # fmt: skip
    maps = {
        problem.patch: _difference(
            blend_weights(problem.patch), problems.gaussian_map(problem.patch)
        )
        for problem in problems.window_problems(scale)
    }
    yield _worst(
        "Gaussian map", "its formula", 1e-6, [(value, str(patch)) for patch, value in maps.items()]
    )


def _stitched(problem: WindowProblem) -> np.ndarray:
    image = problems.window_input(problem)
    return inference.sliding_window(problems.window_network, image, problem.patch)


def grid_rows(answers: Sequence[Sequence[int]]) -> Iterator[Row]:
    """First voxels of the windows along an axis."""
    pairs = list(zip(problems.WINDOW_GRIDS, answers, strict=True))
    differ = sum(list(window_starts(*grid)) != list(theirs) for grid, theirs in pairs)
    yield Row(
        f"windows' places along an axis, {len(pairs)} axes that differ", "nnunetv2", 0, differ
    )


# Metrics


_CHOSEN = {
    "hd95 medpy": "MedPy takes the percentile of both directions' distances together; the "
    "library, as MONAI, the larger of the two percentiles.",
    "hd95 surface-distance": "surface-distance puts the surface between voxels and weighs by its "
    "area; the library, as MONAI and MedPy, counts surface voxels.",
    "assd surface-distance": "The same, and the mean of the two directions' means.",
    "surface dice surface-distance": "The same: shares of area, not of voxels.",
}


def metric_rows(answers: Mapping[str, Any], scale: int) -> Iterator[Row]:
    """Dice and surface scores, against everyone who has them."""
    pairs = {problem.name: _scores_of(problem) for problem in problems.mask_problems(scale)}
    scores = next(theirs for name, theirs in answers.items() if name != "empty")
    for score in scores:
        quantity, peer = score.rsplit(" ", 1)
        found = [
            (_difference(ours[quantity], answers[name][score]), name)
            for name, ours in pairs.items()
        ]
        bound = None if score in _CHOSEN else 1e-5 if peer == "monai" else 1e-9  # MONAI: float32
        unit = "" if "dice" in quantity else ", mm"
        yield _worst(f"{quantity}{unit}", peer, bound, found, _CHOSEN.get(score, ""))
    yield from _empty_rows(answers["empty"])


def _scores_of(problem: problems.MaskProblem) -> dict[str, float | None]:
    masks = problems.masks_of(problem)
    scores = evaluation.surface_scores(*masks, problem.spacing, tolerance=problem.tolerance)
    return {
        "dice": evaluation.dice(*masks),
        "hd95": scores.hd95_mm,
        "assd": scores.assd_mm,
        "surface dice": scores.surface_dice,
    }


def _empty_rows(answers: Mapping[str, Mapping[str, float | None]]) -> Iterator[Row]:
    """Where one mask or both are empty: as nnU-Net has it; the others differ by convention."""
    full, nothing = np.ones((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    ours = {
        "neither": evaluation.dice(nothing, nothing),
        "only predicted": evaluation.dice(full, nothing),
        "only true": evaluation.dice(nothing, full),
    }
    for score in answers["neither"]:
        differ = [name for name, value in ours.items() if answers[name][score] != value]
        peer = score.removeprefix("dice ")
        say = "; ".join(f"{name}: {answers[name][score]} here {ours[name]}" for name in differ)
        bound = 0 if peer == "nnunetv2" else None
        yield Row("dice of empty masks, cases of 3 that differ", peer, bound, len(differ), say)


SCALED: dict[str, Callable[[Any, int], Iterator[Row]]] = {
    "network": network_rows,
    "windows": window_rows,
    "metrics": metric_rows,
}
FIXED: dict[str, Callable[[Any], Iterator[Row]]] = {
    "planning": planning_rows,
    "loss": loss_rows,
    "grids": grid_rows,
}
FILES = ("preprocessing", "planning", "network", "loss", "windows", "grids", "metrics")
"""What the peers answer, in the order of the table."""

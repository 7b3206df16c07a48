"""The rows about data: preprocessing, augmentation, loading, metrics, and the command line."""

from collections.abc import Sequence

from benchmarks.speed import data_inputs as data
from benchmarks.speed import inputs
from benchmarks.speed.pairs import Side
from benchmarks.speed.rows import OURS, Goal, Row, time_ratio
from nnunet_lib.loading import AugmentationSettings

_NNUNET, _MONAI, _MEDPY = "nnunetv2", "MONAI", "MedPy"
_LABELS = f"{OURS}, label maps"
_NAIVE = "naive DALI"
_AUGMENTERS = {
    "batchgeneratorsv2, 2 processes": "batchgenerators_processes",
    "batchgeneratorsv2, 2 threads": "batchgenerators_threads",
    "MONAI, 2 processes": "monai_processes",
    "MONAI, 2 threads": "monai_threads",
}
_HOW = (
    "This library and naive DALI zoom with cubic interpolation; batchgeneratorsv2 and MONAI, which "
    "cannot, with linear. MONAI's cases are decoded in memory, all others' are read from files. "
    "The peers' loaders keep three batches ready a process, and give what is ready first, as "
    "nnU-Net's does"
)
_MENDED = "2026-11-30"
"""Before, the peers' loaders kept one batch and their order, and waiting was counted from a start
with batches that lay ready."""
_TWIN = f"{OURS}, tf.data"
_BOUND = (
    "Three runs on an AMD EPYC gave 0.30 to 0.35. A patch takes 1.4 ms of processor time by itself "
    "and 2.1 on two threads, which wait for each other 12 times a patch; 0.35 copy it into its "
    "batch, 0.5 multiply by the matrices of zoom and blur, 0.1 draw noise"
)
_LOADERS = "The library has two loaders: DALI is the default, and tf.data takes NumPy and SciPy"


def _ours(work: str, name: str = OURS) -> Side:
    return Side(name, f"benchmarks.speed.data_ours:{work}")


def _peer(name: str, work: str) -> Side:
    return Side(name, f"benchmarks.speed.data_peers:{work}", peer=True)


def _preprocessing(name: str, scan: data.Scan, times_faster: float) -> Row:
    shape, spacing, target = (
        "x".join(f"{size:g}" for size in sizes) for sizes in (scan.shape, scan.spacing, scan.target)
    )
    title = (
        "whole preprocessing of an image and a label of 2 classes in memory: crop, z-score, cubic "
        f"and linear resampling of {shape} at {spacing} mm to {target} mm; without nnU-Net's list "
        "of foreground voxels, which has no counterpart here; this library forgets its matrices "
        "before each turn, as if the next case had another size"
    )
    goal = Goal("time / nnunetv2's", 1 / times_faster, time_ratio(OURS, _NNUNET))
    sides = (_ours(name), _peer(_NNUNET, name))
    return Row(f"preprocessing-{name}", title, sides, 9, (goal,), on_a_scan=name == "isotropic")


def _augmentation(
    name: str,
    transforms: AugmentationSettings,
    prefix: str,
    *others: Side,
    reason: str,
    dali_reason: str = "",
) -> Row:
    peers = [_peer(peer, f"{prefix}{work}") for peer, work in _AUGMENTERS.items()]
    sides = (
        _ours(f"{prefix}augmentation"),
        _ours(f"{prefix}augmentation_twin", _TWIN),
        *peers,
        *others,
    )
    fastest = (*_AUGMENTERS, *(side.name for side in others))
    goals = (
        Goal("tf.data's time / the fastest peer's", 1 / 3, time_ratio(_TWIN, *fastest), reason),
        Goal("DALI's time / the fastest peer's", 1.0, time_ratio(OURS, *fastest), dali_reason),
    )
    title = f"{data.in_words(transforms)}. {_LOADERS}. {_HOW}"
    return Row(name, title, sides, 9, goals, measures_since=_MENDED)


def _python(name: str, work: str, title: str, limit: float) -> Row:
    goal = Goal("seconds", limit, lambda result: result[OURS].median)
    return Row(name, title, (_ours(work), _ours("bare_python", "Python alone")), 15, (goal,))


def _waiting(text: str, side: str) -> Goal:
    """The percentage that the side's note begins with, as a share, is small."""
    return Goal(
        text, 0.03, lambda result: float(result[side].note.split("%")[0]) / 100, unsure=0.01
    )


DATA_ROWS: Sequence[Row] = (
    _preprocessing("isotropic", data.ISOTROPIC, 10),
    _preprocessing("anisotropic", data.ANISOTROPIC, 3),
    _augmentation(
        "augmentation", data.NVIDIA, "", _ours("augmentation_naive", _NAIVE), reason=_BOUND
    ),
    _augmentation(
        "augmentation-nnunet",
        data.NNUNET,
        "nnunet_",
        reason="One patch in five is turned, which takes 0.63 of all the time: 26 ms of the "
        "processor's each, in SciPy",
        dali_reason="DALI takes 0.76 of its time without turning and 0.79 without gamma, both by "
        "operators of its own",
    ),
    Row(
        "loading-wait",
        f"{data.STEPS} training steps after {data.READY} that use up what lay ready, and what they "
        "wait for their augmented batches of "
        f"{inputs.BATCH} patches of {'x'.join(map(str, inputs.PATCH))}, with the U-Net of the "
        "step",
        (_ours("loading_wait"),),
        1,
        (_waiting("waiting / step", OURS),),
        measures_since=_MENDED,
    ),
    Row(
        "loading-wait-quick",
        "the same by both loaders, with the quicker steps of a U-Net of "
        f"{', '.join(map(str, inputs.QUICK_FILTERS))} filters and patches of "
        f"{'x'.join(map(str, inputs.QUICK_PATCH))}, as planned for Hippocampus",
        (_ours("loading_wait_quick:dali"), _ours("loading_wait_quick:tf", _TWIN)),
        1,
        (_waiting("DALI's waiting / step", OURS), _waiting("tf.data's waiting / step", _TWIN)),
        measures_since=_MENDED,
    ),
    Row(
        "dice",
        f"Dice of a pair of masks of {'x'.join(map(str, data.MAPS))}; and of label maps, which "
        "MedPy cannot take",
        (_ours("overlap"), _ours("overlap_of_labels", _LABELS), _peer(_MEDPY, "overlap")),
        101,
        (
            Goal("masks: time / MedPy's", 1.0, time_ratio(OURS, _MEDPY)),
            Goal("label maps: time / MedPy's for masks", None, time_ratio(_LABELS, _MEDPY)),
        ),
        on_a_scan=True,
    ),
    Row(
        "hd95",
        "HD95 of that pair; here with the mean surface distance and surface Dice",
        (_ours("surfaces"), _peer(_MONAI, "surfaces")),
        9,
        (Goal("time / MONAI's", 1.0, time_ratio(OURS, _MONAI)),),
        on_a_scan=True,
    ),
    _python("import", "import_library", "a fresh Python that imports nnunet_lib", 0.15),
    _python("help", "command_help", "python -m nnunet_lib --help", 0.5),
)

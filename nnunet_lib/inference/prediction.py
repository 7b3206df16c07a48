"""One case: from a scan in memory to a label map on its own grid."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from nnunet_lib.datasets import Volume
from nnunet_lib.errors import InputError
from nnunet_lib.inference.ensemble import Member, by_preprocessing, mean_of, require_any
from nnunet_lib.inference.restoration import Prediction, restore, restore_mean
from nnunet_lib.inference.settings import DEFAULTS, InferenceSettings
from nnunet_lib.inference.test_time_augmentation import flip_combinations, with_flips
from nnunet_lib.inference.windows import Network, Progress, sliding_window, windows_of
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import Geometry, PreprocessedCase, preprocess_case

NO_FLIPS = (
    "No test-time augmentation: a network that trained without mirroring has no flips to average "
    "over. Train with --flip-probability 0.5 for that."
)
BAR_AFTER_SECONDS = 2.0  # a case that is done sooner needs no progress bar of its own


def predict_logits(
    network: Network,
    image: np.ndarray,
    plan: Plan,
    settings: InferenceSettings,
    padding_value: float | Sequence[float] = 0.0,
    progress: Progress | None = None,
) -> np.ndarray:
    """Logits of a preprocessed case, through the sliding window, with flips if asked for.

    Args:
        network: patches (n, *patch, channels) to logits (n, *patch, classes).
        image: (*shape, channels) float32, a volume in plan order, for 2D plans too.
        plan: gives the patch; a 2D one works within the slices of axis 0 and flips there.
        settings: overlap, blending, flips.
        padding_value: for an image smaller than the patch, see `sliding_window`.
        progress: called with the number of windows done; there are `number_of_windows`.

    Returns:
        (*shape, classes) float32.
    """
    predict = partial(
        sliding_window,
        network,
        patch_size=plan.patch_size,
        overlap=settings.overlap,
        blend_mode=settings.blend_mode,
        window_batch_size=settings.window_batch_size,
        padding_value=padding_value,
        progress=progress,
    )
    return with_flips(predict, image, _flip_axes(plan, settings))


def predict_volume(
    network: Network,
    volume: Volume,
    plan: Plan,
    settings: InferenceSettings = DEFAULTS,
    description: str | None = None,
) -> Prediction:
    """Segment one scan: preprocess, predict, and bring the result back to the scan's grid.

    What cross-validation decided is not done to the labels, as `predict` does it:
    `Postprocessing.load(run).apply(prediction.labels)` does.

    Args:
        network: patches (n, *patch, channels) to logits (n, *patch, classes).
        volume: the raw scan.
        plan: the plan that the network was trained with; `nnunet_lib.model.load_network(run)`
            gives both.
        settings: overlap, blending, flips; `save_probabilities` asks for probabilities too.
        description: if given, a bar of this name counts windows where they take a while.

    Raises:
        InputError: if the scan does not have the plan's channels, or is none (see
            `preprocess_case`), or the logits are not finite.

    Example:
        >>> from nnunet_lib.datasets import read_volume, write_label
        >>> from nnunet_lib.inference import predict_volume
        >>> from nnunet_lib.model import load_network
        >>> network, plan = load_network("run")
        >>> scan = read_volume("imagesTr/phantom_001.nii.gz")
        >>> labels = predict_volume(network, scan, plan).labels
        >>> write_label("predicted/phantom_001.nii.gz", labels, scan.affine, scan.placement)
    """
    return predict_ensemble([Member(network, plan)], volume, settings, description)


def predict_ensemble(
    members: Sequence[Member],
    volume: Volume,
    settings: InferenceSettings = DEFAULTS,
    description: str | None = None,
) -> Prediction:
    """Segment one scan with several networks; one alone is `predict_volume`.

    The scan is preprocessed once for each way in which members see it. Members that see it
    alike are averaged as logits on their grid; the others as probabilities on the scan's grid,
    each way of seeing counting once.

    What cross-validation decided is not done to the labels, as `predict` does it:
    `ensemble.common_postprocessing(members).apply(prediction.labels)` does.

    Args:
        members: at least one, all with the same channels and labels.
        volume: the raw scan.
        settings: overlap, blending, flips; `save_probabilities` asks for the mean's too.
        description: if given, a bar of this name counts the windows of all members.

    Raises:
        InputError: if there is no member, the scan does not have the plans' channels, or is none
            (see `preprocess_case`), or logits are not finite.
    """
    require_any(members)
    groups = [
        (preprocess_case(volume, alike[0].plan), alike) for alike in by_preprocessing(members)
    ]
    windows = sum(
        number_of_windows(case.image.shape[:-1], member.plan, settings)
        for case, alike in groups
        for member in alike
    )
    with tqdm(
        desc=description,
        total=windows,
        unit="window",
        leave=False,
        delay=BAR_AFTER_SECONDS,
        disable=description is None,
    ) as bar:
        alone = len(groups) == 1  # asked now, because the answers use the groups up
        answers = _answers(groups, settings, bar.update)
        if alone:
            return restore(*next(answers), settings.save_probabilities)
        return restore_mean(answers, settings.save_probabilities)


def number_of_windows(shape: Sequence[int], plan: Plan, settings: InferenceSettings) -> int:
    """Windows that `predict_logits` sends through the network for a case of spatial `shape`."""
    windows = windows_of(shape, plan.patch_size, settings.overlap)
    return len(windows) * len(flip_combinations(_flip_axes(plan, settings)))


def _answers(
    groups: list[tuple[PreprocessedCase, tuple[Member, ...]]],
    settings: InferenceSettings,
    progress: Progress,
) -> Iterator[tuple[np.ndarray, Geometry]]:
    """The logits of each group, and what preprocessing did to the case.

    Made one by one, when they are asked for, since logits are large. The groups are used up, so
    that a preprocessed image does not stay in memory beside the logits that it led to.
    """
    while groups:
        yield _mean_logits(*groups.pop(0), settings, progress)


def _mean_logits(
    case: PreprocessedCase,
    members: Sequence[Member],
    settings: InferenceSettings,
    progress: Progress,
) -> tuple[np.ndarray, Geometry]:
    """Mean logits (*shape, classes) of members that see the case alike, and its geometry."""
    value = case.geometry.padding_value
    logits = mean_of(
        _require_finite(
            predict_logits(member.network, case.image, member.plan, settings, value, progress),
            member,
        )
        for member in members
    )
    return logits, case.geometry


def _require_finite(logits: np.ndarray, member: Member) -> np.ndarray:
    """The logits themselves; of others the label map would silently be empty."""
    if not all(np.isfinite(plane).all() for plane in logits):  # by planes, to spare memory
        whose = f" of {member.source}" if member.source != Path() else ""
        raise InputError(
            f"the network{whose} gives logits that are NaN or infinite. Try float32, or another "
            "checkpoint; if they are no better, its weights are of no use: train again."
        )
    return logits


def _flip_axes(plan: Plan, settings: InferenceSettings) -> tuple[int, ...]:
    """The axes that the network sees, or none without test-time augmentation.

    None either for a network that trained without mirroring: it has never seen a mirrored case,
    and its answers there would only spoil the mean.
    """
    return tuple(range(3 - plan.dimensions, 3)) if settings.tta and plan.mirrored else ()

"""Validation: whole cases through the sliding window, as prediction does it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.evaluation import dice, mean_dice
from nnunet_lib.evaluation.statistics import CaseDice
from nnunet_lib.inference import InferenceSettings, predict_logits
from nnunet_lib.model import Network
from nnunet_lib.preprocessing import PreprocessedDataset


def validate_case(
    network: Network, data: PreprocessedDataset, identifier: str, settings: InferenceSettings
) -> CaseDice:
    """Dice of each foreground class of one preprocessed case; None where it is in neither map."""
    prediction, truth = segment_case(network, data, identifier, settings)
    return {label: dice(prediction, truth, label) for label in range(1, len(data.plan.labels))}


def segment_case(
    network: Network, data: PreprocessedDataset, identifier: str, settings: InferenceSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true labels of one case, (z, y, x) in plan order, on the preprocessed grid.

    Without what training has padded: prediction cuts it off, too, and nothing is true there.
    """
    image = np.load(data.image_path(identifier), mmap_mode="r")  # (z, y, x, channel), plan order
    truth = np.load(data.label_path(identifier), mmap_mode="r")[..., 0]  # (z, y, x)
    geometry = data.geometry(identifier)
    logits = predict_logits(network, image, data.plan, settings, geometry.padding_value)
    prediction = np.argmax(geometry.unpad(logits), axis=-1).astype(np.uint8)
    return prediction, geometry.unpad(truth)


def for_every_case(
    score: Callable[[str], Any], identifiers: Sequence[str], ranks: Ranks
) -> dict[str, Any]:
    """`score`, which gives plain JSON values, of every case; each rank works on its share.

    Every rank gets all of them, with lists for tuples.
    """
    own = {case: score(case) for case in ranks.share(identifiers)}
    everybodys = {case: value for part in ranks.gather(own) for case, value in part.items()}
    return {case: everybodys[case] for case in identifiers}


def validate(
    network: Network,
    data: PreprocessedDataset,
    identifiers: Sequence[str],
    settings: InferenceSettings,
    ranks: Ranks = ALONE,
) -> float | None:
    """Mean Dice over classes of the mean over cases; None if no case has any foreground.

    The cases are shared out over the ranks, and each gets the mean of all.
    """

    def score(case: str) -> list[tuple[int, float | None]]:
        return list(validate_case(network, data, case, settings).items())

    scores = for_every_case(score, identifiers, ranks)
    return mean_dice([dict(pairs) for pairs in scores.values()])

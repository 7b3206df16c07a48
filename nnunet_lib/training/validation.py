"""Validation: whole cases through the sliding window, as prediction does it."""

from collections.abc import Sequence

import numpy as np

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.evaluation import dice, mean_dice
from nnunet_lib.inference import InferenceSettings, predict_logits
from nnunet_lib.model import Network
from nnunet_lib.preprocessing import PreprocessedDataset

CaseDice = dict[int, float | None]


def validate_case(
    network: Network, data: PreprocessedDataset, identifier: str, settings: InferenceSettings
) -> CaseDice:
    """Dice of each foreground class of one preprocessed case; None where it is in neither map."""
    image = np.load(data.image_path(identifier), mmap_mode="r")  # (z, y, x, channel), plan order
    truth = np.load(data.label_path(identifier), mmap_mode="r")[..., 0]  # (z, y, x)
    padding_value = data.geometry(identifier).padding_value
    logits = predict_logits(network, image, data.plan, settings, padding_value)
    prediction = np.argmax(logits, axis=-1)  # (z, y, x)
    return {label: dice(prediction, truth, label) for label in range(1, len(data.plan.labels))}


def validate_cases(
    network: Network,
    data: PreprocessedDataset,
    identifiers: Sequence[str],
    settings: InferenceSettings,
    ranks: Ranks = ALONE,
) -> dict[str, CaseDice]:
    """`validate_case` of every case, shared out over the ranks; every rank gets all of them."""
    own = {
        case: list(validate_case(network, data, case, settings).items())
        for case in ranks.share(identifiers)
    }
    everybodys = {case: dict(items) for part in ranks.gather(own) for case, items in part.items()}
    return {case: everybodys[case] for case in identifiers}


def validate(
    network: Network,
    data: PreprocessedDataset,
    identifiers: Sequence[str],
    settings: InferenceSettings,
    ranks: Ranks = ALONE,
) -> float | None:
    """Mean Dice over classes of the mean over cases; None if no case has any foreground."""
    return mean_dice(list(validate_cases(network, data, identifiers, settings, ranks).values()))

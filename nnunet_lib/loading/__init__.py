"""Loading: folds, and batches of augmented patches from preprocessed cases, by DALI or tf.data.

Importing this package imports neither TensorFlow nor DALI; making a dataset does.
"""

from nnunet_lib.loading.batches import (
    Loader,
    benchmark_batches,
    check_training,
    training_batches,
)
from nnunet_lib.loading.cases import CaseFiles
from nnunet_lib.loading.folds import Fold, load_folds, save_folds, split_folds
from nnunet_lib.loading.settings import AugmentationSettings, LoaderSettings

__all__ = [
    "AugmentationSettings",
    "CaseFiles",
    "Fold",
    "Loader",
    "LoaderSettings",
    "benchmark_batches",
    "check_training",
    "load_folds",
    "save_folds",
    "split_folds",
    "training_batches",
]

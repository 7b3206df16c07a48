"""Plan and raw cases -> cases as the network sees them. Taught in lesson 02."""

from nnunet_lib.preprocessing.case import PreprocessedCase, padding_to, preprocess_case
from nnunet_lib.preprocessing.geometry import Geometry
from nnunet_lib.preprocessing.normalisation import normalise
from nnunet_lib.preprocessing.preprocess import (
    Mode,
    PreprocessedDataset,
    preprocess,
    preprocessing_key,
    require_fit,
)
from nnunet_lib.preprocessing.resampling import (
    resample_argmax,
    resample_image,
    resample_labels,
    resample_logits,
    resampled_shape,
    separate_axis,
)

__all__ = [
    "Geometry",
    "Mode",
    "PreprocessedCase",
    "PreprocessedDataset",
    "normalise",
    "padding_to",
    "preprocess",
    "preprocess_case",
    "preprocessing_key",
    "require_fit",
    "resample_argmax",
    "resample_image",
    "resample_labels",
    "resample_logits",
    "resampled_shape",
    "separate_axis",
]

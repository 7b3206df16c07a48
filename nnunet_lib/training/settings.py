"""What a user may set about training. docs/defaults.md says which defaults were tried."""

import math
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args, get_origin

from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.inference.settings import DEFAULTS, InferenceSettings
from nnunet_lib.loading import AugmentationSettings, Loader
from nnunet_lib.model.compute import ComputeSettings
from nnunet_lib.planning import Norm
from nnunet_lib.training.schedules import RESTARTS, Scheduler

Optimiser = Literal["adam", "adamw", "sgd"]


@dataclass(frozen=True)
class OptimiserDefaults:
    """What an optimiser works with unless told otherwise."""

    learning_rate: float
    weight_decay: float


OPTIMISER_DEFAULTS: dict[Optimiser, OptimiserDefaults] = {
    "adam": OptimiserDefaults(learning_rate=2e-3, weight_decay=1e-4),
    "adamw": OptimiserDefaults(learning_rate=2e-3, weight_decay=1e-2),
    "sgd": OptimiserDefaults(learning_rate=1e-2, weight_decay=3e-5),
}
"""adam's decay is NVIDIA's number, which weighs twice as much beside a mean of two losses as there
beside their sum; its rate came out of the trials in docs/defaults.md. adamw takes adam's rate and
PyTorch's decay, which is larger because the rate multiplies it. sgd has nnU-Net's values."""

_KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "True or False"),
    AugmentationSettings: (
        AugmentationSettings,
        "AugmentationSettings; AugmentationSettings.none() is for none",
    ),
}
"""What a field's annotation asks for, NumPy's numbers too, and how people call it."""
_TOO_LARGE = 2**31
"""No count means anything from here on, and TensorFlow's 32-bit numbers cannot hold it."""
_LARGEST_CLIP = 1e30
"""Clipping computes in float32: a larger norm, or one below its inverse, soon counts as zero."""
_POSITIVE = (
    "time_limit",
    "epochs",
    "steps_per_epoch",
    "validation_interval",
    "checkpoint_interval",
    "learning_rate",
    "gradient_clip",
    "batch_size",
    "base_filters",
    "number_of_volumes",
)


@dataclass(frozen=True)
class LossSettings:
    """What is minimised: (cross-entropy or focal loss + 1 - soft Dice) / 2.

    Attributes:
        include_background: whether the background counts as a class in Dice.
        focal: whether focal loss takes the place of cross-entropy.
    """

    include_background: bool = False
    focal: bool = False


@dataclass(frozen=True)
class TrainingSettings:
    """Options of one training run.

    Attributes:
        fold: which fold validates, from 0.
        number_of_folds: parts that the cases are split into, unless the user has chosen folds
            (`PreprocessedDataset.splits_path`).
        epochs: passes of `steps_per_epoch` steps. None means until the time limit, and without one
            20 of them.
        steps_per_epoch: training steps between two lines of the log.
        time_limit: minutes of wall time, from the start of `train` to its return.
        optimiser: adam, adamw or sgd; see `make_optimiser`.
        learning_rate: at the start; the scheduler lowers it. None takes the optimiser's own.
        momentum: Nesterov momentum of sgd; nnU-Net's.
        weight_decay: of kernels: factor of the L2 gradient term, and with adamw of the decoupled
            decay. None takes the optimiser's own.
        scheduler: poly, cosine, cosine_restarts or constant.
        restarts: how often cosine_restarts goes back to the full rate.
        scale_learning_rate: whether several ranks multiply the rate with their number.
        warmup: share of training in which that multiplication grows from 1; 0 for none.
        gradient_clip: largest global norm of the gradients.
        deep_supervision: whether the three finest decoder levels all learn from the labels.
        loss: what the training minimises.
        batch_size: patches a step; None takes the plan's.
        base_filters: channels of the first stage; None takes the plan's.
        norm: instance, batch, group or none; None takes the plan's.
        negative_slope: of the leaky ReLU; None takes the plan's.
        foreground_oversampling: share of patches aimed at foreground.
        number_of_volumes: volumes that the slices of a 2D batch come from.
        augmentation: what is done to patches, and how often.
        loader: "dali", or "tf" for machines without it.
        validation_interval: epochs between validations; the last epoch always validates.
        inference: sliding window and test-time augmentation used for validation.
        checkpoint_interval: steps between two checkpoints within an epoch; the end of an epoch
            always writes one. None writes no others.
        compute: precision and compilation of the network.
        seed: of weights, folds, shuffling and augmentation.
        resume: go on where the run in the folder stopped, or start it if there is none.
        overwrite: replace a run that the folder already holds.
    """

    fold: int = 0
    number_of_folds: int = 5
    epochs: int | None = None
    steps_per_epoch: int = 100
    time_limit: float | None = None
    optimiser: Optimiser = "adam"
    learning_rate: float | None = None
    momentum: float = 0.99
    weight_decay: float | None = None
    scheduler: Scheduler = "poly"
    restarts: int = RESTARTS
    scale_learning_rate: bool = True
    warmup: float = 0.05
    gradient_clip: float = 12.0
    deep_supervision: bool = True
    loss: LossSettings = LossSettings()
    batch_size: int | None = None
    base_filters: int | None = None
    norm: Norm | None = None
    negative_slope: float | None = None
    foreground_oversampling: float = 0.33
    number_of_volumes: int = 4
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    loader: Loader = "dali"
    validation_interval: int = 4
    checkpoint_interval: int | None = None
    inference: InferenceSettings = DEFAULTS
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    seed: int = 0
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        self._check_kinds()
        self._check_sizes()
        self._check_counts()
        self._check_shares()
        self._check_folds()
        if self.resume and self.overwrite:
            raise InputError("resume and overwrite: a run is either gone on with or replaced.")

    def _check_kinds(self) -> None:
        """Values of the kinds and choices that the fields are annotated with."""
        for item in fields(self):
            name, value = item.name.replace("_", " "), getattr(self, item.name)
            kind: Any = item.type
            if type(None) in get_args(kind):
                if value is None:
                    continue
                kind, _ = get_args(kind)
            if get_origin(kind) is Literal:
                require_choice(name, value, kind)
                continue
            wanted, words = _KINDS.get(kind, (kind, kind.__name__))
            if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
                raise InputError(f"{name} {value!r}: must be {words}.")

    def _check_sizes(self) -> None:
        """Numbers that are above 0, and a clip that float32 can divide by."""
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                unit = " minutes" if name == "time_limit" else ""
                finite = "" if isinstance(value, int) else " and finite"
                raise InputError(
                    f"{name.replace('_', ' ')} {value}: must be above 0{unit}{finite}."
                )
        if not 1 / _LARGEST_CLIP <= self.gradient_clip <= _LARGEST_CLIP:
            raise InputError(
                f"gradient clip {self.gradient_clip}: must be from {1 / _LARGEST_CLIP:g} to "
                f"{_LARGEST_CLIP:g}. Give 1e6 to leave gradients as they are."
            )

    def _check_counts(self) -> None:
        """Counts that TensorFlow can hold."""
        for name in (*_POSITIVE, "restarts"):
            value = getattr(self, name)
            if isinstance(value, int) and value >= _TOO_LARGE:
                raise InputError(f"{name.replace('_', ' ')} {value}: must be below 2^31.")
        if self.restarts < 0:
            raise InputError(f"restarts {self.restarts}: must be at least 0.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed {self.seed}: must be at least 0 and below 2^32.")

    def _check_shares(self) -> None:
        """Numbers that may be 0, most of them below 1."""
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight decay {self.weight_decay}: must be at least 0.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum {self.momentum}: must be at least 0 and below 1.")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup {self.warmup}: must be a share of training, from 0 to 1.")
        if self.negative_slope is not None and not 0 <= self.negative_slope < 1:
            raise InputError(f"negative slope {self.negative_slope}: must be in [0, 1).")

    def _check_folds(self) -> None:
        """A fold that is one of them."""
        if self.number_of_folds < 2:
            raise InputError(f"number of folds {self.number_of_folds}: must be at least 2.")
        if not 0 <= self.fold < self.number_of_folds:
            raise InputError(
                f"fold {self.fold}: with {self.number_of_folds} folds (--nfolds), it must lie "
                f"between 0 and {self.number_of_folds - 1}."
            )

    @property
    def base_learning_rate(self) -> float:
        """The learning rate that was set, or the optimiser's own."""
        if self.learning_rate is not None:
            return self.learning_rate
        return OPTIMISER_DEFAULTS[self.optimiser].learning_rate

    @property
    def decay_factor(self) -> float:
        """The weight decay that was set, or the optimiser's own."""
        if self.weight_decay is not None:
            return self.weight_decay
        return OPTIMISER_DEFAULTS[self.optimiser].weight_decay

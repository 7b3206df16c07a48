"""How to predict: light to import, so that the command line can ask for the defaults."""

from dataclasses import dataclass
from typing import Literal

from nnunet_lib.errors import InputError, require_choice

BlendMode = Literal["gaussian", "constant"]


@dataclass(frozen=True)
class InferenceSettings:
    """How a trained network is applied to a whole case.

    Attributes:
        tta: average over all flips of the case, which takes 4 times as long in 2D, 8 in 3D.
        overlap: least share of a patch that neighbouring windows have in common, in [0, 1).
        blend_mode: `gaussian` trusts a window's centre more than its rim, `constant` does not.
        window_batch_size: windows that the network sees at once; more take more memory.
        save_probabilities: write `<case>_probabilities.nii.gz` too.

    Raises:
        InputError: if a value is out of range.
    """

    tta: bool = False
    overlap: float = 0.5
    blend_mode: BlendMode = "gaussian"
    window_batch_size: int = 2
    save_probabilities: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise InputError(f"overlap is {self.overlap}; give at least 0 and less than 1.")
        require_choice("blend_mode", self.blend_mode, BlendMode)
        if self.window_batch_size < 1:
            raise InputError(f"window_batch_size is {self.window_batch_size}; give 1 or more.")


DEFAULTS = InferenceSettings()

"""What a user may set about a benchmark: light to import, so that the command line can ask."""

from dataclasses import dataclass, field
from typing import Literal

from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.loading import Loader
from nnunet_lib.model.compute import ComputeSettings

BenchmarkMode = Literal["train", "predict", "loader"]


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is measured, and for how long. None takes the plan's value.

    Attributes:
        mode: `train` takes training steps and `predict` passes batches through the network, both
            on batches that cost next to nothing; `loader` draws augmented batches only.
        dimensions: 2 or 3.
        batch_size: patches a step and process.
        patch_size: voxels an axis, coarsest first.
        base_filters: channels of the first stage.
        channels: image channels.
        loader: "dali", or "tf" for machines without it.
        steps: how many are measured.
        warmup_steps: how many go before and are not counted. The first one builds the graph.
        compute: precision and compilation of the network.
    """

    mode: BenchmarkMode = "train"
    dimensions: int = 3
    batch_size: int | None = None
    patch_size: tuple[int, ...] | None = None
    base_filters: int | None = None
    channels: int | None = None
    loader: Loader = "dali"
    steps: int = 20
    warmup_steps: int = 5
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        require_choice("mode", self.mode, BenchmarkMode)
        if self.mode == "loader" and self.compute != ComputeSettings():
            raise InputError(
                "mode loader passes nothing through a network: leave out its settings."
            )
        if self.dimensions not in (2, 3):
            raise InputError(f"dimensions {self.dimensions}: must be 2 or 3.")
        for name in ("batch_size", "base_filters", "channels", "steps", "warmup_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', ' ')} {value}: must be 1 or more.")
        if self.patch_size is not None and (
            len(self.patch_size) != self.dimensions or min(self.patch_size) < 1
        ):
            raise InputError(
                f"patch size {self.patch_size}: must be {self.dimensions} numbers above 0, because "
                f"the benchmark has {self.dimensions} dimensions."
            )

"""What a run writes down: one JSON line an epoch, the same for TensorBoard, a progress bar."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm.auto import tqdm

from nnunet_lib.errors import InputError
from nnunet_lib.files import write_text

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to.

    Attributes:
        epoch: counted from 1.
        step: training steps since the start of the run.
        seconds: wall time since the start of the run.
        loss: mean over the steps of this epoch alone.
        learning_rate: of the epoch's last step.
        patches_per_second: of this epoch, without validation.
        validation_dice: mean over cases and foreground classes, on the preprocessed grid;
            None where the epoch was not validated.
    """

    epoch: int
    step: int
    seconds: float
    loss: float
    learning_rate: float
    patches_per_second: float
    validation_dice: float | None


class RunLog:
    """Writes records to metrics.jsonl and TensorBoard, and shows them on a progress bar.

    The bar runs from 0 to 100 per cent of the budget, whether that is steps or minutes.
    """

    def __init__(
        self, run: Path, show_progress: bool = True, history: Sequence[EpochRecord] = ()
    ) -> None:
        self.metrics = run / METRICS
        write_text(self.metrics, "".join(map(_line, history)))  # nothing after the last checkpoint
        try:
            self.writer = tf.summary.create_file_writer(str(run / TENSORBOARD))
        except tf.errors.OpError as error:  # a full disk
            raise InputError(f"{run}: cannot be written ({error.message}).") from None
        layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self.bar = tqdm(total=100.0, desc="train", bar_format=layout, disable=not show_progress)
        self.shown: dict[str, Any] = {}

    def step(self, progress: float, loss: float) -> None:
        """Move the bar to `progress` in [0, 1]."""
        self.shown["loss"] = f"{loss:.3f}"
        self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update(100 * progress - self.bar.n)

    def epoch(self, record: EpochRecord) -> None:
        """Write one epoch's record everywhere."""
        with self.metrics.open("a", encoding="utf-8") as lines:
            lines.write(_line(record))
        values = asdict(record)
        step = values.pop("step")
        with self.writer.as_default(step=step):
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value)
        self.shown["patches/s"] = f"{record.patches_per_second:.1f}"
        if record.validation_dice is not None:
            self.shown["Dice"] = f"{record.validation_dice:.3f}"

    def say(self, sentence: str) -> None:
        """Print a sentence without breaking the bar."""
        self.bar.write(sentence)

    def close(self) -> None:
        """Finish the bar and the TensorBoard file."""
        self.bar.close()
        self.writer.close()


class NoLog:
    """What every rank but the first writes down: nothing."""

    def step(self, progress: float, loss: float) -> None:
        """Show nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Write nothing."""

    def say(self, sentence: str) -> None:
        """Print nothing."""

    def close(self) -> None:
        """There is nothing to close."""


def read_metrics(run: Path | str) -> tuple[EpochRecord, ...]:
    """The records of a run, in order; empty if it has none yet.

    A last line that a killed process left unfinished is passed over.
    """
    path = Path(run) / METRICS
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return tuple(EpochRecord(**json.loads(line)) for line in lines if line.endswith("\n"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}). Train in another folder.") from None


def _line(record: EpochRecord) -> str:
    return json.dumps(asdict(record)) + "\n"

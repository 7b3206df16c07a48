"""The rows of the comparison: who does what, how often, and which ratio is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from benchmarks.speed import inputs
from benchmarks.speed.pairs import Measured, Side

OURS = "nnunet_lib"
Result = Mapping[str, Measured]


@dataclass(frozen=True)
class Goal:
    """A figure that shall not be above its limit.

    Attributes:
        text: what is divided by what.
        limit: the largest value that meets the goal; None where there is none, only a figure.
        value: the figure, from what was measured.
        reason: why it falls short, where it does.
    """

    text: str
    limit: float | None
    value: Callable[[Result], float]
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One kind of work, by all who do it.

    Attributes:
        name: for the command line.
        title: the identical work, in words.
        sides: who does it; all are alive together and take turns.
        turns: how often each does.
        goals: what is asked of the figures.
    """

    name: str
    title: str
    sides: tuple[Side, ...]
    turns: int
    goals: tuple[Goal, ...]


def time_ratio(numerator: str, *denominators: str) -> Callable[[Result], float]:
    """Median time of one side divided by that of the fastest of the others."""
    return lambda result: (
        result[numerator].median / min(result[name].median for name in denominators)
    )


def growth_ratio(side: str, expected: int) -> Callable[[Result], float]:
    """Growth of a side's memory divided by the bytes that it must hold."""
    return lambda result: result[side].bytes / expected


def _ours(work: str, name: str = OURS) -> Side:
    return Side(name, f"benchmarks.speed.ours:{work}")


def _peer(name: str, work: str) -> Side:
    return Side(name, f"benchmarks.speed.peers:{work}", peer=True)


_NETWORK = (
    f"U-Net of {', '.join(map(str, inputs.FILTERS))} filters, patch "
    f"{'x'.join(map(str, inputs.PATCH))}, batch {inputs.BATCH}"
)
_PLAIN, _DYN, _MONAI, _NNUNET = "PlainConvUNet", "DynUNet", "MONAI", "nnunetv2"
_FLOAT32 = 4

ROWS: Sequence[Row] = (
    Row(
        "step",
        f"training step: {_NETWORK}, deep supervision, Dice and cross-entropy, clipping, Adam",
        (
            _ours("training_step"),
            _peer(_PLAIN, "training_step_plain"),
            _peer(_DYN, "training_step_dyn"),
        ),
        9,
        (Goal("time / the fastest peer's", 0.75, time_ratio(OURS, _PLAIN, _DYN)),),
    ),
    Row(
        "forward",
        f"forward pass: {_NETWORK}",
        (_ours("forward"), _peer(_PLAIN, "forward_plain"), _peer(_DYN, "forward_dyn")),
        15,
        (Goal("time / PlainConvUNet's", 0.8, time_ratio(OURS, _PLAIN)),),
    ),
    Row(
        "window",
        "sliding window with that U-Net: 27 windows, overlap 1/2, Gaussian, one window at a time",
        (
            _ours("whole_case"),
            _peer(_MONAI, "whole_case_monai"),
            _peer(_NNUNET, "whole_case_nnunet"),
        ),
        3,
        (Goal("time / the fastest peer's", 0.8, time_ratio(OURS, _MONAI, _NNUNET)),),
    ),
    Row(
        "stitching",
        "the same with a network that costs nothing",
        (
            _ours("stitching"),
            _peer(_MONAI, "stitching_monai"),
            _peer(_NNUNET, "stitching_nnunet"),
        ),
        25,
        (Goal("time / the fastest peer's", 1.0, time_ratio(OURS, _MONAI, _NNUNET)),),
    ),
    Row(
        "flips",
        "test-time augmentation: 8 flips of that case, and one pass",
        (
            _ours("whole_case_with_flips", "8 flips"),
            _ours("whole_case", "one pass"),
            _peer(f"{_NNUNET}, 8 flips", "whole_case_nnunet_with_flips"),
            _peer(f"{_NNUNET}, one pass", "whole_case_nnunet"),
        ),
        1,
        (Goal("8 flips / one pass", 7.5, time_ratio("8 flips", "one pass")),),
    ),
    Row(
        "logits",
        "logits of 3 classes from 256x256x200 to 512x512x400 (nnU-Net: its default and its torch "
        "resampling)",
        (
            _ours("logits_to_scan"),
            _peer(f"{_NNUNET}, default", "logits_to_scan_default"),
            _peer(f"{_NNUNET}, torch", "logits_to_scan_torch"),
        ),
        1,
        (
            Goal(
                "time / the fastest peer's",
                1.0,
                time_ratio(OURS, f"{_NNUNET}, default", f"{_NNUNET}, torch"),
            ),
            Goal(
                "growth of memory and input / (input + output)",
                1.3,
                lambda result: (result[OURS].bytes + _logits_in()) / (_logits_in() + _logits_out()),
            ),
        ),
    ),
    Row(
        "memory",
        "prediction of a scan of 512x512x400, 3 classes, with a network that costs nothing",
        (_ours("large_stitching"),),
        1,
        (
            Goal(
                "growth of memory / (image + accumulator)",
                1.3,
                growth_ratio(OURS, _FLOAT32 * prod(inputs.SCAN) * (1 + inputs.CLASSES)),
            ),
        ),
    ),
    Row(
        "peak",
        "what this machine can do: a lone oneDNN 3x3x3 convolution; a matrix product of 2048, "
        "a copy of 256 MiB",
        (_ours("convolution_peak"), _peer("torch", "matrix_peak")),
        1,
        (),
    ),
)


def _logits_in() -> int:
    return _FLOAT32 * prod(inputs.COARSE_SCAN) * inputs.CLASSES


def _logits_out() -> int:
    return _FLOAT32 * prod(inputs.SCAN) * inputs.CLASSES

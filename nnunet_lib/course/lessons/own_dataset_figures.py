"""The picture of lesson 11: how single networks and their ensembles do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnunet_lib.course.figures import BLUE, ORANGE, new_figure

_ENSEMBLE: dict[str, Any] = {"facecolor": ORANGE, "hatch": "//", "edgecolor": "black"}


@dataclass(frozen=True)
class Way:
    """One way to predict, and what it scores on cases that nobody has trained on.

    Attributes:
        name: such as "3D fold 0".
        cross_entropy: mean over the cases; lower is better.
        dice: mean over structures and cases; higher is better. None if there is none.
        is_ensemble: whether several networks were averaged.
    """

    name: str
    cross_entropy: float
    dice: float | None
    is_ensemble: bool


def ways_figure(ways: Sequence[Way]) -> Figure:
    """Bars of cross-entropy and of Dice; ensembles are hatched, and of another colour."""
    figure, axes = new_figure(1, 2, (4.2, 1.1 + 0.36 * len(ways)))
    names = [way.name for way in ways]
    panels: dict[str, list[float | None]] = {
        "cross-entropy (lower is better)": [way.cross_entropy for way in ways],
        "mean Dice (higher is better)": [way.dice for way in ways],
    }
    for panel, (title, values) in zip(axes[0], panels.items(), strict=True):
        lengths = [value or 0.0 for value in values]  # no Dice: no bar, and not 0 beside it
        bars = panel.barh(names, lengths, color=BLUE)
        for bar, way in zip(bars, ways, strict=True):
            if way.is_ensemble:
                bar.set(**_ENSEMBLE)
        texts = ["none" if value is None else f"{value:.3f}" for value in values]
        panel.bar_label(bars, texts, padding=3)
        panel.set(title=title, xlim=(0, 1.25 * max(*lengths, 1e-3)))
        panel.invert_yaxis()
    axes[0, 1].set_yticklabels([])
    kinds = [Patch(color=BLUE, label="one network"), Patch(**_ENSEMBLE, label="an ensemble")]
    figure.legend(handles=kinds, loc="outside lower center", ncols=2, frameon=False)
    return figure

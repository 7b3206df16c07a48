"""The planner to play with: change slices, memory or dimensions, and see what it decides.

As the slice viewer does, one output carries both forms: controls where a kernel listens, and
everywhere else a table and a figure of nine plans.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nnunet_lib.course.figures import BLUE, ORANGE, as_bundle, new_figure
from nnunet_lib.course.lessons.preprocessing import NNUNET, strides_of
from nnunet_lib.course.output import WIDGET_MIME, emit, html_table, text_table
from nnunet_lib.errors import InputError
from nnunet_lib.planning import Fingerprint, Plan, make_plan

THICKNESSES = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # times the dataset's own slices
MEMORIES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 80.0)  # GB
STILL_THICKNESSES, STILL_MEMORIES = (1.0, 3.0, 6.0), (2.0, 8.0, 32.0)
_HEADS = ("slices (mm)", "memory (GB)", "patch", "batch", "strides, a group a stage")


@dataclass(frozen=True)
class Question:
    """What the planner is asked.

    Attributes:
        dataset: which fingerprint.
        thickness: by how much the slices are thicker than the dataset's own.
        memory: GB that training may fill.
        dimensions: 2 or 3.
    """

    dataset: str
    thickness: float = 1.0
    memory: float = 8.0
    dimensions: int = 3


def with_thickness(fingerprint: Fingerprint, factor: float) -> Fingerprint:
    """The same patients in the same millimetres, with slices along z `factor` times as thick."""
    return replace(
        fingerprint,
        spacings=tuple((z * factor, y, x) for z, y, x in fingerprint.spacings),
        shapes=tuple((max(1, round(z / factor)), y, x) for z, y, x in fingerprint.shapes),
    )


class PlannerExplorer:
    """Controls above, the plan below, made anew whenever a control changes.

    Args:
        fingerprints: each dataset's, by name.
        first: the one to begin with, and of which the still form speaks.
    """

    def __init__(self, fingerprints: Mapping[str, Fingerprint], first: str) -> None:
        self.fingerprints, self.first = fingerprints, first
        self.dataset = widgets.Dropdown(
            options=list(fingerprints), value=first, description="dataset"
        )
        self.thickness = widgets.SelectionSlider(
            options=THICKNESSES, value=1.0, description="slices ×"
        )
        self.memory = widgets.SelectionSlider(options=MEMORIES, value=8.0, description="GB")
        self.dimensions = widgets.ToggleButtons(options=[3, 2], description="dimensions")
        self.picture = widgets.HTML()
        self.controls = (self.dataset, self.thickness, self.memory, self.dimensions)
        for control in self.controls:
            control.observe(self._redraw, "value")
        self._redraw()

    @property
    def question(self) -> Question:
        """What the controls say now."""
        return Question(*(control.value for control in self.controls))

    def plan(self, question: Question) -> Plan:
        """The planner's answer.

        Raises:
            InputError: if no network fits.
        """
        settings = replace(NNUNET[question.dimensions], memory_gigabytes=question.memory)
        return make_plan(self._thickened(question), settings)

    def still_plans(self) -> list[tuple[Question, Plan]]:
        """The nine plans of the still form: three thicknesses, and three memories for each."""
        pairs = itertools.product(STILL_THICKNESSES, STILL_MEMORIES)
        questions = [Question(self.first, thickness, memory) for thickness, memory in pairs]
        return [(question, self.plan(question)) for question in questions]

    def show(self) -> None:
        """Show controls where they can live, and nine plans in a table and a figure elsewhere."""
        answers = self.still_plans()
        rows = [self._row(question, plan) for question, plan in answers]
        still = as_bundle(self._still_figure(answers), self._still_text())
        live = widgets.VBox([*self.controls, self.picture])
        emit(
            {
                "text/plain": f"{text_table(_HEADS, rows)}\n{still['text/plain']}",
                "text/html": html_table(_HEADS, rows) + still["text/html"],
                WIDGET_MIME: live._repr_mimebundle_()[WIDGET_MIME],
            }
        )

    def _thickened(self, question: Question) -> Fingerprint:
        return with_thickness(self.fingerprints[question.dataset], question.thickness)

    def _redraw(self, _: Any = None) -> None:
        question = self.question
        try:
            plan = self.plan(question)
        except InputError as error:
            self.picture.value = f"<p>{error}</p>"
            return
        figure, axes = new_figure(1, 1, (5.0, 4.0))
        self._draw(axes[0, 0], question, plan)
        _name_rectangles(figure, axes[0, 0])
        text = f"{self._what(plan, question)} The patch is drawn over the median case."
        table = html_table(_HEADS, [self._row(question, plan)])
        reasons = "".join(f"<li>{reason}</li>" for reason in plan.reasons)
        self.picture.value = f"{table}{as_bundle(figure, text)['text/html']}<ul>{reasons}</ul>"

    def _row(self, question: Question, plan: Plan) -> tuple[str, ...]:
        slices = np.median([spacing[0] for spacing in self._thickened(question).spacings])
        patch = " × ".join(map(str, plan.patch_size))
        numbers = (f"{slices:.3g}", f"{question.memory:g}", patch, str(plan.batch_size))
        return (*numbers, strides_of(plan))

    def _still_figure(self, answers: list[tuple[Question, Plan]]) -> Figure:
        figure, axes = new_figure(len(STILL_THICKNESSES), len(STILL_MEMORIES), (3.4, 2.3))
        for panel, (question, plan) in zip(axes.flat, answers, strict=True):
            self._draw(panel, question, plan)
        for panel in axes[:-1].flat:
            panel.set_xlabel("")
        for panel in axes[:, 1:].flat:
            panel.set_ylabel("")
        _name_rectangles(figure, axes[0, 0])
        return figure

    def _draw(self, panel: Axes, question: Question, plan: Plan) -> None:
        """The patch over the median case, along the plan's first and last axis, in millimetres."""
        fingerprint = self._thickened(question)
        extents = np.array(fingerprint.shapes) * np.array(fingerprint.spacings)  # (case, 3) mm
        median = np.median(extents, axis=0)[list(plan.axis_order)[-plan.dimensions :]]
        patch = np.array(plan.patch_size) * plan.target_spacing
        for size, colour, filled, name in (
            (median, BLUE, False, "median case"),
            (patch, ORANGE, True, "patch"),
        ):
            _rectangle(panel, size[-1], size[0], median, colour, filled, name)
        names = ["zyx"[axis] for axis in plan.axis_order[-plan.dimensions :]]
        width, height = (max(1.2 * median[axis], 1.05 * patch[axis]) for axis in (-1, 0))
        panel.set(
            xlabel=f"{names[-1]} (mm)",
            ylabel=f"{names[0]} (mm)",
            xlim=(median[-1] / 2 - width / 2, median[-1] / 2 + width / 2),
            ylim=(median[0] / 2 - height / 2, median[0] / 2 + height / 2),
            aspect="equal",
        )
        panel.set_title(
            f"{self._row(question, plan)[0]} mm, {question.memory:g} GB", fontsize="medium"
        )

    def _what(self, plan: Plan, question: Question) -> str:
        slices, memory, patch, batch, _ = self._row(question, plan)
        return (
            f"{question.dataset}, slices of {slices} mm, {memory} GB: patch {patch}, batch {batch}."
        )

    def _still_text(self) -> str:
        return (
            f"Nine panels with the patch drawn over the median case of {self.first}, in "
            "millimetres: a row for each thickness of slices, a column for each memory. From left "
            "to right the patch grows until it is the whole case; from top to bottom, with "
            "thicker slices, it covers more of the case."
        )


def _name_rectangles(figure: Figure, panel: Axes) -> None:
    """A legend below the figure, of what one of its panels shows."""
    handles, names = panel.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)


def _rectangle(
    panel: Axes,
    width: float,
    height: float,
    median: np.ndarray,
    colour: str,
    filled: bool,
    name: str,
) -> None:
    """A rectangle around the middle of the median case."""
    corner = (median[-1] / 2 - width / 2, median[0] / 2 - height / 2)
    style: dict[str, Any] = {"facecolor": colour, "alpha": 0.6} if filled else {"fill": False}
    panel.add_patch(
        Rectangle(corner, width, height, edgecolor=colour, linewidth=2, label=name, **style)
    )

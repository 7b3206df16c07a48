"""The explorer asks the planner what its controls say, and says the same without a kernel."""

import re

import numpy as np
import pytest

from nnunet_lib.course.lessons import planner_explorer as module
from nnunet_lib.course.lessons.planner_explorer import PlannerExplorer, Question, with_thickness
from nnunet_lib.course.lessons.preprocessing import PUBLISHED
from nnunet_lib.course.output import WIDGET_MIME

FINGERPRINTS = {task.name: task.fingerprint() for task in PUBLISHED}


@pytest.fixture
def explorer():
    return PlannerExplorer(FINGERPRINTS, first="Heart")


def test_thicker_slices_leave_the_millimetres():
    thick = with_thickness(FINGERPRINTS["Heart"], 4.0)
    before = np.multiply(FINGERPRINTS["Heart"].shapes[0], FINGERPRINTS["Heart"].spacings[0])
    after = np.multiply(thick.shapes[0], thick.spacings[0])
    assert thick.spacings[0][0] == pytest.approx(5.48)
    assert after == pytest.approx(before, abs=thick.spacings[0][0])


def test_it_begins_with_the_published_plan(explorer):
    assert explorer.question == Question("Heart", 1.0, 8.0, 3)
    assert "80 × 192 × 160" in explorer.picture.value
    assert "<img alt=" in explorer.picture.value


def test_the_live_figure_names_its_rectangles(explorer, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        module, "as_bundle", lambda *shown: drawn.append(shown) or {"text/html": ""}
    )
    explorer._redraw()
    assert [text.get_text() for text in drawn[0][0].legends[0].get_texts()] == [
        "median case",
        "patch",
    ]


def test_every_control_changes_the_answer(explorer):
    seen = [explorer.picture.value]
    for control, value in (
        (explorer.memory, 2.0),
        (explorer.thickness, 4.0),
        (explorer.dimensions, 2),
        (explorer.dataset, "Prostate"),
    ):
        control.value = value
        seen.append(explorer.picture.value)
    assert len(set(seen)) == len(seen)
    assert explorer.question == Question("Prostate", 4.0, 2.0, 2)


def test_memory_that_is_too_small_is_said_in_words(explorer, monkeypatch):
    question = Question("Heart", memory=1e-6)
    monkeypatch.setattr(PlannerExplorer, "question", question)
    explorer._redraw()
    assert "is too small for any network" in explorer.picture.value


def test_the_still_form_has_the_plans_of_the_controls(explorer, shown):
    explorer.show()
    ((bundle, _),) = shown
    assert WIDGET_MIME in bundle
    assert "Nine panels" in bundle["text/plain"]
    for question, plan in explorer.still_plans():
        explorer.thickness.value, explorer.memory.value = question.thickness, question.memory
        live = re.sub("<[^>]+>", " ", explorer.picture.value)
        patch = " × ".join(map(str, plan.patch_size))
        assert patch in live
        assert patch in bundle["text/html"]
        assert patch in bundle["text/plain"]


def test_more_memory_gives_no_smaller_patch(explorer):
    volumes = {}
    for question, plan in explorer.still_plans():
        volumes.setdefault(question.thickness, []).append(np.prod(plan.patch_size))
    assert all(sizes == sorted(sizes) for sizes in volumes.values())
    assert any(sizes[0] < sizes[-1] for sizes in volumes.values())

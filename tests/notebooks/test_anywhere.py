"""A notebook runs alone in a fresh kernel, from any folder, and again where it ran before.

`make course` runs all of them from their own folder. Here one lesson, the cheapest that is there,
runs from the two folders that people start kernels in, with one work folder.
"""

from pathlib import Path

import papermill
import pytest

from nnunet_lib.course.claims import audit
from nnunet_lib.course.keeping import WORK_VARIABLE
from nnunet_lib.course.runner import find_kernel

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHEAP = ("01", "02", "04")


def cheapest():
    return next((path for path in NOTEBOOKS if path.stem[:2] in CHEAP), NOTEBOOKS[0])


@pytest.mark.slow
def test_a_lesson_runs_from_the_root_and_from_its_folder_twice_in_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    before = [sorted(folder.iterdir()) for folder in (ROOT, ROOT / "notebooks")]
    for number, folder in enumerate((ROOT, ROOT / "notebooks")):
        executed = papermill.execute_notebook(
            str(cheapest()),
            str(tmp_path / f"{number}.ipynb"),
            kernel_name=find_kernel(),
            cwd=str(folder),
            progress_bar=False,
        )
        assert audit(executed) == ()  # every claim ran
    assert [sorted(folder.iterdir()) for folder in (ROOT, ROOT / "notebooks")] == before

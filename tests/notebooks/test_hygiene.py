"""Every notebook is stored clean and can be run by papermill."""

import re
from pathlib import Path

import nbformat
import papermill
import pytest

from nnunet_lib.course.claims import audit

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def test_there_are_notebooks():
    assert "00_quickstart" in [path.stem for path in NOTEBOOKS]


def test_it_is_stored_without_outputs_or_execution_counts(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id
        assert not set(cell.metadata) - {"tags"}, f"{cell.id} has metadata that a run left"


def test_it_is_valid_and_of_format_4_5(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)


def test_its_cell_ids_are_words_that_people_chose(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for identifier in ids:
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", identifier), identifier
        assert not re.fullmatch(r"[0-9a-f]{8}", identifier), f"{identifier} looks generated"


def test_its_parameters_are_the_course_s_and_are_explained(path, notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    parameters = papermill.inspect_notebook(str(path))
    assert {"PROFILE", "DATASET", "SEED"} <= set(parameters)
    for name, parameter in parameters.items():
        assert len(parameter["help"]) > 10, f"{name} has no comment for papermill --help-notebook"


def test_the_defaults_are_offline_and_small(path):
    defaults = {
        name: p["default"].strip("'\"") for name, p in papermill.inspect_notebook(str(path)).items()
    }
    assert (defaults["PROFILE"], defaults["DATASET"]) == ("ci", "phantom")


def test_its_objectives_each_list_a_claim(notebook):
    opening = notebook.cells[0].source
    assert opening.startswith("# ")
    assert re.search(r"\*\*\d\d\.\d+\*\*", opening), "no objective has an id"
    assert not [problem for problem in audit(notebook) if "bjective" in problem]


def test_each_announced_claim_is_checked_in_the_code(notebook):
    code = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for claim in set(re.findall(r"\b\d\d\.\d+[a-z]\b", notebook.cells[0].source)):
        assert re.search(rf'\.check\(\s*"{re.escape(claim)}"', code), f"{claim} is not checked"
    assert "ledger.finish()" in notebook.cells[-1].source + code


def test_its_cells_are_short(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 20, f"{cell.id} is long"


def test_every_numbered_section_has_something_to_try(notebook):
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    sections = re.split(r"^## (?=\d)", prose, flags=re.MULTILINE)[1:]
    assert len(sections) >= 3
    for section in sections:
        assert "**Try it.**" in section, section.splitlines()[0]

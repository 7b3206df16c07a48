"""Every notebook is stored clean, has the parts that a lesson has, and can be run by papermill."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from click.testing import CliRunner
from papermill.cli import papermill as papermill_command

from nnunet_lib.course.claims import audit
from nnunet_lib.course.exercises.notebooks import facts_of
from nnunet_lib.course.timings import opening_of

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"PROFILE", "DATASET", "SEED"}
# What a profile decides. A notebook that sets one of these to a number would run for as long in
# every profile.
SIZES = {"cases", "epochs", "steps", "steps_per_epoch", "time_limit", "training_minutes", "workers"}


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


def test_its_name_has_its_number_and_a_word(path):
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    assert [other.stem[:2] for other in NOTEBOOKS].count(path.stem[:2]) == 1


def test_its_kernel_is_the_course_s(notebook):
    assert notebook.metadata.kernelspec.name == "nnunet-course"


def test_its_first_cell_says_what_it_teaches_needs_and_takes(path, notebook):
    opening = notebook.cells[0]
    assert opening.cell_type == "markdown"
    title, read, try_out = opening_of(notebook)
    assert title.startswith(f"{path.stem[:2]} ")
    assert 5 <= read <= 90
    assert 5 <= try_out <= 90
    assert "**You need**" in opening.source  # prerequisites
    assert "](../docs/timings.md)" in opening.source


def test_it_says_how_many_exercises_it_has_and_how_long_they_take(path, notebook):
    exercises = ROOT / "exercises" / path.stem
    if not exercises.exists():
        assert path.stem.startswith("00")  # the only one without any
        return
    tasks = facts_of(exercises)
    number = ("no", "one", "two", "three", "four", "five", "six")[len(tasks)]
    minutes = sum(task.minutes for task in tasks)
    told = re.search(r"\*\*Practise:.*\[(\w+) exerc\S+ about (\d+)", notebook.cells[-1].source)
    assert told
    assert told.groups() == (number, str(minutes))


def test_its_objectives_and_claims_carry_its_own_number(path, notebook):
    ids = re.findall(r"\b(\d\d)\.\d+[a-z]?\b", notebook.cells[0].source)
    assert set(ids) == {path.stem[:2]}


def test_its_first_code_cell_holds_the_course_s_parameters_and_nothing_else(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code[:1]
    statements = ast.parse(tagged[0].source).body
    assert all(isinstance(statement, ast.Assign) for statement in statements)
    assert [statement.targets[0].id for statement in statements] == ["PROFILE", "DATASET", "SEED"]


def test_papermill_explains_each_parameter(path):
    parameters = papermill.inspect_notebook(str(path))
    assert parameters.keys() == PARAMETERS
    asked = CliRunner().invoke(papermill_command, ["--help-notebook", str(path)])
    assert asked.exit_code == 0, asked.output
    printed = " ".join(asked.output.split())
    for name, parameter in parameters.items():
        comment = " ".join(parameter["help"].split())
        assert len(comment) > 10, f"{name} has no comment"
        assert name in printed
        assert comment in printed


def test_it_uses_the_profile_and_sets_no_size_of_its_own(notebook):
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "use_profile(PROFILE)" in code
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.keyword):
            names, value = [node.arg], node.value
        elif isinstance(node, ast.Assign):
            names, value = [getattr(target, "id", "") for target in node.targets], node.value
        else:
            continue
        assert not (SIZES & set(names) and isinstance(value, ast.Constant)), ast.unparse(node)


def test_its_last_cells_recap_and_lead_on(path, notebook):
    headings = [line for line in prose_of(notebook).splitlines() if line.startswith("## ")]
    assert headings[-2:] == ["## Recap", "## Where to go next"]
    for other in NOTEBOOKS:
        if int(other.stem[:2]) == int(path.stem[:2]) + 1:
            assert f"]({other.name})" in notebook.cells[-1].source, f"no link to {other.stem}"


def test_every_relative_link_leads_somewhere(path, notebook):
    for link in re.findall(r"\]\(([^)#\s]+)", prose_of(notebook)):
        if "://" in link or (path.parent / link).exists():
            continue
        assert is_announced(link), f"{link} leads nowhere"


def is_announced(link):
    """Whether a link is to a lesson or an exercise of which none with that number is there yet."""
    match = re.fullmatch(r"(?:\.\./(exercises)/)?(\d\d)_[a-z0-9_]+(?:\.ipynb|/)?", link)
    return match is not None and not list((ROOT / (match[1] or "notebooks")).glob(f"{match[2]}_*"))


def prose_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


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
    sections = re.split(r"^## (?=\d)", prose_of(notebook), flags=re.MULTILINE)[1:]
    assert len(sections) >= 3
    for section in sections:
        assert "**Try it.**" in section, section.splitlines()[0]

"""The runner runs everything, keeps what failed, and notices what had no effect."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager

from nnunet_lib.course import runner
from nnunet_lib.course.profiles import PROFILE_MIME
from nnunet_lib.course.runner import CourseError, Summary, find_kernel, run_course
from nnunet_lib.course.sources import library
from nnunet_lib.errors import InputError

PARAMETERS = "PROFILE = 'ci'\nDATASET = 'phantom'\nSEED = 0\n"
ANY = {"profile": "ci", "dataset": "phantom", "seed": 0}
OPENING = "# A lesson\n- **00.1** Count. *Claim 00.1a.*"
LESSON = """
import os, sys
assert os.path.exists('00_good.ipynb')  # as in JupyterLab
from nnunet_lib.course.claims import Ledger
from nnunet_lib.course.profiles import use_profile
profile = use_profile(PROFILE)
block = bytearray(300 * 2**20)
print(PROFILE, DATASET, SEED, sys.executable)
ledger = Ledger('00', ['00.1a'])
ledger.check('00.1a', 'the seed is what was asked for', SEED, equal_to=7)
ledger.finish()
import time; time.sleep(0.5)
"""


def write(path, *sources, parameters=PARAMETERS, opening=OPENING):
    """A notebook: opening, tagged parameters, then a code cell for each source."""
    cells = [nbformat.v4.new_markdown_cell(opening)]
    if parameters:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "nowhere", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of three notebooks: one passes, one raises, one ignores the profile."""
    folder = tmp_path_factory.mktemp("course")
    notebooks, output = folder / "notebooks", folder / "out"
    write(notebooks / "00_good.ipynb", LESSON)
    write(notebooks / "01_bad.ipynb", "print('before')", "1 / 0", "print('after')", parameters="")
    write(
        notebooks / "02_deaf.ipynb",
        "from nnunet_lib.course.profiles import use_profile\nuse_profile('laptop')",
        opening="# No claims",
    )
    return run_course([notebooks], output, profile="ci", dataset="phantom", seed=7), output


@pytest.mark.slow
def test_every_notebook_runs_in_order_even_after_a_failure(course):
    summary, output = course
    assert [(r.notebook, r.status) for r in summary.results] == [
        ("00_good", "passed"),
        ("01_bad", "failed"),
        ("02_deaf", "failed"),
    ]
    assert not summary.passed
    assert all((output / f"{r.notebook}.html").is_file() for r in summary.results)


def test_an_error_of_several_lines_is_told_whole(tmp_path):
    raising = "from nnunet_lib.errors import InputError\nraise InputError('two:\\n  one\\n  other')"
    write(tmp_path / "00_bad.ipynb", raising, opening="# No claims")
    (result,) = run_course([tmp_path / "00_bad.ipynb"], tmp_path / "out", **ANY).results
    assert result.problems == ("InputError: two:", "  one", "  other")


def test_a_full_disk_is_told_and_no_half_notebook_hides_it(tmp_path, monkeypatch):
    def full(path, executed, **_):
        Path(executed).write_text('{"cells": [')
        raise OSError(28, "No space left on device")

    write(tmp_path / "00_good.ipynb", "1")
    monkeypatch.setattr(runner.papermill, "execute_notebook", full)
    (result,) = run_course([tmp_path / "00_good.ipynb"], tmp_path / "out", **ANY).results
    assert result.problems == ("OSError: [Errno 28] No space left on device",)


@pytest.mark.slow
def test_the_parameters_arrive_and_the_interpreter_is_this_one(course):
    output = course[1]
    text = (output / "00_good.ipynb").read_text()
    assert f"ci phantom 7 {sys.executable}" in text


@pytest.mark.slow
def test_seconds_and_memory_are_measured(course):
    good = course[0].results[0]
    assert good.seconds > 0.5
    assert 300 < good.peak_memory < 3000  # MiB: the kernel holds a block of 300


@pytest.mark.slow
def test_the_ledger_is_collected(course):
    (claim,) = course[0].results[0].claims
    assert (claim.claim, claim.value, claim.bound, claim.held) == ("00.1a", 7, "= 7", True)
    assert "the seed is what was asked for" in course[0].describe()


@pytest.mark.slow
def test_a_failure_keeps_its_traceback_and_its_executed_copy(course):
    summary, output = course
    bad = summary.results[1]
    assert "ZeroDivisionError" in (output / "01_bad.traceback.txt").read_text()
    assert "before" in bad.executed.read_text()
    assert "after" not in "".join(
        str(cell.get("outputs")) for cell in nbformat.read(bad.executed, 4).cells
    )
    assert "ZeroDivisionError" in summary.describe()
    assert str(bad.executed) in summary.describe()
    assert not (output / "00_good.traceback.txt").exists()


@pytest.mark.slow
def test_a_profile_without_effect_fails(course):
    (problem,) = course[0].results[2].problems
    assert "PROFILE=ci had no effect" in problem
    assert "laptop" in problem


PLAIN = {"text/plain": "in words"}


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Run a notebook that shows the given data; what papermill was asked for, and the result."""

    def run(*data, opening="# No claims"):
        asked = {}

        def execute(path, executed, **rest):
            asked.update(rest, environment=dict(os.environ))
            notebook = nbformat.read(path, 4)
            notebook.metadata["papermill"] = {"parameters": rest["parameters"]}
            shown = [nbformat.v4.new_output("display_data", {**PLAIN, **one}) for one in data]
            notebook.cells[1].outputs = shown
            nbformat.write(notebook, executed)

        write(tmp_path / "00.ipynb", opening=opening)
        monkeypatch.setattr(runner.papermill, "execute_notebook", execute)
        (result,) = run_course([tmp_path / "00.ipynb"], tmp_path / "out", **ANY).results
        return asked, result

    return run


@pytest.mark.parametrize(
    ("used", "status"),
    [(["ci"], "passed"), (["ci", "ci"], "passed"), (["ci", "gpu"], "failed"), ([], "failed")],
)
def test_a_profile_is_to_be_the_only_one_used(pretended, used, status):
    result = pretended(*({PROFILE_MIME: {"name": name}} for name in used))[1]
    assert result.status == status
    assert all("PROFILE=ci had no effect" in problem for problem in result.problems)


def test_a_notebook_that_leaves_a_claim_out_fails(pretended):
    result = pretended({PROFILE_MIME: {"name": "ci"}}, opening=OPENING)[1]
    assert result.status == "failed"
    assert "Claim 00.1a did not run." in result.problems


@pytest.mark.parametrize("before", [None, "elsewhere"])
def test_where_kernels_import_from_is_set_for_them_alone(pretended, monkeypatch, before):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONPATH", before)
    assert pretended()[0]["environment"]["PYTHONPATH"] != before
    assert os.environ.get("PYTHONPATH") == before


@pytest.mark.slow
def test_the_summary_file_says_the_same(course):
    summary, output = course
    written = json.loads((output / "summary.json").read_text())
    assert written["passed"] is False
    assert written["seed"] == 7
    assert [n["status"] for n in written["notebooks"]] == ["passed", "failed", "failed"]
    assert written["notebooks"][0]["claims"][0]["held"] is True
    assert (output / "summary.txt").read_text().strip() == summary.describe()


@pytest.mark.slow
def test_one_good_notebook_passes_and_an_old_traceback_goes_away(course, tmp_path):
    write(tmp_path / "00_good.ipynb", LESSON)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00_good.traceback.txt").write_text("old")
    summary = run_course([tmp_path / "00_good.ipynb"], tmp_path / "out", "ci", "phantom", 7)
    assert summary.passed
    assert not (tmp_path / "out" / "00_good.traceback.txt").exists()


def test_an_unreadable_notebook_fails_alone(tmp_path):
    (tmp_path / "00_broken.ipynb").write_text("{")
    summary = run_course([tmp_path], tmp_path / "out", "ci", "phantom", 0)
    assert summary.results[0].status == "failed"
    assert summary.results[0].problems


def test_a_relative_dataset_path_is_made_absolute(tmp_path, monkeypatch):
    """The kernel runs in the notebook's folder; the path counts from the user's."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "dataset.json").write_text("{}")
    write(tmp_path / "notebooks" / "00.ipynb")
    monkeypatch.chdir(tmp_path)
    seen = {}
    monkeypatch.setattr(
        runner, "_run_notebook", lambda path, output, given, *rest: seen.update(given) or RESULT
    )
    run_course([tmp_path / "notebooks"], tmp_path / "out", "ci", "scans", 0)
    assert seen["DATASET"] == str(tmp_path / "scans")
    run_course([tmp_path / "notebooks"], tmp_path / "out", "ci", "phantom", 0)
    assert seen["DATASET"] == "phantom"


RESULT = runner.NotebookResult("00", "passed", 1.0, 1.0, (), (), runner.Path("00.ipynb"))


def test_several_notebooks_run_in_the_order_of_their_names_and_once_each(tmp_path, monkeypatch):
    for name in ("notebooks/02_c.ipynb", "elsewhere/01_b.ipynb", "notebooks/10_d.ipynb"):
        write(tmp_path / name)
    monkeypatch.setattr(
        runner, "_run_notebook", lambda path, *_: replace(RESULT, notebook=path.stem)
    )
    places = [tmp_path / "notebooks", tmp_path / "elsewhere" / "01_b.ipynb"]
    places.append(tmp_path / "notebooks" / "02_c.ipynb")  # named twice
    summary = run_course(places, tmp_path / "out", "ci", "phantom", 0)
    assert [result.notebook for result in summary.results] == ["01_b", "02_c", "10_d"]
    missing = tmp_path / "11_e.ipynb"
    with pytest.raises(InputError, match=r"11_e\.ipynb: there is no notebook"):
        run_course([*places, missing], tmp_path / "out", "ci", "phantom", 0)


def test_results_never_replace_a_notebook_or_each_other(tmp_path, monkeypatch):
    for name in ("one/00.ipynb", "two/00.ipynb"):
        write(tmp_path / name)
    before = (tmp_path / "one/00.ipynb").read_bytes()
    monkeypatch.chdir(tmp_path / "one")
    with pytest.raises(InputError, match="would be lost"):
        run_course([runner.Path("00.ipynb")], tmp_path / "two/../one", "ci", "phantom", 0)
    assert (tmp_path / "one/00.ipynb").read_bytes() == before
    with pytest.raises(InputError, match="have one name"):
        run_course([tmp_path / "one", tmp_path / "two"], tmp_path / "out", "ci", "phantom", 0)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_unknown_words_are_refused_before_anything_runs(tmp_path):
    with pytest.raises(InputError, match="no notebook"):
        run_course([tmp_path], tmp_path / "out", "ci", "phantom", 0)
    write(tmp_path / "00.ipynb")
    with pytest.raises(InputError, match="no such profile"):
        run_course([tmp_path], tmp_path / "out", "fast", "phantom", 0)
    with pytest.raises(InputError, match="DATASET is 'nowhere'"):
        run_course([tmp_path], tmp_path / "out", "ci", "nowhere", 0)


def test_a_kernel_of_another_python_is_never_used(monkeypatch):
    real = KernelSpecManager.get_kernel_spec

    def elsewhere(self, name):
        spec = real(self, "python3")
        spec.argv = ["/opt/other/bin/python", *spec.argv[1:]]
        return spec

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", elsewhere)
    with pytest.raises(InputError, match="ipykernel install"):
        find_kernel()


@pytest.mark.slow
def test_notebooks_import_the_library_that_runs_them_and_not_an_installed_one(tmp_path):
    shutil.copytree(library(), tmp_path / "nnunet_lib")
    write(tmp_path / "00.ipynb", "import nnunet_lib; print(nnunet_lib.__file__)", parameters="")
    program = (
        "from pathlib import Path; from nnunet_lib.course.runner import run_course;"
        "run_course([Path('00.ipynb')], Path('out'), 'ci', 'phantom', 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    executed = (tmp_path / "out/00.ipynb").read_text()
    assert str(tmp_path / "nnunet_lib/__init__.py") in executed


def test_the_summary_passes_only_if_all_notebooks_do():
    failed = replace(RESULT, status="failed", problems=("why",))
    good, bad = (Summary("ci", "phantom", 0, r) for r in ((RESULT,), (RESULT, failed)))
    assert good.passed
    assert not bad.passed
    good.require_success()
    with pytest.raises(CourseError, match="1 of 2 failed: 00"):
        bad.require_success()

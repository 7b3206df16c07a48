"""Runs the course: every notebook in order, as papermill runs it, and says what came of each.

A notebook that fails does not stop the others: its traceback and its executed copy are kept,
and the summary says that the course failed.
"""

import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import nbformat
import papermill
import psutil
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from nnunet_lib.course import profiles
from nnunet_lib.course.claims import TABLE_HEADS, Claim, audit, collect, table_rows
from nnunet_lib.course.datasets import PHANTOM, find_dataset
from nnunet_lib.course.output import text_table
from nnunet_lib.course.pages import export_page
from nnunet_lib.course.sources import python_path
from nnunet_lib.deployment.probes import KERNEL
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json, write_text

_FALLBACK_KERNEL = "python3"
_SECONDS_BETWEEN_SAMPLES = 0.2
_MEBIBYTE = 2**20


class CourseError(InputError):
    """A notebook failed. The command line says so without a traceback of its own."""


@dataclass(frozen=True)
class NotebookResult:
    """What came of one notebook.

    Attributes:
        notebook: its name, without the ending.
        status: "passed" or "failed".
        seconds: wall time, the kernel's start included.
        peak_memory: MiB, the largest sum of resident memory over the kernel's processes.
        claims: every claim that ran.
        problems: why it failed, one line each; empty if it passed.
        executed: the executed copy; beside it lie an .html page and, after an error, a
            .traceback.txt of the same name.
    """

    notebook: str
    status: str
    seconds: float
    peak_memory: float
    claims: tuple[Claim, ...]
    problems: tuple[str, ...]
    executed: Path


@dataclass(frozen=True)
class Summary:
    """What came of the course; `describe` says it to people and `save` to programs."""

    profile: str
    dataset: str
    seed: int
    results: tuple[NotebookResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every notebook ran to its end and every claim held."""
        return all(result.status == "passed" for result in self.results)

    def require_success(self) -> None:
        """Raise if the course failed.

        Raises:
            CourseError: naming the notebooks that failed.
        """
        failed = [result.notebook for result in self.results if result.problems]
        if failed:
            raise CourseError(f"{len(failed)} of {len(self.results)} failed: {', '.join(failed)}.")

    def describe(self) -> str:
        """The table of notebooks, the ledger of claims, and each failure with its files."""
        parts = [text_table(_SUMMARY_HEADS, [_summary_row(result) for result in self.results])]
        claims = [claim for result in self.results for claim in result.claims]
        if claims:
            parts.append(text_table(TABLE_HEADS, table_rows(claims)))
        parts += [_failure(result) for result in self.results if result.problems]
        return "\n\n".join(parts)

    def save(self, output: Path) -> None:
        """Write summary.json and summary.txt into the output folder."""
        value = {
            "profile": self.profile,
            "dataset": self.dataset,
            "seed": self.seed,
            "passed": self.passed,
            "notebooks": [{**asdict(r), "executed": r.executed.name} for r in self.results],
        }
        write_json(output / "summary.json", value)
        write_text(output / "summary.txt", self.describe() + "\n")


def run_course(
    notebooks: Sequence[Path], output: Path, profile: str, dataset: str, seed: int
) -> Summary:
    """Run notebooks in the order of their names.

    Args:
        notebooks: folders, all notebooks of which are run, and single notebooks.
        output: gets the executed copies, their HTML pages, summary.json and summary.txt.
        profile: injected as PROFILE where a notebook has that parameter; so are the next two.
        dataset: DATASET; a path counts from the current folder.
        seed: SEED.

    Raises:
        InputError: if there is no notebook, profile or dataset of that name, or no kernel of
            this Python; if results would replace a notebook, or each other.
    """
    paths = _find_notebooks(notebooks)
    _require_own_results(paths, output)
    profiles.resolve(profile)
    # The kernel runs in the notebook's folder, so a path from here must be made absolute.
    place = dataset if dataset == PHANTOM else str(find_dataset(dataset))
    parameters = {"PROFILE": profile, "DATASET": place, "SEED": seed}
    kernel = find_kernel()
    output.mkdir(parents=True, exist_ok=True)
    results, pages = [], frozenset(path.stem for path in paths)
    with _own_library():
        for number, path in enumerate(paths, start=1):
            title = f"[{number}/{len(paths)}] {path.stem}"
            results.append(_run_notebook(path, output, parameters, kernel, title, pages))
    summary = Summary(profile, dataset, seed, tuple(results))
    summary.save(output)
    return summary


def find_kernel() -> str:
    """The name of a kernel that runs this very Python: the course's own, or python3.

    A kernel registered by another checkout would run other code, so both are looked at.

    Raises:
        InputError: if neither runs this Python.
    """
    for name in (KERNEL, _FALLBACK_KERNEL):
        try:
            command = KernelSpecManager().get_kernel_spec(name).argv[0]
        except NoSuchKernel:
            continue
        bare = os.path.basename(command) == command  # Jupyter runs "python" as its own Python
        if bare or os.path.abspath(command) == os.path.abspath(sys.executable):
            return name
    raise InputError(
        f"No Jupyter kernel runs {sys.executable}. Register one with: "
        f"{sys.executable} -m ipykernel install --sys-prefix --name {KERNEL}"
    )


@contextmanager
def _own_library() -> Iterator[None]:
    """Kernels that are started inside import this very library, wherever their Python has one."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = python_path()
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _find_notebooks(places: Sequence[Path]) -> list[Path]:
    """The notebooks at these places, each once, in the order of their names."""
    found: set[Path] = set()
    for place in places:
        here = set(place.glob("*.ipynb")) if place.is_dir() else {place}
        if not here or not all(path.is_file() for path in here):
            raise InputError(f"{place}: there is no notebook here. Name a folder of .ipynb files.")
        found |= here
    return sorted(found, key=lambda path: path.name)


def _require_own_results(paths: Sequence[Path], output: Path) -> None:
    """Each notebook's results have a place of their own, which is not the notebook itself."""
    by_name: dict[str, Path] = {}
    for path in paths:
        if (output / path.name).resolve() == path.resolve():
            raise InputError(
                f"{output}: holds {path.name} itself, which would be lost. Name "
                "another folder for the results."
            )
        other = by_name.setdefault(path.name, path)
        if other is not path:
            raise InputError(
                f"{path} and {other}: have one name, so that the results of the one "
                "would replace the other's. Run them one at a time."
            )


def _run_notebook(
    path: Path,
    output: Path,
    parameters: Mapping[str, Any],
    kernel: str,
    title: str,
    pages: frozenset[str],
) -> NotebookResult:
    """Run one notebook and keep all that can be learnt from it, whether it fails or not."""
    executed = output / path.name
    trace_file = executed.with_suffix(".traceback.txt")
    trace_file.unlink(missing_ok=True)
    executed.unlink(missing_ok=True)
    started = time.monotonic()
    with _peak_memory() as peak:
        failure = _execute(path, executed, parameters, kernel, title)
    seconds = time.monotonic() - started
    notebook = _read(executed, failure)
    if failure is not None:
        write_text(trace_file, failure.trace + "\n")
    export_page(notebook, executed.with_suffix(".html"), path, pages)
    problems = failure.problems if failure else _problems(notebook, parameters)
    status = "failed" if problems else "passed"
    memory = round(peak[0] / _MEBIBYTE, 1)
    claims = collect(notebook)
    return NotebookResult(path.stem, status, round(seconds, 1), memory, claims, problems, executed)


@dataclass(frozen=True)
class _Failure:
    """Why a notebook did not run to its end: the traceback, and the error's own lines."""

    trace: str
    problems: tuple[str, ...]


def _execute(
    path: Path, executed: Path, parameters: Mapping[str, Any], kernel: str, title: str
) -> _Failure | None:
    """Run a notebook in its own folder, as JupyterLab does; what went wrong if it fails."""
    try:
        known = papermill.inspect_notebook(str(path))
        papermill.execute_notebook(
            str(path),
            str(executed),
            parameters={name: value for name, value in parameters.items() if name in known},
            kernel_name=kernel,
            cwd=str(path.parent),
            progress_bar={"desc": title},
            extra_arguments=["--log-level=ERROR"],  # else its warnings break the progress bar
        )
    except PapermillExecutionError as error:
        return _Failure(str(error), tuple(f"{error.ename}: {error.evalue}".splitlines()))
    except Exception as error:  # a dead kernel, an unreadable file: the other notebooks still run
        own = traceback.format_exception_only(error)
        return _Failure(traceback.format_exc(), tuple("".join(own).splitlines()))
    return None


def _read(executed: Path, failure: _Failure | None) -> NotebookNode:
    """The executed copy, or an empty notebook where papermill could not even begin, or not end."""
    try:
        return nbformat.read(executed, as_version=4)
    except (OSError, ValueError):  # the latter: half-written on a full disk
        if failure is None:
            raise
        return nbformat.v4.new_notebook()


def _problems(notebook: NotebookNode, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Why a notebook that ran to its end counts as failed."""
    return _profile_problems(notebook, parameters["PROFILE"]) + audit(notebook)


def _profile_problems(notebook: NotebookNode, profile: str) -> tuple[str, ...]:
    """Whether the profile injected into the notebook is the one that its outputs show."""
    if "PROFILE" not in notebook.metadata.get("papermill", {}).get("parameters", {}):
        return ()
    bundles = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", ())]
    mime = profiles.PROFILE_MIME
    used = {bundle[mime]["name"] for bundle in bundles if mime in bundle}
    if used == {profile}:
        return ()
    shown = ", ".join(sorted(used)) or "none"
    return (f"PROFILE={profile} had no effect: the notebook used {shown} (use_profile).",)


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Watch this process's children; the list's one item becomes their peak memory in bytes.

    Processes that a kernel starts (workers, Horovod's ranks) count, each with all of its
    resident memory, so pages that two of them share count twice.
    """
    peak, done = [0], Event()

    def watch() -> None:
        while not done.wait(_SECONDS_BETWEEN_SAMPLES):
            peak[0] = max(peak[0], _children_memory())

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _children_memory() -> int:
    """Bytes of resident memory of all processes below this one."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:  # it ended between the listing and the question
            continue
    return total


_SUMMARY_HEADS = ("notebook", "status", "seconds", "peak MiB", "claims held")


def _summary_row(result: NotebookResult) -> tuple[str, ...]:
    """One line of the table of notebooks."""
    held = f"{sum(claim.held for claim in result.claims)} of {len(result.claims)}"
    memory = f"{result.peak_memory:.0f}"
    return (result.notebook, result.status, f"{result.seconds:.0f}", memory, held)


def _failure(result: NotebookResult) -> str:
    """What failed, and where to read on."""
    lines = [f"{result.notebook} failed:", *(f"  {problem}" for problem in result.problems)]
    trace_file = result.executed.with_suffix(".traceback.txt")
    lines += [f"  {path}" for path in (trace_file, result.executed) if path.exists()]
    return "\n".join(lines)

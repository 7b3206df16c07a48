"""An executed notebook as one HTML page, to be read where nothing can be run."""

import os
import re
from collections.abc import Collection
from copy import deepcopy
from pathlib import Path

from nbconvert import HTMLExporter
from nbformat import NotebookNode

from nnunet_lib.course.output import WIDGET_MIME
from nnunet_lib.files import write_text

_LINK = re.compile(r"\]\(([^()\s#:]*[./][^()\s#:]*)(#[^()\s]*)?\)")
"""A Markdown link to a file: its path, and the place in it. An address has a colon, and a formula's
brackets hold no dot or slash."""
_HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


def export_page(
    notebook: NotebookNode, page: Path, source: Path, others: Collection[str] = ()
) -> None:
    """Write the executed notebook as one HTML page.

    Widgets stay out: without a kernel they show nothing, and to draw them a page would load
    scripts from the network. What stands beside one in an output, as the slice viewer's montage
    does, takes its place; a progress bar has nothing but words beside it, and goes.

    Args:
        notebook: with its outputs.
        page: the file to write.
        source: the notebook's own file, from where its links count.
        others: names of the notebooks, without ending, that get pages beside this one.
    """
    still = deepcopy(notebook)
    still.metadata.pop("widgets", None)
    for cell in still.cells:
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if _without_widget(output)]
        if cell.cell_type == "markdown":
            cell.source = _with_links_from(page.parent, source.parent, others, cell.source)
    resources = {"metadata": {"name": title_of(still) or source.stem}}
    body, _ = HTMLExporter().from_notebook_node(still, resources)
    write_text(page, body)


def title_of(notebook: NotebookNode) -> str:
    """The notebook's first heading, or nothing."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = _HEADING.search(text)
    return found[1] if found else ""


def _with_links_from(here: Path, there: Path, others: Collection[str], text: str) -> str:
    """Links of a text that count from `there`, so that they count from `here`."""

    def relinked(match: re.Match[str]) -> str:
        path, place = Path(match[1]), match[2] or ""
        if path.suffix == ".ipynb" and path.parent == Path() and path.stem in others:
            return f"]({path.with_suffix('.html')}{place})"
        target = os.path.relpath((there / path).resolve(), here.resolve())
        return f"]({Path(target).as_posix()}{place})"

    return _LINK.sub(relinked, text)


def _without_widget(output: NotebookNode) -> bool:
    """Take the widget out of an output; whether the rest is worth showing."""
    data = output.get("data", {})
    return data.pop(WIDGET_MIME, None) is None or set(data) != {"text/plain"}

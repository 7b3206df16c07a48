"""Rich output: a picture or a table in a notebook, the same in words in a terminal."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

HELD, BROKEN, NEUTRAL = "#009E73", "#D55E00", "#0072B2"
"""Colours that those who see few of them tell apart (Okabe and Ito)."""
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def emit(bundle: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Show a bundle of one content in several MIME types, of which "text/plain" is one.

    In a notebook the front end picks the richest that it can show, and the executed file
    keeps them all. In a script the plain text is printed.
    """
    if in_notebook():
        display(dict(bundle), raw=True, metadata=dict(metadata or {}))
    else:
        print(bundle["text/plain"])


def framed(html: str, colour: str) -> str:
    """A paragraph with a bar of that colour beside it; what it means has to be a word, too."""
    style = f"border-left: 4px solid {colour}; padding: 0.2em 0.8em; margin: 0.4em 0"
    return f'<div style="{style}">{html}</div>'


def in_notebook() -> bool:
    """Whether IPython runs this code."""
    return InteractiveShell.initialized()


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Show rows under their heads. Numbers with a fraction get three decimals, None a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    emit({"text/plain": text_table(heads, cells), "text/html": html_table(heads, cells)})


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, rule, *rows)
    )
    return "\n".join(lines)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a page."""
    head = "".join(f'<th style="text-align: left">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(text: str) -> str:
    return f'<td style="text-align: left">{escape(text)}</td>'


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)

"""Rich output: a picture or a table in a notebook, the same in words in a terminal."""

from collections.abc import Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display


def emit(bundle: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Show a bundle of one content in several MIME types, of which "text/plain" is one.

    In a notebook the front end picks the richest that it can show, and the executed file
    keeps them all. In a script the plain text is printed.
    """
    if in_notebook():
        display(dict(bundle), raw=True, metadata=dict(metadata or {}))
    else:
        print(bundle["text/plain"])


def in_notebook() -> bool:
    """Whether IPython runs this code."""
    return InteractiveShell.initialized()

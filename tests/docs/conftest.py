"""What the tests of the pages share: a page's code blocks, tables and commands."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Page:
    """The text of a page of docs/."""

    text: str

    def blocks(self, language: str = "") -> list[str]:
        """The code blocks in a language; "" are those that name none."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)

    def rows(self) -> Iterator[list[str]]:
        """The cells of every row of every table, its heading too."""
        for line in self.text.splitlines():
            if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
                yield [cell.strip() for cell in line.split("|")[1:-1]]

    def commands(self, start: str = "") -> list[list[str]]:
        """The commands in the blocks that name no language, as words, from `start` on.

        Those without the words of `start` are left out.
        """
        lines = "".join(self.blocks()).replace("\\\n", " ").splitlines()
        begins = [line.find(start) for line in lines if line.strip()]
        found = zip((line for line in lines if line.strip()), begins, strict=True)
        return [shlex.split(line[at:], comments=True) for line, at in found if at >= 0]


@pytest.fixture
def page() -> Callable[[str], Page]:
    """Opens a page by its name."""
    return lambda name: Page((DOCS / name).read_text(encoding="utf-8"))

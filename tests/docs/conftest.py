"""What the tests of the pages share: a page's code blocks, tables and commands."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnunet_lib.cli.main import make_parser

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Page:
    """The text of a page."""

    text: str

    def blocks(self, language: str = "") -> list[str]:
        """The code blocks in a language; "" are those that name none."""
        found = re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)
        return [block for named, block in found if named == language]

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
    """Opens a page by its path in the repository."""
    return lambda name: Page((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def check_ours() -> Callable[[Iterable[str]], int]:
    """Checks code such as `train --fold 0` in sentences; returns how many options it found.

    Code that starts with a command of ours, or holds one after `nnunet_lib`, may go on with that
    command's options, and with values that they accept; code that starts with an option may name
    any command's.
    """
    commands = _commands()

    def check(sentences: Iterable[str]) -> int:
        code = [span.split() for text in sentences for span in re.findall(r"`([^`]+)`", text)]
        checked = 0
        for words in code:
            if "nnunet_lib" in words:
                words = words[words.index("nnunet_lib") + 1 :]
            if words[0] in commands:
                checked += _check_options(words[1:], [commands[words[0]]])
            elif words[0].startswith("--"):
                checked += _check_options(words, commands.values())
        return checked

    return check


def _commands() -> dict[str, argparse.ArgumentParser]:
    actions = make_parser()._actions
    (choices,) = [a.choices for a in actions if isinstance(a, argparse._SubParsersAction)]
    return dict(choices)


def _check_options(words: list[str], parsers: Iterable[argparse.ArgumentParser]) -> int:
    """Fail unless one of the parsers has each option, and takes the value that follows it."""
    options = [word for word in words if word.startswith("--")]
    for option in options:
        known = [p._option_string_actions[option] for p in parsers
                 if option in p._option_string_actions]  # fmt: skip
        assert known, f"{option} in `{' '.join(words)}`"
        value = words[words.index(option) + 1 :][:1]
        if value and not value[0].startswith("--"):
            parsed = (known[0].type or str)(value[0])
            assert known[0].choices is None or parsed in known[0].choices, words
    return len(options)

"""Reads the command line, runs one command, and turns errors for people into exit code 2."""

import argparse
import sys
from collections.abc import Sequence

from nnunet_lib import __version__
from nnunet_lib.cli import commands
from nnunet_lib.errors import InputError

WRONG_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m nnunet_lib` with these arguments; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = make_parser(words[0] if words else "").parse_args(words)
    try:
        return parsed.run(parsed) or 0
    except InputError as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)
        return WRONG_INPUT
    except OSError as error:  # a full disk, a folder where a file should be, no permission
        place = error.filename2 or error.filename or "a file"
        print(f"{parsed.command}: {place}: {error.strerror}.", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print(f"\n{parsed.command}: interrupted.", file=sys.stderr)
        return INTERRUPTED


def make_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands; with `chosen`, only that command knows its options.

    Options take their defaults from the stages, and importing a stage takes time, which the
    list of commands should not cost.
    """
    summary = "nnU-Net, step by step: from raw scans to segmentations."
    parser = argparse.ArgumentParser(prog="python -m nnunet_lib", description=summary)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands.ALL:
        about = command.summary
        sub = subparsers.add_parser(command.name, help=about, description=f"{about}.")
        if chosen in (None, command.name):
            command.add_options(sub)
        sub.set_defaults(run=command.run)
    return parser

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
    parsed = make_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except InputError as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print(f"\n{parsed.command}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m nnunet_lib", description=__doc__)
    parser.description = "nnU-Net, step by step: from raw scans to segmentations."
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands.ALL:
        summary = command.summary
        sub = subparsers.add_parser(command.name, help=summary, description=summary)
        command.add_options(sub)
        sub.set_defaults(run=command.run)
    return parser

"""Reads the command line, runs one command, and turns errors for people into exit code 2."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from nnunet_lib import __version__
from nnunet_lib.cli import commands
from nnunet_lib.errors import InputError, words_of

WRONG_INPUT = 2
INTERRUPTED = 130
NOT_READ = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m nnunet_lib` with these arguments; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = words[0] if words else ""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know all letters of a name
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = make_parser(command).parse_args(words)
        code = parsed.run(parsed) or 0
        if sys.stdout is not None:  # None if it was closed, as by `>&-`
            sys.stdout.flush()  # here, where a closed pipe or a full disk can still be told
        return code
    except InputError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return WRONG_INPUT
    except BrokenPipeError:  # whoever reads the output has seen enough, as in `doctor | head -1`
        _flush_or_drop()
        return NOT_READ
    except MemoryError as error:
        print(f"{command}: not enough memory ({error}).", file=sys.stderr)
        return WRONG_INPUT
    except OSError as error:
        print(f"{command}: {words_of(error)}", file=sys.stderr)
        _flush_or_drop()
        return WRONG_INPUT
    except KeyboardInterrupt:
        print(f"\n{command}: interrupted.", file=sys.stderr)
        return INTERRUPTED


def _flush_or_drop() -> None:
    """Print what waits to be printed; if that fails, let it go nowhere.

    Else Python complains of it as it ends.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

"""`course`: all lessons, one after the other."""

from pathlib import Path

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.errors import InputError

ALL = [Path("notebooks")]


def _options(parser: Parser) -> None:
    add_options(
        parser, "--notebooks", "--profile", "--dataset", "--seed", "--record",
        notebooks=ALL, profile="ci", dataset="phantom", seed=0, record=False,
    )  # fmt: skip
    meaning = "a folder for the lessons as they ran, and their pages"
    add_path(parser, "--output", meaning, default=Path("build/course"))


def _run(arguments: Arguments) -> None:
    from nnunet_lib.course import record, run_course

    if arguments.record and arguments.notebooks != ALL:
        raise InputError("--record is for the whole course: leave --notebooks out.")
    summary = run_course(
        arguments.notebooks,
        arguments.output,
        profile=arguments.profile,
        dataset=arguments.dataset,
        seed=arguments.seed,
    )
    print(summary.describe())
    summary.require_success()
    if arguments.record:
        print(f"\nRecorded in {record(summary)}")


COMMAND = Command("course", "run the lessons as a whole", _options, _run)

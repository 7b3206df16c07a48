"""`course`: all lessons, one after the other."""

from pathlib import Path

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options


def _options(parser: Parser) -> None:
    add_options(
        parser, "--notebooks", "--output", "--profile", "--dataset", "--seed",
        notebooks=Path("notebooks"), output=Path("build/course"),
        profile="ci", dataset="phantom", seed=0,
    )  # fmt: skip


def _run(arguments: Arguments) -> None:
    from nnunet_lib.course import run_course

    summary = run_course(
        arguments.notebooks,
        arguments.output,
        profile=arguments.profile,
        dataset=arguments.dataset,
        seed=arguments.seed,
    )
    print(summary.describe())
    summary.require_success()


COMMAND = Command("course", "run the lessons as a whole", _options, _run)

"""`progress`: which exercises are solved."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser


def _options(parser: Parser) -> None:
    del parser  # it has none


def _run(arguments: Arguments) -> None:
    from nnunet_lib.course.exercises.records import HEADS, progress_rows, progress_summary
    from nnunet_lib.course.output import text_table

    del arguments
    print(text_table(HEADS, progress_rows()))
    print(f"\n{progress_summary()}")


COMMAND = Command("progress", "show which exercises are solved", _options, _run)

"""`grade`: a class's exercises as a table."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.files import require_writable


def _options(parser: Parser) -> None:
    add_options(parser, "--submissions", "--seed", seed=0)
    add_path(parser, "--output", "the table to write, as CSV")


def _run(arguments: Arguments) -> None:
    from nnunet_lib.course.exercises.grading import describe_grades, grade, save_grades

    require_writable(arguments.output)
    grades = grade(arguments.submissions, arguments.seed)
    save_grades(grades, arguments.output)
    print(describe_grades(grades))
    print(f"\nWritten to {arguments.output}")


COMMAND = Command("grade", "check a class's exercise notebooks", _options, _run)

"""`evaluate`: from label maps to scores."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options


def _options(parser: Parser) -> None:
    add_options(parser, "--predictions", "--labels", "--results")
    add_options(parser, "--empty-as", empty_as="undefined")


def _run(arguments: Arguments) -> None:
    from nnunet_lib.evaluation import evaluate_folder

    report = evaluate_folder(arguments.predictions, arguments.labels, empty_as=arguments.empty_as)
    report.save(arguments.results)
    print(report.describe())


COMMAND = Command("evaluate", "compare label maps with the truth", _options, _run)

"""`evaluate`: from label maps to scores."""

import math
from typing import TYPE_CHECKING

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.errors import InputError
from nnunet_lib.parallel import cores

if TYPE_CHECKING:
    from nnunet_lib.distributed import Ranks
    from nnunet_lib.evaluation import EvaluationReport


def _options(parser: Parser) -> None:
    from nnunet_lib.evaluation import TOLERANCE

    add_path(parser, "--predictions", "the folder of predicted label maps")
    add_path(parser, "--labels", "the folder of true label maps")
    add_path(parser, "--results", "the report to write, as JSON; a table (.csv) comes beside it")
    add_options(
        parser, "--empty-as", "--surface", "--tolerance", "--workers",
        empty_as="undefined", surface=True, tolerance=TOLERANCE, workers=cores(),
    )  # fmt: skip


def _run(arguments: Arguments) -> None:
    from nnunet_lib import distributed
    from nnunet_lib.evaluation import TOLERANCE, EvaluationReport, check_results_path

    if not arguments.surface and arguments.tolerance != TOLERANCE:
        raise InputError("--no-surface measures nothing that --tolerance says. Leave one out.")
    check_results_path(arguments.results)  # before the work, not after it
    ranks = distributed.join()
    parts = ranks.gather_done(lambda: _part(arguments, ranks).to_json())
    if ranks.is_first:
        report = EvaluationReport.merged([EvaluationReport.from_json(item) for item in parts])
        report.save(arguments.results)
        print(report.describe())


def _part(arguments: Arguments, ranks: "Ranks") -> "EvaluationReport":
    """The report of this rank's share of the cases."""
    from nnunet_lib.evaluation import evaluate_folder, predicted_cases

    return evaluate_folder(
        arguments.predictions,
        arguments.labels,
        cases=ranks.share(predicted_cases(arguments.predictions)),
        empty_as=arguments.empty_as,
        tolerance=arguments.tolerance if arguments.surface else None,
        workers=math.ceil(arguments.workers / ranks.local_size),  # of this machine's cores
        progress=ranks.is_first,
    )


COMMAND = Command("evaluate", "compare label maps with the truth", _options, _run)

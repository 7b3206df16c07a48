"""`plan`: from a dataset to a plan."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser, cores
from nnunet_lib.cli.options import add_options, add_settings, settings_from


def _options(parser: Parser) -> None:
    from nnunet_lib.planning import PlannerSettings

    add_options(parser, "--data", "--output")
    add_options(parser, "--workers", workers=cores())
    add_settings(
        parser,
        PlannerSettings(),
        (
            "--dim",
            "--patch-size",
            "--target-spacing",
            "--memory",
            "--base-filters",
            "--batch-size",
            "--small-batches",
        ),
    )


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import PlannerSettings, plan_dataset

    dataset = Dataset.open(arguments.data)
    require_valid(dataset, arguments.workers, progress=True)
    settings = settings_from(arguments, PlannerSettings())
    _, plan = plan_dataset(dataset, settings, workers=arguments.workers)
    plan.save(arguments.output)
    print(plan.describe())


COMMAND = Command("plan", "read a dataset and decide how to segment it", _options, _run)

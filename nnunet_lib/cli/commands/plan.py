"""`plan`: from a dataset to a plan."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path, add_settings, settings_from
from nnunet_lib.errors import InputError
from nnunet_lib.files import require_writable
from nnunet_lib.parallel import cores


def _options(parser: Parser) -> None:
    from nnunet_lib.planning import PlannerSettings

    add_path(parser, "--data", "the dataset: a folder with a dataset.json")
    add_path(parser, "--output", "the plan to write, as JSON")
    add_options(
        parser, "--workers", "--preset", "--task", workers=cores(), preset="nnunet", task=None
    )
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
            "--small-steps",
        ),
        {"--batch-size": "what memory and cases allow, if not given"},
    )


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import (
        PlannerSettings,
        compute_fingerprint,
        find_preset,
        make_plan,
        plan_from_preset,
    )

    if (arguments.preset == "nvidia") != (arguments.task is not None):
        raise InputError(
            "--preset nvidia and --task go together. Give both, or for your own data neither."
        )
    require_writable(arguments.output)
    settings = settings_from(arguments, PlannerSettings())
    preset = None if arguments.task is None else find_preset(arguments.task)
    dataset = Dataset.open(arguments.data)
    if preset is not None:
        preset.require_fit(dataset.channels, settings)  # before all images are read
    require_valid(dataset, arguments.workers, progress=True)
    fingerprint = compute_fingerprint(dataset, arguments.workers)
    if preset is None:
        plan = make_plan(fingerprint, settings)
    else:
        plan = plan_from_preset(fingerprint, preset, settings)
    plan.save(arguments.output)
    print(plan.describe())


COMMAND = Command("plan", "read a dataset and decide how to segment it", _options, _run)

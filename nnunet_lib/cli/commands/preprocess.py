"""`preprocess`: from scans to arrays that training reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.errors import InputError
from nnunet_lib.parallel import cores

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_lib.datasets import Dataset
    from nnunet_lib.planning import Plan


def _options(parser: Parser) -> None:
    add_path(parser, "--data", "the dataset: a folder with a dataset.json")
    add_path(parser, "--results", "a folder for the preprocessed cases")
    add_options(
        parser, "--dim", "--exec-mode", "--plan", "--workers",
        dimensions=None, exec_mode="training", plan=None, workers=cores(),
    )  # fmt: skip


def _plan_of(path: Path, dataset: Dataset) -> Plan:
    """The plan of an earlier run, if it is one for this dataset."""
    from nnunet_lib.planning import Plan

    plan = Plan.load(path)
    if (plan.channels, plan.labels) != (dataset.channels, dataset.labels):
        raise InputError(
            f"{path}: was made for the channels {', '.join(plan.channels)} and the labels "
            f"{', '.join(plan.labels)}; {dataset.root / 'dataset.json'} has "
            f"{', '.join(dataset.channels)} and {', '.join(dataset.labels)}. Name the plan to "
            "follow with --plan, or another folder with --results."
        )
    return plan


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import Plan, PlannerSettings, plan_dataset
    from nnunet_lib.preprocessing import preprocess

    dataset = Dataset.open(arguments.data)
    require_valid(dataset, arguments.workers, progress=True)
    fingerprint = None
    before = arguments.results / f"{arguments.dimensions or 3}d" / "plan.json"
    if arguments.plan is not None:
        plan = Plan.load(arguments.plan)
    elif before.is_file():
        print(f"Following the plan that is there: {before}")
        plan = _plan_of(before, dataset)
    else:
        settings = PlannerSettings(dimensions=arguments.dimensions or 3)
        fingerprint, plan = plan_dataset(dataset, settings, workers=arguments.workers)
    if arguments.dimensions not in (None, plan.dimensions):
        raise InputError(
            f"{arguments.plan}: is a {plan.dimensions}D plan, but --dim {arguments.dimensions} "
            "was given. Leave --dim out, or make a plan for it."
        )
    done = preprocess(
        dataset,
        plan,
        arguments.results,
        mode=arguments.exec_mode,
        workers=arguments.workers,
        fingerprint=fingerprint,
    )
    print(f"{len(done.identifiers)} cases: {done.folder}")


COMMAND = Command("preprocess", "crop, normalise and resample the cases", _options, _run)

"""`preprocess`: from scans to arrays that training reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.errors import InputError
from nnunet_lib.files import require_writable
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


def _chosen_plan(arguments: Arguments, dataset: Dataset) -> Plan | None:
    """The plan that was named, or else that of an earlier run; None where there is neither."""
    from nnunet_lib.planning import Plan
    from nnunet_lib.preprocessing import require_fit

    before = arguments.results / f"{arguments.dimensions or 3}d" / "plan.json"
    path = arguments.plan or before
    if arguments.plan is None and not before.is_file():
        return None
    plan = Plan.load(path)
    if arguments.plan is None:
        print(f"Following the plan that is there: {before}")
        _require_same_names(plan, path, dataset)
    if arguments.dimensions not in (None, plan.dimensions):
        raise InputError(
            f"{path}: is a {plan.dimensions}D plan, but --dim {arguments.dimensions} "
            "was given. Leave --dim out, or make a plan for it."
        )
    require_fit(plan, dataset)
    return plan


def _require_same_names(plan: Plan, path: Path, dataset: Dataset) -> None:
    """A plan that was not named has to be one for this dataset."""
    if (plan.channels, plan.labels) != (dataset.channels, dataset.labels):
        raise InputError(
            f"{path}: was made for the channels {', '.join(plan.channels)} and the labels "
            f"{', '.join(plan.labels)}; {dataset.root / 'dataset.json'} has "
            f"{', '.join(dataset.channels)} and {', '.join(dataset.labels)}. Name the plan to "
            "follow with --plan, or another folder with --results."
        )


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import PlannerSettings, compute_fingerprint, make_plan
    from nnunet_lib.preprocessing import preprocess

    dataset, fingerprint = Dataset.open(arguments.data), None
    plan = _chosen_plan(arguments, dataset)  # before all images are read
    settings = PlannerSettings(dimensions=arguments.dimensions or 3)
    require_writable(arguments.results / f"{(plan or settings).dimensions}d" / "plan.json")
    require_valid(dataset, arguments.workers, progress=True)
    if plan is None:
        fingerprint = compute_fingerprint(dataset, arguments.workers)
        plan = make_plan(fingerprint, settings)
    done = preprocess(
        dataset,
        plan,
        arguments.results,
        mode=arguments.exec_mode,
        workers=arguments.workers,
        fingerprint=fingerprint,
    )
    print(f"Cases in {done.folder}: {len(done.identifiers)}")


COMMAND = Command("preprocess", "crop, normalise and resample the cases", _options, _run)

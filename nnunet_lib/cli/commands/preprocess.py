"""`preprocess`: from scans to arrays that training reads."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options
from nnunet_lib.errors import InputError
from nnunet_lib.parallel import cores


def _options(parser: Parser) -> None:
    add_options(parser, "--data", "--results")
    add_options(
        parser, "--dim", "--exec-mode", "--plan", "--workers",
        dimensions=None, exec_mode="training", plan=None, workers=cores(),
    )  # fmt: skip


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
        plan = Plan.load(before)
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

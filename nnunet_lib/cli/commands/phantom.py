"""`phantom`: make an artificial dataset."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path


def _options(parser: Parser) -> None:
    add_path(parser, "--output", "a folder to make, which will be the dataset")
    add_options(
        parser, "--cases", "--modality", "--channels", "--seed",
        cases=20, modality="mri", channels=1, seed=0,
    )  # fmt: skip


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import make_phantom

    dataset = make_phantom(
        arguments.output,
        cases=arguments.cases,
        modality=arguments.modality,
        channels=arguments.channels,
        seed=arguments.seed,
    )
    print(
        f"{len(dataset.training)} labelled and {len(dataset.test)} unlabelled cases: {dataset.root}"
    )


COMMAND = Command("phantom", "make a small artificial dataset", _options, _run)

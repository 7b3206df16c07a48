"""`convert`: from a folder of loose NIfTI files to a dataset in MSD layout."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path
from nnunet_lib.errors import InputError


def _options(parser: Parser) -> None:
    add_path(parser, "--input", "the folder of loose files")
    add_path(parser, "--output", "a folder to make, which will be the dataset")
    add_options(parser, "--suffixes", "--label-suffix", "--structures")


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import convert

    names = [name for name, _ in arguments.suffixes]
    if len(set(names)) < len(names):
        raise InputError(f"The channels are {', '.join(names)}. Give each a name of its own.")
    dataset = convert(
        arguments.input,
        arguments.output,
        channels=dict(arguments.suffixes),
        label_suffix=arguments.label_suffix,
        labels=arguments.structures,
        progress=True,
    )
    print(f"Cases in {dataset.root}: {len(dataset.training)}")


COMMAND = Command(
    "convert", "put loose NIfTI files into MSD layout, and check them", _options, _run
)

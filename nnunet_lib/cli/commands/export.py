"""`export`: from a run folder to a SavedModel that needs none of this library."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path


def _options(parser: Parser) -> None:
    add_path(parser, "--model", "a run that `train` has written")
    add_path(parser, "--output", "a folder to make, which will be the SavedModel")
    add_options(parser, "--checkpoint", "--overwrite", checkpoint="last", overwrite=False)


def _run(arguments: Arguments) -> None:
    from nnunet_lib.deployment import export

    written = export(
        arguments.model,
        arguments.output,
        checkpoint=arguments.checkpoint,
        overwrite=arguments.overwrite,
    )
    print(f"SavedModel: {written}")


COMMAND = Command("export", "write a trained network for use elsewhere", _options, _run)

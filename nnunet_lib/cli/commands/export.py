"""`export`: from a run folder to a SavedModel that needs none of this library."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options


def _options(parser: Parser) -> None:
    add_options(parser, "--model", "--output")
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

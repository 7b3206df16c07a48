"""`predict`: from scans to label maps."""

from nnunet_lib.cli.commands.command import WINDOW_FLAGS, Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_settings, settings_from


def _options(parser: Parser) -> None:
    from nnunet_lib.inference import InferenceSettings

    add_options(parser, "--model", "--input", "--output")
    add_options(parser, "--checkpoint", "--subset", checkpoint="last", subset="all")
    add_settings(parser, InferenceSettings(), (*WINDOW_FLAGS, "--save-probabilities"))


def _run(arguments: Arguments) -> None:
    from nnunet_lib.inference import InferenceSettings, predict

    written = predict(
        arguments.model,
        arguments.input,
        arguments.output,
        settings_from(arguments, InferenceSettings()),
        checkpoint=arguments.checkpoint,
        subset=arguments.subset,
    )
    print(f"{len(written)} label maps: {arguments.output}")


COMMAND = Command("predict", "segment images that the model has not seen", _options, _run)

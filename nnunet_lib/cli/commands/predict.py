"""`predict`: from scans to label maps."""

from nnunet_lib.cli.commands.command import COMPUTE_FLAGS, WINDOW_FLAGS, Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path, add_settings, settings_from


def _options(parser: Parser) -> None:
    from nnunet_lib.inference import InferenceSettings
    from nnunet_lib.model import ComputeSettings

    add_path(
        parser,
        "--model",
        "a run that `train` has written; several are averaged, and the folder of a "
        "cross-validation stands for its folds",
        many=True,
    )
    add_path(parser, "--input", "an image, or a folder of images")
    add_path(parser, "--output", "a folder for the label maps, or for one image a .nii.gz file")
    add_options(
        parser, "--checkpoint", "--subset", "--postprocess",
        checkpoint="last", subset="all", postprocess=True,
    )  # fmt: skip
    add_settings(parser, InferenceSettings(), (*WINDOW_FLAGS, "--save-probabilities"))
    add_settings(parser, ComputeSettings(), COMPUTE_FLAGS)


def _run(arguments: Arguments) -> None:
    from nnunet_lib.distributed import join
    from nnunet_lib.inference import InferenceSettings, predict
    from nnunet_lib.model import ComputeSettings

    written = predict(
        arguments.model,
        arguments.input,
        arguments.output,
        settings_from(arguments, InferenceSettings()),
        checkpoint=arguments.checkpoint,
        subset=arguments.subset,
        postprocess=arguments.postprocess,
        compute=settings_from(arguments, ComputeSettings()),
    )
    if join().is_first:
        print(f"Label maps written to {arguments.output}: {len(written)}")


COMMAND = Command("predict", "segment images that the model has not seen", _options, _run)

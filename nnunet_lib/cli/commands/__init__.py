"""The commands, one module each: its options, and the call of the library that it stands for.

Stages are imported inside the functions, so that `--help` answers at once.
"""

from nnunet_lib.cli.commands import (
    benchmark,
    convert,
    course,
    doctor,
    download,
    evaluate,
    export,
    grade,
    phantom,
    plan,
    predict,
    preprocess,
    progress,
    train,
)
from nnunet_lib.cli.commands.command import Command

ALL: tuple[Command, ...] = (
    phantom.COMMAND,
    download.COMMAND,
    convert.COMMAND,
    plan.COMMAND,
    preprocess.COMMAND,
    train.COMMAND,
    predict.COMMAND,
    evaluate.COMMAND,
    export.COMMAND,
    course.COMMAND,
    progress.COMMAND,
    grade.COMMAND,
    benchmark.COMMAND,
    doctor.COMMAND,
)
"""In the order in which people use them."""

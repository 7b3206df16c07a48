"""`benchmark`: how fast this machine trains, predicts and loads."""

from nnunet_lib.cli.commands.command import COMPUTE_FLAGS, Arguments, Command, Parser
from nnunet_lib.cli.options import add_path, add_settings, settings_from
from nnunet_lib.files import require_writable

_FLAGS = (
    "--mode",
    "--dim",
    "--batch-size",
    "--patch-size",
    "--base-filters",
    "--channels",
    "--loader",
    "--steps",
    "--warmup-steps",
)


_MADE_UP = {
    "--batch-size": "2, or with --dim 2 32",
    "--patch-size": "64 64 64, or with --dim 2 96 80",
    "--base-filters": "12",
    "--channels": "4",
}
_MORE = {flag: f"if not given the plan's, without --data {size}" for flag, size in _MADE_UP.items()}


def _options(parser: Parser) -> None:
    from nnunet_lib.deployment.settings import BenchmarkSettings

    defaults = BenchmarkSettings()
    add_settings(parser, defaults, _FLAGS, _MORE)
    add_settings(parser, defaults.compute, COMPUTE_FLAGS)
    add_path(parser, "--data", "what `preprocess` has written; else made-up cases", default=None)
    add_path(parser, "--output", "a report to write, as JSON", default=None)


def _run(arguments: Arguments) -> None:
    from nnunet_lib.deployment import BenchmarkSettings, run_benchmark
    from nnunet_lib.distributed import join

    if arguments.output is not None:
        require_writable(arguments.output)
    defaults = BenchmarkSettings()
    compute = settings_from(arguments, defaults.compute)
    settings = settings_from(arguments, defaults, compute=compute)
    report = run_benchmark(settings, arguments.data)
    if not join().is_first:
        return
    print(report.describe())
    if arguments.output is not None:
        report.save(arguments.output)


COMMAND = Command(
    "benchmark",
    "measure how fast this machine trains, predicts or loads; without --data on made-up cases of "
    "half NVIDIA's size for BraTS",
    _options,
    _run,
)

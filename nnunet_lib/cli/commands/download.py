"""`download`: a public dataset, fetched and unpacked."""

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options, add_path


def _options(parser: Parser) -> None:
    from nnunet_lib.datasets.download import BASE_URL

    add_options(parser, "--task")
    add_path(parser, "--output", "the folder that the dataset's folder comes into")
    add_options(parser, "--base-url", base_url=BASE_URL)


def _run(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, find_task
    from nnunet_lib.datasets.download import download_task, is_downloaded

    task = find_task(arguments.task)
    if is_downloaded(arguments.output / task.name):
        print(f"{arguments.output / task.name} is there already, and was left alone.")
        return
    dataset = Dataset.open(download_task(task, arguments.output, arguments.base_url))
    print(
        f"{len(dataset.training)} labelled and {len(dataset.test)} unlabelled cases: {dataset.root}"
    )


COMMAND = Command("download", "fetch a task of the Medical Segmentation Decathlon", _options, _run)

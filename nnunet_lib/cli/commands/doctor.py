"""`doctor`: what works on this machine, and how to mend what does not."""

import json

from nnunet_lib.cli.commands.command import Arguments, Command, Parser
from nnunet_lib.cli.options import add_options


def _options(parser: Parser) -> None:
    add_options(parser, "--json", json=False)


def _run(arguments: Arguments) -> int:
    from nnunet_lib.deployment import diagnose

    diagnosis = diagnose()
    print(json.dumps(diagnosis.to_json(), indent=2) if arguments.json else diagnosis.describe())
    return 0 if diagnosis.healthy else 1


COMMAND = Command(
    "doctor", "say what works on this machine, and how to mend the rest", _options, _run
)

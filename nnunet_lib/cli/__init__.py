"""The command line: `python -m nnunet_lib <command>`."""

from nnunet_lib.cli.main import main

__all__ = ["main"]

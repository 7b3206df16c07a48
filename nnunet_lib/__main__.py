"""`python -m nnunet_lib <command>`."""

import signal
import sys

from nnunet_lib.cli import main

if __name__ == "__main__":
    # What a cluster's queue sends when time is up ends a command as Ctrl-C does, which leaves
    # nothing half-written behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())

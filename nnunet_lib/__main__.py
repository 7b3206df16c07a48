"""`python -m nnunet_lib <command>`."""

import sys

from nnunet_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())

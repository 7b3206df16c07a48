"""The one exception that is written for people."""


class InputError(Exception):
    """Something the user gave is wrong.

    The message says what is wrong, in which file, and what to do. The command line prints
    it without a traceback and exits with code 2; a notebook shows it without one, too.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a traceback's place."""
        return [str(self)]

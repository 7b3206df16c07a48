"""The one exception that is written for people."""

from typing import Any, get_args


class InputError(Exception):
    """Something the user gave is wrong.

    The message says what is wrong, in which file, and what to do. The command line prints
    it without a traceback and exits with code 2; a notebook shows it without one, too.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a traceback's place."""
        return [str(self)]


def words_of(error: InputError | OSError) -> str:
    """What an error says to people; the operating system's with the file that it is about."""
    if isinstance(error, InputError):
        return str(error)
    # a full disk, a folder where a file should be, no permission
    return f"{error.filename2 or error.filename or 'a file'}: {error.strerror or error}."


def require_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a value that is none of a `Literal`'s.

    Raises:
        InputError: naming the setting, its value and what it may be.
    """
    if value not in get_args(choices):
        known = ", ".join(get_args(choices))
        raise InputError(f"{name} {value}: must be one of {known}.")

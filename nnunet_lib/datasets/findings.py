"""What is wrong with a dataset's file, and what to do about it."""

from dataclasses import dataclass
from pathlib import Path

from nnunet_lib.errors import InputError


@dataclass(frozen=True)
class Finding:
    """One fault: the file, what is wrong with it, and what to do. Prints as one line."""

    path: Path
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}."


class FindingError(InputError):
    """An `InputError` about one file; `finding` holds it in parts, for reports."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        self.finding = Finding(path, problem, remedy)
        super().__init__(str(self.finding))

    def __reduce__(self) -> tuple[type["FindingError"], tuple[Path, str, str]]:
        """How a worker process hands it on; by default it would be made from its message alone."""
        return type(self), (self.finding.path, self.finding.problem, self.finding.remedy)

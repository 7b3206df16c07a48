"""Workshops of half a day, one day and two, timed by the lessons' recorded minutes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnunet_lib.course.timings import Timing
from nnunet_lib.errors import InputError

BEGIN = "<!-- Timetables: written by `course --record`, from timings.json -->"
END = "<!-- End of the timetables -->"

MORNING, NOON = 9 * 60, 12 * 60  # minutes after midnight
LUNCH, BREAK = 60, 15
_LONGEST_SITTING = 75  # minutes after which the next lesson waits for a break
_ROUNDED_TO = 5
_USUAL = ("ci", "phantom")  # what participants run


@dataclass(frozen=True)
class Workshop:
    """Which lessons are taught on each of its days, by number."""

    name: str
    days: tuple[tuple[str, ...], ...]


WORKSHOPS = (
    Workshop("Half a day: what nnU-Net decides, and how it predicts", (("00", "01", "02", "10"),)),
    Workshop(
        "One day: from a scan to your own data",
        (("00", "01", "02", "04", "05", "06", "10", "11"),),
    ),
    Workshop(
        "Two days: the whole course",
        (("00", "01", "02", "03", "04", "05"), ("06", "07", "08", "09", "10", "11")),
    ),
)


def timetables(rows: Sequence[Timing]) -> str:
    """The timetables as Markdown, from the rows of profile "ci" on the phantom."""
    lessons = {row.notebook[:2]: row for row in rows if (row.profile, row.data) == _USUAL}
    if not lessons:
        return "The lessons' times have not been recorded yet."
    return "\n\n".join(_workshop(workshop, lessons) for workshop in WORKSHOPS)


def minutes(lesson: Timing) -> int:
    """To read, to try things out, and to wait for the computer, rounded up to five minutes."""
    exact = lesson.read + lesson.try_out + lesson.seconds / 60
    return _ROUNDED_TO * math.ceil(exact / _ROUNDED_TO)


def _workshop(workshop: Workshop, lessons: dict[str, Timing]) -> str:
    parts = [f"### {workshop.name}"]
    for number, day in enumerate(workshop.days, start=1):
        if len(workshop.days) > 1:
            parts.append(f"Day {number}")
        slots = _slots([lessons[lesson] for lesson in day if lesson in lessons])
        table = [f"| {_clock(start)} | {what} | {length} |" for start, what, length in slots]
        parts.append("\n".join(["| from | | minutes |", "| --- | --- | --- |", *table]))
    return "\n\n".join(parts)


def _slots(lessons: Sequence[Timing]) -> Iterator[tuple[int, str, int | str]]:
    """(start, what, minutes) of a day, with breaks and one lunch; the last one is its end."""
    now, sat, lunched = MORNING, 0, False
    for number, lesson in enumerate(lessons):
        if number and not lunched and now >= NOON:
            yield now, "lunch", LUNCH
            now, sat, lunched = now + LUNCH, 0, True
        elif sat >= _LONGEST_SITTING:
            yield now, "break", BREAK
            now, sat = now + BREAK, 0
        length = minutes(lesson)
        yield now, f"[{lesson.title}](../notebooks/{lesson.notebook}.ipynb)", length
        now, sat = now + length, sat + length
    yield now, "end", ""


def _clock(time: int) -> str:
    return f"{time // 60:02d}:{time % 60:02d}"


def with_timetables(page: str, rows: Sequence[Timing]) -> str:
    """The page with the timetables between their two marks.

    Raises:
        InputError: if the page has no such marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise InputError(f"The page has no lines {BEGIN!r} and {END!r}.")
    return f"{before}{BEGIN}\n\n{timetables(rows)}\n\n{END}{after}"

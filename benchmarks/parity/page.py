"""PARITY.md: the rows, and the plans."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.parity.ours import Row
from nnunet_lib.planning.plan import times


def page(rows: Iterable[Row], plans: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Rows, the planner's outcomes, and whose versions answered."""
    return "\n".join(
        [
            "# As right as the reference",
            "",
            "Written by `make bench-parity`, never by hand; the tests hold the same rows with "
            "smaller inputs and committed answers.",
            "",
            "The same input for each side; the worst difference over all cases. Without a bound, "
            "the two differ by choice or convention, and the note says how.",
            "",
            "| quantity | against | bound | worst | | note |",
            "| --- | --- | --- | --- | --- | --- |",
            *(_line(row) for row in rows),
            "",
            "## The plans that both planners make",
            "",
            "nnU-Net's, with 8 GB; the rows above count where the library's differ.",
            "",
            "| dataset | | axes | spacing (mm) | patch | batch | strides | kernels |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *_plans(plans),
            "",
            "Peers: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
            "",
        ]
    )


def _line(row: Row) -> str:
    bound = "" if row.bound is None else f"{row.bound:g}"
    outcome = "" if row.bound is None else "held" if row.held else "**not held**"
    return f"| {row.quantity} | {row.peer} | {bound} | {row.worst:.2g} | {outcome} | {row.note} |"


def _plans(plans: Mapping[str, Any]) -> Iterator[str]:
    for name, configurations in plans.items():
        for dimensions, plan in configurations.items():
            axes = "".join("zyx"[axis] for axis in plan["axis_order"])
            strides, kernels = (
                " ".join("".join(map(str, stage)) for stage in plan[key])
                for key in ("strides", "kernels")
            )
            spacing = times([round(value, 4) for value in plan["target_spacing"]])
            yield (
                f"| {name} | {dimensions}D | {axes} | {spacing} | {times(plan['patch_size'])} "
                f"| {plan['batch_size']} | {strides} | {kernels} |"
            )

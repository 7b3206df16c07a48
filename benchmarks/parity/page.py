"""The section "Right" of RESULTS.md."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.parity.ours import Row
from nnunet_lib.datasets.nifti import times


def section(values: Mapping[str, Any]) -> str:
    """What parity.json holds: the rows, the plans, and whose versions answered."""
    rows = [Row(**row) for row in values["rows"]]
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    of = f", of {values['scan']}," if isinstance(values["scan"], str) else ""
    real = f"A real scan{of}" if values["scan"] else "No real scan"
    return "\n".join(
        [
            "## Right",
            "",
            "The same input for each side; the worst difference over all cases. Without a bound, "
            "the two differ by choice or convention, and the note says how. The tests hold the "
            f"same rows with smaller inputs and committed answers. {real} is among the cases. "
            f"Peers: {versions}.",
            "",
            "| quantity | against | bound | worst | | note |",
            "| --- | --- | --- | --- | --- | --- |",
            *map(_line, rows),
            "",
            "### The plans that both planners make",
            "",
            "nnU-Net's, with 8 GB; the rows above count where the library's differ.",
            "",
            "| dataset | | axes | spacing (mm) | patch | batch | strides | kernels |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *values["plans"],
            "",
        ]
    )


def _line(row: Row) -> str:
    bound = "" if row.bound is None else f"{row.bound:g}"
    outcome = "" if row.bound is None else "held" if row.held else "**not held**"
    return f"| {row.quantity} | {row.peer} | {bound} | {row.worst:.2g} | {outcome} | {row.note} |"


def plan_lines(plans: Mapping[str, Any]) -> Iterator[str]:
    """One line of the table for each of nnU-Net's plans, as planning.json has them."""
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

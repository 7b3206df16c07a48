"""What figures were measured on."""

import os
import platform

import psutil

from nnunet_lib.model.compute import has_avx512


def machine() -> str:
    """Processor, cores and memory.

    And which processor it is exactly: of three that all call themselves AMD EPYC, one multiplied
    four times as fast as the slowest, and one without AVX-512 has other kernels.
    """
    about = _about_the_processor()
    name = about.get("model name") or platform.processor()
    if "cpu family" in about:
        name += f" (family {about['cpu family']}, model {about['model']})"
    memory = psutil.virtual_memory().total / 2**30
    instructions = "with AVX-512" if has_avx512() else "without AVX-512"
    return f"{name} {instructions}, {os.cpu_count()} cores, {memory:.0f} GiB of memory"


def _about_the_processor() -> dict[str, str]:
    """What Linux says of the first one; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}

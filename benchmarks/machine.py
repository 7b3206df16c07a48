"""What figures were measured on."""

import os
import platform

import psutil

from nnunet_lib.model.compute import has_avx512


def machine() -> str:
    """Processor, cores and memory.

    And whether it has AVX-512: of two processors called AMD EPYC, the one without needed four
    times as long for a training step.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    memory = psutil.virtual_memory().total / 2**30
    processor = names[0] if names else platform.processor()
    instructions = "with AVX-512" if has_avx512() else "without AVX-512"
    return f"{processor} {instructions}, {os.cpu_count()} cores, {memory:.0f} GiB of memory"

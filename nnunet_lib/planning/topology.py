"""From patch size and spacing to the network's stages, and what they need in memory.

Taught in lesson 04. Source: Isensee et al., Nature Methods 18 (2021), supplementary note 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST_EDGE = 4  # voxels of an axis that remain at the bottleneck
CONVOLUTIONS_PER_STAGE = 2


@dataclass(frozen=True)
class Topology:
    """A patch size and the stages of the U-Net that fits it, one tuple of axes a stage."""

    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def divisors(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What the patch size must be a multiple of, one number an axis: the strides' product."""
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def plan_topology(spacing: Sequence[float], size: Sequence[float]) -> Topology:
    """Pool each axis as often as its size and spacing allow; round the patch size up to fit.

    Args:
        spacing: millimetres an axis of the network's input.
        size: voxels an axis that the patch has at least.
    """
    spacings, sizes = list(spacing), list(size)
    kernel = (1,) * len(sizes)
    strides, kernels = [(1,) * len(sizes)], []
    while pooled := _axes_to_pool(spacings, sizes):
        kernel = _grown(kernel, spacings)
        kernels.append(kernel)
        strides.append(tuple(2 if axis in pooled else 1 for axis in range(len(sizes))))
        for axis in pooled:
            spacings[axis] *= 2
            sizes[axis] = math.ceil(sizes[axis] / 2)
    kernels.append((3,) * len(sizes))
    return Topology(_rounded_up(size, divisors(strides)), tuple(strides), tuple(kernels))


def _axes_to_pool(spacings: Sequence[float], sizes: Sequence[float]) -> list[int]:
    """The axes that are large enough, and as fine as the finest of those within a factor of 2."""
    large = [axis for axis, size in enumerate(sizes) if size >= 2 * SMALLEST_EDGE]
    if not large:
        return []
    finest = min(spacings[axis] for axis in large)
    axes = [axis for axis in large if spacings[axis] / finest < 2]
    # One axis alone must be larger: pooling it gains little.
    return [] if len(axes) == 1 and sizes[axes[0]] < 3 * SMALLEST_EDGE else axes


def _grown(kernel: Sequence[int], spacings: Sequence[float]) -> tuple[int, ...]:
    """Kernel 3 along each axis that has it already or is within a factor of 2 of the finest."""
    finest = min(spacings)
    pairs = zip(kernel, spacings, strict=True)
    return tuple(3 if width == 3 or spacing / finest < 2 else 1 for width, spacing in pairs)


def _rounded_up(size: Sequence[float], multiples: Sequence[int]) -> tuple[int, ...]:
    pairs = zip(size, multiples, strict=True)
    return tuple(multiple * math.ceil(voxels / multiple) for voxels, multiple in pairs)


def stage_filters(stages: int, base_filters: int, dimensions: int) -> tuple[int, ...]:
    """Channels of each stage: doubled from stage to stage, at most 320 in 3D and 512 in 2D."""
    limit = 512 if dimensions == 2 else 320
    return tuple(min(base_filters * 2**stage, limit) for stage in range(stages))


def memory_estimate(topology: Topology, filters: Sequence[int], number_of_labels: int) -> int:
    """How many activations one patch leaves behind in the U-Net: its share of the memory.

    Counts the outputs of all convolutions, transposed ones and the finest segmentation
    included, as voxels times channels. Weights, gradients and framework are not in it; the
    planner's reference values account for them.
    """
    voxels = _stage_voxels(topology)
    sizes = list(zip(voxels, filters, strict=True))
    encoder = sum(CONVOLUTIONS_PER_STAGE * size * channels for size, channels in sizes)
    # Each decoder level has its convolutions and the transposed one that leads into it.
    decoder = sum((CONVOLUTIONS_PER_STAGE + 1) * size * channels for size, channels in sizes[:-1])
    return encoder + decoder + voxels[0] * number_of_labels


def _stage_voxels(topology: Topology) -> list[int]:
    """Voxels of a patch at each stage, finest first."""
    voxels, counts = math.prod(topology.patch_size), []
    for stride in topology.strides:
        voxels //= math.prod(stride)
        counts.append(voxels)
    return counts

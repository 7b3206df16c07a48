"""Make surfaces.json: what MedPy says of random masks. `python make_surfaces.py` in its folder.

It ran in an environment of its own: surfaces.json names the versions, and the library does not
need MedPy. MedPy has neither a surface Dice nor a directed percentile, so that only the directed
distances that these come from are its own.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from medpy.metric import binary
from scipy.ndimage import gaussian_filter

TOLERANCE = 1.25
directed = vars(binary)["__surface_distances"]


def blob(generator, shape):
    """A random mask with smooth borders, some of which touch the image's own."""
    noise = gaussian_filter(generator.normal(size=shape), 2)
    return noise > np.quantile(noise, generator.uniform(0.5, 0.8))


def reference(seed, shape, spacing):
    """One pair of masks, bits in hexadecimal, and its scores."""
    generator = np.random.default_rng(seed)
    prediction, truth = blob(generator, shape), blob(generator, shape)
    there = directed(prediction, truth, spacing)
    back = directed(truth, prediction, spacing)
    return {
        "shape": shape,
        "spacing": spacing,
        "prediction": np.packbits(prediction).tobytes().hex(),
        "truth": np.packbits(truth).tobytes().hex(),
        "hd95_mm": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd_mm": binary.assd(prediction, truth, spacing),
        "surface_dice": np.mean(np.concatenate([there, back]) <= TOLERANCE),
    }


if __name__ == "__main__":
    pairs = [
        reference(0, (10, 12, 14), (1.0, 1.0, 1.0)),
        reference(1, (7, 15, 12), (3.0, 0.5, 0.75)),
        reference(2, (12, 9, 11), (0.9, 2.5, 1.1)),
    ]
    versions = {name: version(name) for name in ("MedPy", "numpy", "scipy")}
    text = json.dumps({"versions": versions, "tolerance": TOLERANCE, "pairs": pairs}, indent=2)
    Path(__file__).with_name("surfaces.json").write_text(text + "\n", encoding="utf-8")

"""Values that cross from the learner's process to the judge's, and how two of them differ.

They are None, truth values, numbers, text, arrays, and lists and dictionaries of these. They
travel as JSON and .npy, never as pickle, because the learner's process may write what it likes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from nnunet_lib.errors import InputError

_ARRAY, _DICTIONARY = "array", "dictionary"
_LENGTH = 8  # bytes that say how long the JSON part is


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may lie apart, as in `numpy.allclose`."""

    relative: float
    absolute: float


def plain(value: Any) -> Any:
    """A value in plain parts: tuples become lists, tensors arrays, and arrays of () numbers.

    Raises:
        InputError: if it is something else, naming its type.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(np.asarray(value))
    if hasattr(value, "numpy"):  # a tensor or a variable
        return plain(value.numpy())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    raise InputError(f"a value of type {type(value).__name__}")


def _plain_array(array: np.ndarray) -> Any:
    """Numbers that .npy and JSON know: bfloat16 becomes float32, and longdouble float64."""
    if array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(float).itemsize:
        array = array.astype(float)
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float32)
    if array.dtype.kind == "c":
        raise InputError("complex numbers")
    if array.dtype.kind not in "biufU":
        raise InputError(f"an array of {array.dtype}")
    return array.item() if array.ndim == 0 else array


def pack(value: Any) -> bytes:
    """A plain value as bytes."""
    arrays: list[np.ndarray] = []
    header = json.dumps(_outline(value, arrays)).encode()
    stream = BytesIO()
    stream.write(len(header).to_bytes(_LENGTH, "big") + header)
    for array in arrays:
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _outline(value: Any, arrays: list[np.ndarray]) -> Any:
    """The value with each array replaced by its place in `arrays`, which it is added to."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, list):
        return [_outline(item, arrays) for item in value]
    if isinstance(value, dict):
        return {_DICTIONARY: {key: _outline(item, arrays) for key, item in value.items()}}
    return value


def unpack(data: bytes) -> Any:
    """The value that `pack` made bytes of.

    Raises:
        InputError: if the bytes are something else.
    """
    stream = BytesIO(data)
    try:
        length = int.from_bytes(stream.read(_LENGTH), "big")
        outline = json.loads(stream.read(length))
        return _filled(outline, _arrays(stream, len(data)))
    except Exception:  # whatever JSON and NumPy make of bytes that may be anything
        raise InputError("something that is no result") from None


def _arrays(stream: BytesIO, length: int) -> list[np.ndarray]:
    arrays = []
    while stream.tell() < length:
        arrays.append(np.load(stream, allow_pickle=False))
    return arrays


def _filled(outline: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(outline, list):
        return [_filled(item, arrays) for item in outline]
    if not isinstance(outline, dict):
        return outline
    if _ARRAY in outline:
        return arrays[outline[_ARRAY]]
    return {key: _filled(item, arrays) for key, item in outline[_DICTIONARY].items()}


def describe(value: Any) -> str:
    """What a value is, in a few words."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, str):
        return f"the text {_shortened(repr(value))}"
    if isinstance(value, bool | int | float):
        return f"{_number(value)}"
    if isinstance(value, dict):
        return f"a dictionary with the keys {_shortened(', '.join(map(repr, value)))}"
    return _shortened(_items(value))


def _items(values: Any) -> str:
    """A list as people write it, arrays by their shape alone."""
    if isinstance(values, list):
        return f"[{', '.join(map(_items, values))}]"
    if isinstance(values, float):
        return _number(values)
    return describe(values) if isinstance(values, np.ndarray | dict) else repr(values)


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."


def difference(got: Any, wanted: Any, tolerance: Tolerance) -> str:
    """How a plain value differs from the one that is wanted, in words; empty if it does not."""
    return next(_differences(got, wanted, tolerance, ""), "")


def _differences(got: Any, wanted: Any, tolerance: Tolerance, place: str) -> Iterator[str]:
    if isinstance(wanted, list) and isinstance(got, np.ndarray):
        got = got.tolist()
    if isinstance(wanted, np.ndarray) and isinstance(got, np.ndarray):
        yield from _array_differences(got, wanted, tolerance, place)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for index, (one, other) in enumerate(zip(got, wanted, strict=True)):
            yield from _differences(one, other, tolerance, f"{place}[{index}]")
    elif isinstance(wanted, dict) and isinstance(got, dict) and wanted.keys() == got.keys():
        for key in wanted:
            yield from _differences(got[key], wanted[key], tolerance, f"{place}[{key!r}]")
    elif isinstance(wanted, dict) and isinstance(got, dict):
        yield f"the result{place} {_key_differences(got, wanted)}"
    elif not _equal(got, wanted, tolerance):
        yield f"the result{place} is {describe(got)}, where {describe(wanted)} is right"


def _key_differences(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which keys a dictionary lacks, and which it has too many."""
    missing = ", ".join(repr(key) for key in wanted if key not in got)
    extra = ", ".join(repr(key) for key in got if key not in wanted)
    parts = [f"lacks {_shortened(missing)}"] if missing else []
    parts += [f"has {_shortened(extra)} too many"] if extra else []
    return " and ".join(parts)


def _array_differences(
    got: np.ndarray, wanted: np.ndarray, tolerance: Tolerance, place: str
) -> Iterator[str]:
    if got.shape != wanted.shape:
        yield f"the result{place} has shape {got.shape}, where {wanted.shape} is right"
        return
    wrong = ~_close(got, wanted, tolerance)
    if wrong.any():
        first = tuple(int(index) for index in np.argwhere(wrong)[0])
        share = f"{wrong.sum()} of {wrong.size} values differ"
        right = _number(wanted[first].item())
        index = ", ".join(map(str, first))
        value = _number(got[first].item())
        yield f"the result{place} has {value} at [{index}], where {right} is right ({share})"


def _close(got: np.ndarray, wanted: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    if {"U", "O"} & {got.dtype.kind, wanted.dtype.kind}:  # words, and whole numbers beyond 64 bits
        return np.asarray(got == wanted)
    return np.isclose(got, wanted, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)


def _equal(got: Any, wanted: Any, tolerance: Tolerance) -> bool:
    """Whether two values, of which at least one is a single one, are the same."""
    numbers = (bool, int, float)
    if isinstance(got, numbers) and isinstance(wanted, numbers):
        return bool(_close(np.asarray(got), np.asarray(wanted), tolerance))
    whole = (np.ndarray, list, dict)  # those that are equal in shape are compared part by part
    return type(got) is type(wanted) and not isinstance(got, whole) and got == wanted

"""Values cross between processes as they are, and how two differ is said in words."""

import io

import numpy as np
import pytest

from nnunet_lib.course.exercises.values import Tolerance, describe, difference, pack, plain, unpack
from nnunet_lib.errors import InputError

NEAR = Tolerance(1e-4, 1e-6)


class Tensor:
    def numpy(self):
        return np.array([1.0, 2.0])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2.5, float("inf"), "text", [1, [2, "b"]], {"a": [1.0], "array": 0},
        np.arange(6).reshape(2, 3), [np.zeros((0, 2)), {"x": np.array([True])}],
        np.array(["a", "bc"]), np.zeros((2, 2), np.uint8),
    ],
)  # fmt: skip
def test_a_value_survives_the_way(value):
    back = unpack(pack(plain(value)))
    assert difference(back, value, Tolerance(0, 0)) == ""
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype


def test_a_whole_number_beyond_64_bits_is_compared_as_any_other():
    assert difference(10**40, 10**40, NEAR) == ""
    assert "is right" in difference(10**40, 3.5, NEAR)
    assert "is right" in difference(3, 10**40, NEAR)


def test_a_misnamed_part_beside_an_array_is_a_difference():
    got, wanted = ({name: 1, "x": np.zeros(3)} for name in ("b", "a"))
    assert difference(got, wanted, NEAR) == "the result lacks 'a' and has 'b' too many"


def test_what_becomes_plain():
    assert plain((1, (2.0,))) == [1, [2.0]]
    assert plain(np.float32(0.5)) == 0.5
    assert type(plain(np.array(3))) is int
    assert type(plain(np.longdouble(0.5))) is float
    assert plain({1: 2}) == {"1": 2}
    np.testing.assert_array_equal(plain(Tensor()), [1.0, 2.0])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([object()]), [lambda: 1], 1j, np.array(1j), np.array([1j])]
)
def test_what_is_no_data_is_refused(value):
    with pytest.raises(InputError, match=r"a value of type|an array of|complex numbers"):
        plain(value)


def forged_array():
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    )
    return (1).to_bytes(8, "big") + b"1" + stream.getvalue()


def with_objects():
    stream = io.BytesIO()
    np.save(stream, np.array([{}]), allow_pickle=True)
    return (1).to_bytes(8, "big") + b"1" + stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 100, b"\xff" * 8, pack([1])[:-1], pack(np.ones(3))[:-3], forged_array(),
     with_objects(), (13).to_bytes(8, "big") + b'{"array": 99}'],
)  # fmt: skip
def test_other_bytes_are_refused(data):
    with pytest.raises(InputError, match="no result"):
        unpack(data)


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        (1.0, 1.00001, ""),
        (1e6, 1e6 + 50, ""),
        (1e6, 1e6 + 200, "is right"),
        (5e-7, 0.0, ""),
        (np.array([5e-5]), np.array([0.0]), "has 5e-05 at [0], where 0 is right"),
        (1, True, ""),
        (1.0, 2.0, "the result is 1, where 2 is right"),
        (None, 2.0, "the result is None, where 2 is right"),
        ("a", 2.0, "the result is the text 'a', where 2 is right"),
        (np.ones(3), [1, 1, 1], ""),
        ([1, 1, 1], np.ones(3), "[1, 1, 1], where an array of shape (3,) is right"),
        (np.ones((2, 3)), np.ones((3, 2)), "shape (2, 3), where (3, 2) is right"),
        (np.array([np.nan, 1]), np.array([np.nan, 1]), ""),
        (np.array([1, np.nan]), np.array([1, 2]), "has nan at [1], where 2 is right (1 of 2"),
        (np.array([[1, 2], [3, 4.5]]), np.array([[1, 2], [3, 4]]), "has 4.5 at [1, 1], where 4"),
        ({"a": 1}, {"a": 2}, "result['a'] is 1, where 2 is right"),
        ({"b": 1}, {"a": 1}, "the result lacks 'a' and has 'b' too many"),
        ([{"a": 1}], [{"a": 1, "b": 2, "c": 3}], "the result[0] lacks 'b', 'c'"),
        ({"a": 1, "b": 2}, {"a": 1}, "the result has 'b' too many"),
        ([1, [2, 3]], [1, [2, 4]], "result[1][1] is 3, where 4 is right"),
        ([1], [1, 2], "the result is [1], where [1, 2] is right"),
        (np.array(["a"]), np.array(["b"]), "has a at [0], where b is right"),
    ],
)
def test_a_difference_is_said_in_words(got, wanted, words):
    said = difference(got, wanted, NEAR)
    assert said == "" if not words else words in said


def test_long_things_are_described_shortly():
    assert len(describe(list(range(1000)))) < 140
    assert describe([np.ones(2), 1.23456789]) == "[an array of shape (2,), 1.23457]"

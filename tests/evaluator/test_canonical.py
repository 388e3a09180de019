"""Canonical JSON has the same bytes in every language."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.files import canonical_json, rfc8785_json


def _is_readable(number: float) -> bool:
    """Whether ECMAScript writes it otherwise than as a whole number that readers would round."""
    return abs(number) < 2**53 or abs(number) >= 1e21


# RFC 8785's own canonical form in ECMAScript, which defines its numbers, strings and order of keys.
ECMASCRIPT = """
const canonical = (value) =>
  Array.isArray(value) ? `[${value.map(canonical)}]`
  : value !== null && typeof value === "object"
    ? `{${Object.keys(value).sort().map((k) => JSON.stringify(k) + ":" + canonical(value[k]))}}`
    : JSON.stringify(value);
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(given.map(canonical)));
"""
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS.filter(_is_readable)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
EDGES = [
    *(0.0, -0.0, 1.0, -1.0, 0.1, 1e-5, 1e-6, 1e-7, 1.5e-7, 1e15, 1e21, 1.5e300, 5e-324),
    *(333333333.3333333, 9007199254740991.0, 4503599627370495.5, 1.7976931348623157e308),
    *("1.0", "1e-05,", 'a"1.0', "\\1.0", "\u007f\u2028\x00\x1f", {"\U0001f600": 1, "\ufb33": 2.0}),
]


@pytest.mark.parametrize("value", EDGES, ids=ascii)
def test_no_edge_is_written_otherwise_than_by_rfc8785(value: Any) -> None:
    rfc8785 = pytest.importorskip("rfc8785")
    assert rfc8785_json([value]) == rfc8785.dumps([value])


@given(value=VALUES)
def test_no_value_is_written_otherwise_than_by_rfc8785(value: Any) -> None:
    rfc8785 = pytest.importorskip("rfc8785")
    assert rfc8785_json(value) == rfc8785.dumps(value)


@given(value=VALUES)
def test_a_value_that_is_read_again_is_never_written_otherwise(value: Any) -> None:
    written = rfc8785_json(value)
    assert json.loads(written) == value
    assert rfc8785_json(json.loads(written)) == written


@given(data=st.lists(st.binary(min_size=8, max_size=8), min_size=400, max_size=400), value=VALUES)
def test_no_value_is_written_otherwise_by_ecmascript(data: list[bytes], value: Any) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    doubles = (struct.unpack("<d", each)[0] for each in data)
    values = [value, *EDGES, *(each for each in doubles if each - each == 0 and _is_readable(each))]
    given_ = json.dumps(values).encode()
    done = subprocess.run([node, "-e", ECMASCRIPT], input=given_, capture_output=True, check=True)
    assert [text.encode() for text in json.loads(done.stdout)] == [*map(rfc8785_json, values)]


@pytest.mark.parametrize("value", [2**53, -(2**53), 1e16, -1e20, float("nan"), float("inf")])
def test_no_number_is_written_that_cannot_be_read(value: float) -> None:
    with pytest.raises(ValueError, match=r"beyond|Out of range"):
        rfc8785_json({"value": value})


@given(value=st.recursive(st.integers(0, 99) | TEXT, lambda inner: st.lists(inner, max_size=4)))
def test_without_floats_and_keys_both_forms_are_one(value: Any) -> None:
    assert rfc8785_json(value) == canonical_json(value)

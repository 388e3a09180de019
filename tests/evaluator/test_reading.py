"""Reading of documents from outside: bounded, strict, and otherwise as other readers read."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from evaluator.documents.base import Contract
from evaluator.documents.reading import MAX_INTEGER, Bounds, load_json, load_yaml
from tests.support.bombs import NUMBERS, YAML_BOMBS

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@pytest.mark.slow
def test_no_text_fills_the_memory_of_who_reads_it_as_any_document() -> None:
    words = [sys.executable, "-m", "tests.support.bombs"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=540, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines, done.stderr[-2000:]
    assert lines[:-1] == [] and int(lines[-1].split()[0]) > 30


@given(value=PLAIN)
def test_what_is_within_the_bounds_is_read_as_by_other_readers(value: Any) -> None:
    assert load_json(json.dumps(value).encode()) == value
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text.encode()) == yaml.safe_load(text)


@given(value=PLAIN, depth=st.integers(0, 5), key=st.text("ab\u00fc", min_size=1, max_size=3))
def test_a_key_given_twice_is_refused_at_every_level(value: Any, depth: int, key: str) -> None:
    name = json.dumps(key)
    text = f'{{{name}: {json.dumps(value)}, "other": 1, {name}: 0}}'
    for _ in range(depth):
        text = f'{{"outer": [1, {text}]}}'
    for load in (load_json, load_yaml):
        with pytest.raises(ValueError, match="is given twice"):
            load(text.encode())


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("place", ["%s", "[0, %s]", '{"a": {"b": %s}}'])
def test_no_number_is_taken_that_another_reader_would_round(number: bytes, place: str) -> None:
    with pytest.raises(ValueError, match=r"beyond|not finite"):
        load_json((place % number.decode()).encode())


@pytest.mark.parametrize("text", ['!!int ""', "!!map []", "!!timestamp x", "!!float y"])
def test_no_tag_that_lies_reaches_a_user(text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError)):
        load_yaml(f"a: {text}".encode())


LONG = st.builds(
    lambda sign, n, tail: f"{sign}1:{'00:' * n}{tail}",  # to base 60
    st.sampled_from(["", "-", "!!float ", "!!int "]),
    st.integers(0, 2000),
    st.sampled_from(["00", "00.5", ".", ""]),
)
ODD = st.text(alphabet="0159abefxoUu:_.+-!~<=\"'\\\\ \n[]{}?", max_size=40)


@given(
    text=LONG | ODD | st.builds('"\\U{}"'.format, st.text("0123456789abcdefABCDEF", max_size=12))
)
@example(text="1:" + "00:" * 400 + "00.5")
@example(text='"\\UFFFFFFFF"')
def test_no_yaml_value_ends_in_an_error_of_another_kind(text: str) -> None:
    with suppress(ValueError, yaml.YAMLError):
        load_yaml(f"a: {text}".encode())


@pytest.mark.parametrize("name", YAML_BOMBS)
def test_no_yaml_bomb_is_unfolded(name: str) -> None:
    if name in ("keys", "binary"):  # large, and harmless
        assert len(str(load_yaml(YAML_BOMBS[name].encode()))) < 10 * len(YAML_BOMBS[name])
        return
    with pytest.raises((ValueError, yaml.YAMLError)):
        load_yaml(YAML_BOMBS[name].encode())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'"%s"' % (b"a" * 100), "larger than 64 bytes"),
        (b"[%s0]" % (b"0," * 12), "more than 10 values"),
        (b'{"a":1,"b":2,"c":3}', "more than 2 keys"),
        (b'"%s"' % (b"a" * 50), "longer than 20 bytes"),
    ],
)
def test_each_bound_is_kept_by_name(text: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_json(text, Bounds(bytes=64, values=10, keys=2, text=20))


def test_validation_ends_at_the_first_element_that_is_wrong() -> None:
    class Inner(Contract):
        numbers: tuple[int, ...]

    class Outer(Contract):
        inner: tuple[Inner, ...]
        by_name: dict[str, list[int]]

    many = {"numbers": ["x"] * 1000}
    wrong = {"inner": [many] * 1000, "by_name": {str(n): ["x"] * 9 for n in range(1000)}}
    with pytest.raises(ValueError) as raised:
        Outer.model_validate(wrong)
    assert raised.value.error_count() == 2  # type: ignore[attr-defined]

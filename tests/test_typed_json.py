"""Dataclasses to JSON and back."""

import dataclasses
import json
from typing import Any, Literal

import numpy as np
import pytest

from keras_acet.typed_json import from_json, schema, to_json


@dataclasses.dataclass(frozen=True)
class Inner:
    """One bin.

    Attributes:
        low, high: Its ends.
    """

    low: float | None
    high: float


@dataclasses.dataclass(frozen=True)
class Outer:
    """All that a field may be.

    Attributes:
        name: What it is called: a text
            over two lines.
        kind: Its kind.
        count: How many.
        exact: Whether it is exact.
        bins: Its bins.
        pairs: Pairs of a step and a number.
        numbers: By name.
        more: Anything.
        note: Said only where there is something to say.
    """

    name: str
    kind: Literal["a", "b"]
    count: int
    exact: bool
    bins: list[Inner]
    pairs: tuple[tuple[int, float], ...] | None
    numbers: dict[str, Inner]
    more: dict[str, Any]
    note: str | None = None


def example(**changes):
    values = {
        "name": "one",
        "kind": "a",
        "count": 3,
        "exact": True,
        "bins": [Inner(None, 1.0), Inner(0.5, 2.0)],
        "pairs": ((0, 0.1), (1, 0.25)),
        "numbers": {"x": Inner(0.0, 1.0)},
        "more": {"list": [1, "text", None]},
    }
    return Outer(**(values | changes))


def test_a_value_comes_back_equal_through_json_text():
    for value in (example(), example(pairs=None, note="said"), example(bins=[])):
        assert from_json(Outer, json.loads(json.dumps(to_json(value), allow_nan=False))) == value


def test_json_by_hand():
    assert to_json(example()) == {
        "name": "one",
        "kind": "a",
        "count": 3,
        "exact": True,
        "bins": [{"low": None, "high": 1.0}, {"low": 0.5, "high": 2.0}],
        "pairs": [[0, 0.1], [1, 0.25]],
        "numbers": {"x": {"low": 0.0, "high": 1.0}},
        "more": {"list": [1, "text", None]},
    }
    assert to_json(example(note="said"))["note"] == "said"
    assert from_json(list[Inner], [{"low": 1, "high": 2}]) == [Inner(1.0, 2.0)]
    assert from_json(int | float, 3) == 3 and isinstance(from_json(int | float, 3), int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, r"Outer\.name must be text\. Received: 3"),
        ({"kind": "c"}, r'Outer\.kind must be one of "a", "b"\. Received: \'c\''),
        ({"count": True}, r"Outer\.count must be whole number\. Received: True"),
        ({"count": 1.5}, r"Outer\.count must be whole number"),
        ({"exact": 1}, r"Outer\.exact must be true or false"),
        ({"bins": [{"low": None}]}, r"Outer\.bins\[0\] must have the fields \['high'\] too"),
        ({"bins": {}}, r"Outer\.bins must be list of \(Inner\)"),
        ({"numbers": {"x": {"low": "a", "high": 1}}}, r"Outer\.numbers\['x'\]\.low must be number"),
        ({"pairs": [[1, 2, 3]]}, r"Outer\.pairs\[0\] must be list of 2: whole number, number"),
        ({"surprise": 1}, r"Outer must have fields among \['bins', .*\]\. Received: \['surprise'\] as well"),
        ({"bins": [3]}, r"Outer\.bins\[0\] must be an object, Inner"),
    ],
)
def test_what_is_read_has_to_be_what_the_class_says(change, message):
    with pytest.raises(ValueError, match=message):
        from_json(Outer, to_json(example()) | change)


def test_what_json_has_not_is_refused():
    with pytest.raises(ValueError, match=r"Outer\.bins\[0\]\.high must be finite: JSON has no nan"):
        to_json(example(bins=[Inner(None, float("nan"))]))
    with pytest.raises(TypeError, match=r"Outer\.count must be a dataclass, .* Received: int64"):
        to_json(example(count=np.int64(3)))
    with pytest.raises(TypeError, match=r"Outer\.more must have keys that are text\. Received: key 3"):
        to_json(example(more={3: 1}))


def test_the_schema_names_every_field_with_its_type_and_meaning():
    assert schema(Outer, indent=". ").splitlines() == [
        ". name: text. What it is called: a text over two lines.",
        '. kind: one of "a", "b". Its kind.',
        ". count: whole number. How many.",
        ". exact: true or false. Whether it is exact.",
        ". bins: list of (Inner). Its bins.",
        ".   low: number or null. Its ends.",
        ".   high: number. Its ends.",
        ". pairs: list of (list of 2: whole number, number) or null. Pairs of a step and a number.",
        ". numbers: object from text to (Inner). By name.",
        ". more: object from text to (any JSON). Anything.",
        ". note: text or null; may be absent. Said only where there is something to say.",
    ]


def test_a_field_without_a_word_of_its_meaning_is_an_error():
    @dataclasses.dataclass(frozen=True)
    class Silent:
        """Nothing.

        Attributes:
            said: Yes.
        """

        said: int
        silent: int

    with pytest.raises(ValueError, match=r"docstring of Silent must describe the fields \['said', 'silent'\]"):
        schema(Silent)

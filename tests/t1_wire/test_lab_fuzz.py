"""Whatever stands in a lab file: a lab or a LabError, soon, and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemons.lab import graph, loader, picture
from daemons.lab.mistake import LabError
from daemons.lab.yamltree import MAX_VALUES

EXAMPLES = [loader.find(name).read_bytes() for name in loader.examples()]
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"!x ",
    b"'",
    b'"',
    b"\n",
    b"\t",
    b"|",
    b">",
    b"%YAML 1.1\n",
]
PIECES += [
    b"1-4094",
    b"none",
    b"null",
    b"~",
    b"trunk: all",
    b"access: 10",
    b"0",
    b"-1",
    b"\xff",
    b"\\U",
    b"---\n",
    b"? ",
    b"<<: ",
]


def check(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        loaded = loader.parse(text)
    except LabError as error:
        assert all(mistake.line >= 1 and mistake.column >= 1 for mistake in error.mistakes)
        assert all(str(mistake).isprintable() for mistake in error.mistakes)
        return
    graph.expected_reach(loaded.lab)
    picture.text(loaded.lab)
    picture.svg(loaded.lab)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    check(data)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from([*PIECES, b"name", b"topology", b"nodes", b"a", b" "]), max_size=60))
def test_random_pieces(pieces: list[bytes]) -> None:
    check(b"".join(pieces))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(EXAMPLES), st.randoms(use_true_random=False), st.integers(1, 6))
def test_mutated_examples(data: bytes, dice: random.Random, times: int) -> None:
    for _ in range(times):
        at = dice.randrange(len(data))
        cut = dice.choice([0, 0, 1, 1, 5, 30])
        put = dice.choice([*PIECES, b"", data[at : at + dice.randrange(40)], bytes([dice.randrange(128)])])
        data = data[:at] + put + data[at + cut :]
        if not data:
            break
    check(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab1:.-/", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abe01.:", max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "name",
    "vlans",
    "loops",
    "topology",
    "description",
    "defaults",
    "kinds",
    "nodes",
    "links",
    "kind",
    "ports",
    "trunk",
]
KEYS += ["access", "native", "priority", "qemu", "tcp", "listen", "peer", "addresses", "mac", "interfaces", "endpoints"]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(KEYS), VALUES)
def test_wrong_values_in_every_place(key: str, value: object) -> None:
    import json

    text = EXAMPLES[-1].decode()
    at = text.find(f"{key}:")
    line = text.rfind("\n", 0, at) + 1
    flow = json.dumps(value)
    check(f"{text[:line]}{key}: {flow}\n{text[line:]}".encode())
    check((text[:at] + f"{key}: {flow}, " + text[at:]).encode())


LAUGHS = "a: &a [" + "x, " * 9 + "x]\n"
LAUGHS += "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(12))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1_000_000, "levels deep"),
        ("- " * 500_000, "levels deep"),
        ("{a: " * 500_000, "levels deep"),
        (LAUGHS, f"more than {MAX_VALUES} values"),
        ("&a [*a]", "nothing above is called"),
        ("[" + "1," * 200_000 + "]", f"more than {MAX_VALUES} values"),
        ("a" * (5 << 20), "larger than 4 MiB"),
        ("name: " + "9" * 100_000, "must be text|no lab name"),
        ("name: t\ntopology: {nodes: {" + ", ".join(f"h{i}: " for i in range(2001)) + "}}", "more than the 2000"),
    ],
    ids=["brackets", "dashes", "braces", "laughs", "recursion", "flat", "big", "long number", "nodes"],
)
def test_hostile_files(text: str, said: str) -> None:
    with pytest.raises(LabError, match=said) as caught:
        loader.parse(text)
    assert len(str(caught.value)) < 20_000


def test_circles_with_thousands_of_vlans_end() -> None:
    ports = ", ".join(f"p{i}: {{trunk: [{i + 1}]}}" for i in range(1000))
    nodes = f"{{a: {{kind: switch, ports: {{{ports}}}}}, b: {{kind: switch, ports: {{{ports}}}}}}}"
    links = "\n".join(f"    - endpoints: ['a:p{i}', 'b:p{i}']" for i in range(1000))
    with pytest.raises(LabError, match="too many links in circles"):
        loader.parse(f"name: t\ntopology:\n  nodes: {nodes}\n  links:\n{links}\n")

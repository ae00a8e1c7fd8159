"""Whatever stands in a file: an import ends with a lab that the loader reads, or with Unreadable; in no other way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemons.lab import loader
from daemons.lab.imports import cleaning, commands, graphml
from daemons.lab.imports.building import Machine
from daemons.lab.imports.reading import read
from daemons.lab.imports.report import MOST_NOTES, Unreadable
from daemons.lab.mistake import LabError
from tests.t2_core.test_import_containerlab import CLOS, EVERY, HOSTS
from tests.t2_core.test_import_graphml import YED, ZOO
from tests.t2_core.test_import_kathara import CONF, STARTUPS

SEEDS = {"containerlab": (CLOS, HOSTS, EVERY), "graphml": (ZOO, YED), "kathara": (CONF,)}
# What an import leaves as it is, since only people know what was meant.
THEIRS = re.compile(r"have the same (IP )?address|addresses? .*twice|has the address|same MAC|is used by|overlap")
WORDS = st.sampled_from(
    ["", "host", "mgmt-net", "wires", "a:b:c", ":", "\x1b[2J", "eth0", "eth1.5", "eth0.4095", "lo", "-", "10.0.0.1/24",
     "é", "default", "linux", "bridge", "{", "]", "&a", "*a", "\n", "'", '"', "\\", "<", ">", "\u202e", "x" * 300, "0",
     "~", "ip addr add 10.0.0.2/24 dev eth1", "sh -c 'ip link set eth1 up'", "ip route add default via 10.0.0.9", "s1"]
)  # fmt: skip


@st.composite
def spoilt(draw: Any, seed: str) -> str:
    """A file with pieces cut out, doubled, and put in."""
    text = seed
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + draw(st.one_of(WORDS, st.just(text[start:end] * 2))) + text[end:]
    return text


def check(text: str, form: str, hosts: str) -> None:
    try:
        found = read(text, "x", hosts, form, STARTUPS if form == "kathara" else None)
    except Unreadable as error:
        assert error.notes and all(str(note).isprintable() for note in error.notes)
        return
    assert all(line.isprintable() for line in found.report.lines())
    try:
        loader.parse(found.topo.to_yaml())
    except LabError as error:
        assert all(THEIRS.search(mistake.what) for mistake in error.mistakes), str(error)


@pytest.mark.parametrize("form", SEEDS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_spoilt_files(form: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[form]))
    check(data.draw(spoilt(seed)), form, data.draw(st.sampled_from(["netns", "userspace"])))


def test_an_encoding_that_nobody_knows() -> None:
    check('<?xml version="1.0" encoding="xxutf-8"?><graphml/>', "graphml", "netns")


@given(st.text(max_size=200), st.sampled_from(["containerlab", "graphml", "kathara"]))
def test_any_text(text: str, form: str) -> None:
    check(text, form, "netns")


@given(st.one_of(st.text(max_size=80), WORDS, st.lists(WORDS, max_size=8).map(" ".join)))
def test_any_command(text: str) -> None:
    machine, told = Machine("m", "netns", 1), list[str]()
    commands.understand(machine, text, commands.Place(1, None), told.append)
    assert all(commands.fits(address) for each in machine.interfaces.values() for address in each.addresses)


@given(st.text(max_size=60))
def test_any_name_becomes_one(text: str) -> None:
    from daemons.lab.fields import NODE_NAME, PORT_NAME

    assert re.fullmatch(NODE_NAME, cleaning.node_name(text))
    assert re.fullmatch(PORT_NAME, cleaning.port_name(text)) and "." not in cleaning.port_name(text, dots=False)


@given(st.lists(st.sampled_from(["a" * 31, "a" * 30, "b", "a" * 29 + "-2"]), max_size=120))
def test_names_are_given_once(names: list[str]) -> None:
    unique = cleaning.Unique(31)
    given_away = [unique.take(name) for name in names]
    assert len(set(given_away)) == len(names) and all(len(name) <= 31 for name in given_away)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
)


def test_a_yaml_bomb_costs_nothing() -> None:
    """10^10 values would take for ever, and the time limit of a test is two minutes."""
    with pytest.raises(Unreadable, match="more than 100000 values"):
        read(BOMB + "topology: *j\n", "x.yml")


def test_a_file_with_nothing_but_trouble_has_a_short_report() -> None:
    rows = "".join(f"    - endpoints: [a{i}, b]\n" for i in range(2000))
    found = read(f"topology:\n  nodes:\n    b: {{kind: bridge}}\n  links:\n{rows}", "x.yml")
    lines = found.report.lines()
    assert len(lines) == MOST_NOTES + 1 and lines[-1] == "x.yml: and 5000 more like these"


def test_very_many_addresses_and_routes_are_cut_off() -> None:
    """20,000 routes against 20,000 addresses would take half an hour; the time limit of a test is two minutes."""
    rows = ['a[0]="X"', 'b[0]="X"']
    rows += [f'a[exec]="ip addr add 10.{i >> 8}.{i & 255}.1/24 dev eth0"' for i in range(20_000)]
    rows += [f'a[exec]="ip route add 11.{i >> 8}.{i & 255}.0/24 via 10.0.{i & 255}.9"' for i in range(20_000)]
    found = read("\n".join(rows), "lab.conf")
    made = found.topo.nodes["a"]
    assert (len(made["addresses"]), len(made["routes"])) == (commands.MOST_ADDRESSES, commands.MOST_ROUTES)
    assert "256 addresses at most" in found.report.lines()[0]
    loader.parse(found.topo.to_yaml())


def test_tags_do_nothing() -> None:
    found = read(
        'topology:\n  nodes:\n    b: !!python/object/apply:os.system ["true"]\n    c: {kind: bridge}\n', "x.yml"
    )
    assert "YAML tags such as" in "\n".join(found.report.lines()) and list(found.topo.nodes) == ["c"]


class _Piece(str):
    """Text that counts how often it was measured, cut or not."""

    measured = 0

    def __len__(self) -> int:
        type(self).measured += 1
        return 1

    def __getitem__(self, _: object) -> _Piece:
        return self


def test_text_in_many_pieces_is_measured_once() -> None:
    """expat gives each line of a text by itself: 4 MiB of line ends would take minutes, were all measured for each."""
    reader = graphml._Reader()
    reader._start("data", {"key": "k"})
    for _ in range(3000):
        reader._characters(_Piece("\n"))
    assert 0 < _Piece.measured <= 2 * 3000

"""The one list of drop reasons: the names of netvirt.dataplane.drops stand for the numbers of the compiled plane."""

from __future__ import annotations

import re

from netvirt.dataplane.drops import REASONS
from tests.support.sources import ROOT

# Where the plane's enum uses a shorter word than the list.
SHORT = {
    "TAGGED": "tagged-not-accepted",
    "UNTAGGED": "untagged-not-accepted",
    "NOT_ALLOWED": "vlan-not-allowed",
    "RESERVED": "reserved-address",
    "OFFLOAD": "offload-unsupported",
    "CUSTOMER": "customer-not-allowed",
}


def enum_names() -> list[str]:
    text = (ROOT / "netvirt/dataplane/drops.pxd").read_text()
    match = re.search(r"cdef enum:\s+(MALFORMED[\w\s,]*?)REASONS_END", text)
    assert match, "the enum of drop reasons has moved"
    return re.findall(r"\w+", match[1])


def test_the_enum_and_the_list_have_the_same_order() -> None:
    assert tuple(SHORT.get(name, name.lower().replace("_", "-")) for name in enum_names()) == REASONS


def test_a_reason_is_a_word_for_people() -> None:
    assert len(set(REASONS)) == len(REASONS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in REASONS)

"""`dst=h3 vlan=10 icmp`: words become the frame that they tell of, or one sentence; never anything else."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netvirt.addr import mac_bytes
from netvirt.burst import MAX_FRAME, Burst
from netvirt.capture import pcapng
from netvirt.frame import Tag, parse
from netvirt.host import Host, Interface
from tools.errors import BadInput
from tools.frame_ends import Station
from tools.frame_sources import from_file, from_hex
from tools.frame_words import LARGEST, Built, Start, build


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, number])


def station(name: str, number: int, vlan: int = 0, priority: int = 0, *addresses: str) -> Station:
    return Station(name, "eth0", mac(number), vlan, priority, tuple(map(ip_interface, addresses)))


HOSTS = [
    station("h1", 1, 0, 0, "10.0.0.1/24", "fd00::1/64"),
    station("h3", 3, 0, 0, "10.0.0.3/24", "fd00::3/64"),
    station("six", 6, 0, 0, "fd00::6/64"),
    station("router", 9, 7, 0, "10.7.0.9/24"),
    station("router", 9, 8, 5, "10.8.0.9/24"),
    station("tv", 10, 0, 0, "10.8.0.10/24"),
    station("bare", 11),
]


def made(words: str, behind: str = "h1:eth0") -> Built:
    return build(words.split(), HOSTS, Start("s1:eth1", behind), {"office": 10})


def accepted(frame: bytes, name: str) -> dict[str, int]:
    """What a host of the lab counts as dropped of this frame."""
    interfaces = [
        Interface(f"if{each.vlan}", each.mac, each.vlan, each.priority, tuple(map(str, each.addresses)))
        for each in HOSTS
        if each.host == name
    ]
    host = Host(name, interfaces)
    host.receive(frame, 0)
    return host.statistics()["drops"]


@pytest.mark.parametrize(
    ("words", "behind", "dst", "src", "tags", "ethertype", "length", "goal"),
    [
        ("dst=h3 icmp", "h1:eth0", mac(3), mac(1), (), 0x0800, 98, "h3:eth0"),
        ("dst=h3", "h1:eth0", mac(3), mac(1), (), 0x0800, 98, "h3:eth0"),
        ("dst=10.0.0.3", "h1:eth0", mac(3), mac(1), (), 0x0800, 98, "h3:eth0"),
        ("dst=fd00::3", "h1:eth0", mac(3), mac(1), (), 0x86DD, 118, "h3:eth0"),
        ("dst=six", "h1:eth0", mac(6), mac(1), (), 0x86DD, 118, "six:eth0"),
        ("dst=h3:eth0 src=02:00:00:00:00:77", "", mac(3), mac(0x77), (), 0x0800, 98, "h3:eth0"),
        ("dst=h3 vlan=office pcp=5", "h1:eth0", mac(3), mac(1), (Tag(0x8100, 5, False, 10),), 0x0800, 102, "h3:eth0"),
        ("dst=h3 vlan=0 dei", "h1:eth0", mac(3), mac(1), (Tag(0x8100, 0, True, 0),), 0x0800, 102, "h3:eth0"),
        ("dst=h3 vlan=4095", "h1:eth0", mac(3), mac(1), (Tag(0x8100, 0, False, 4095),), 0x0800, 102, "h3:eth0"),
        ("dst=tv", "router:eth0", mac(10), mac(9), (Tag(0x8100, 5, False, 8),), 0x0800, 102, "tv:eth0"),
        ("dst=tv pcp=1", "router:eth0", mac(10), mac(9), (Tag(0x8100, 1, False, 8),), 0x0800, 102, "tv:eth0"),
        ("dst=tv vlan=none", "router:eth0", mac(10), mac(9), (), 0x0800, 98, "tv:eth0"),
        ("dst=tv src=router", "h1:eth0", mac(10), mac(9), (), 0x0800, 98, "tv:eth0"),
        ("arp who-has 10.0.0.3", "h1:eth0", b"\xff" * 6, mac(1), (), 0x0806, 42, "h3:eth0"),
        ("who-has 10.0.0.9", "h1:eth0", b"\xff" * 6, mac(1), (), 0x0806, 42, ""),
        ("arp dst=h3 size=60", "h1:eth0", b"\xff" * 6, mac(1), (), 0x0806, 60, "h3:eth0"),
        ("dst=ff:ff:ff:ff:ff:ff", "h1:eth0", b"\xff" * 6, mac(1), (), 0x88B5, 60, ""),
        ("dst=0200.0000.0003 type=0x88b5 size=14", "h1:eth0", mac(3), mac(1), (), 0x88B5, 14, "h3:eth0"),
        ("dst=224.0.0.5", "h1:eth0", mac_bytes("01:00:5e:00:00:05"), mac(1), (), 0x0800, 98, ""),
        ("dst=ff02::1", "h1:eth0", mac_bytes("33:33:00:00:00:01"), mac(1), (), 0x86DD, 118, ""),
        ("dst=bare", "bare:eth0", mac(11), mac(11), (), 0x88B5, 60, "bare:eth0"),
        ("dst=h3 udp=53 size=1514", "h1:eth0", mac(3), mac(1), (), 0x0800, 1514, "h3:eth0"),
        ("dst=h3 tcp", "h1:eth0", mac(3), mac(1), (), 0x0800, 54, "h3:eth0"),
        (f"dst=h3 size={LARGEST} vlan=1 inner=2", "h1:eth0", mac(3), mac(1),
         (Tag(0x8100, 0, False, 1), Tag(0x8100, 0, False, 2)), 0x0800, MAX_FRAME, "h3:eth0"),
        ("dst=h3 vlan=900 tpid=802.1ad inner=10", "h1:eth0", mac(3), mac(1),
         (Tag(0x88A8, 0, False, 900), Tag(0x8100, 0, False, 10)), 0x0800, 106, "h3:eth0"),
    ],
)  # fmt: skip
def test_words(
    words: str, behind: str, dst: bytes, src: bytes, tags: tuple[Tag, ...], ethertype: int, length: int, goal: str
) -> None:
    built = made(words, behind)
    frame = parse(built.frame)
    assert (frame.dst, frame.src, frame.tags, frame.ethertype) == (dst, src, tags, ethertype)
    assert (len(built.frame), built.goal) == (length, goal)


@pytest.mark.parametrize(
    ("words", "behind", "target"),
    [
        ("dst=h3 icmp", "h1:eth0", "h3"),
        ("dst=h3 icmp size=1514", "", "h3"),
        ("dst=six icmp", "", "six"),
        ("arp who-has 10.0.0.3", "", "h3"),
        ("dst=h3 udp=7", "h1:eth0", "h3"),
        ("dst=h1 src=six", "six:eth0", "h1"),
        ("dst=router vlan=8 src=10.8.0.10", "tv:eth0", "router"),
    ],
)
def test_a_host_of_the_lab_finds_nothing_wrong_with_it(words: str, behind: str, target: str) -> None:
    """Its checksums, lengths and addresses are right."""
    drops = accepted(made(words, behind).frame, target)
    assert not drops or set(drops) <= {"udp-closed", "neighbour-silent"}, drops


def test_a_stranger_is_given_the_same_address_every_time() -> None:
    first, second = (build(["dst=h3"], HOSTS, Start(place), {}).frame for place in ("s1:eth5", "s1:eth6"))
    assert first == build(["dst=h3"], HOSTS, Start("s1:eth5"), {}).frame
    assert first[6:12] != second[6:12] and first[6] & 3 == 2
    assert build(["dst=h3"], HOSTS, Start("s1:eth5", heard=mac(0x55)), {}).frame[6:12] == mac(0x55)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("icmp", "say where the frame goes: dst=HOST or dst=MAC"),
        ("arp", "say where the frame goes: who-has ADDRESS or dst=HOST"),
        ("dst=h2", "dst=h2: there is no such host, and it is no MAC address; there are h1, h3, six, router, tv, bare"),
        ("dst=10.0.0.77", "dst=10.0.0.77: no host of this lab has that address; give the MAC address of who has it"),
        ("dst=h3 vlan=ofice", "vlan=ofice: there is no such VLAN; did you mean 'office'?"),
        ("dst=h3 vlan=4096", "vlan=4096: not a number from 0 to 4095"),
        ("dst=h3 pcp=8", "pcp=8: not a number from 0 to 7"),
        ("dst=h3 tpid=0x9100", "tpid=0x9100: a tag's type is 0x8100 or 0x88a8"),
        ("dst=h3 inner=5", "inner= is the tag behind the one of vlan=; give both"),
        ("dst=h3 vlan=none pcp=1", "vlan=none means no tag, and pcp, dei, tpid and inner belong to one"),
        ("dst=h3 icmp udp", "a frame is one of icmp, udp, tcp, arp and type=, not several of them"),
        ("dst=h3 icmp=5", "icmp has no port; leave out =5"),
        ("dst=h3 udp=65536", "udp=65536: not a number from 1 to 65535"),
        ("dst=h3 type=0x8100", "type=0x8100 is a tag; write vlan=VID, and tpid= for its type"),
        ("dst=h3 size=13", "size=13: not a number from 14 to 65549"),
        ("dst=h3 icmp size=41", "size=41 is too small for icmp, which needs 42"),
        ("dst=h3 dst=h1", "dst= stands there twice"),
        ("dst=h3 icpm", "'icpm' says nothing about a frame; did you mean 'icmp'?"),
        ("dst=h3 icmp who-has 10.0.0.1", "who-has belongs to arp, not to icmp"),
        ("arp who-has fd00::3", "fd00::3 is not IPv4, which ARP is for; neighbour discovery begins with icmp"),
        ("arp who-has h3", "'h3' is no IP address"),
        ("dst=six arp", "arp asks for IPv4 addresses, and that host has none; say who-has ADDRESS"),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_a_sentence(words: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        made(words)
    assert str(caught.value) == sentence


texts = st.text(max_size=20) | st.sampled_from(
    ["h1", "h3", "six", "router", "bare", "10.0.0.3", "fd00::3", "ff:ff:ff:ff:ff:ff", "10", "0x88b5", "٣", "-1", "none",
     "", "1e3", "0x", "00000000000000000001", "999999999999999999999", "802.1ad", "\x1b[2J", "224.0.0.1", "::"]
)  # fmt: skip
words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["icmp", "udp", "tcp", "arp", "who-has", "dei", "dst=h3", "dst=six", "vlan=10"]),
    st.builds(
        "{}={}".format, st.sampled_from(["dst", "src", "vlan", "pcp", "tpid", "inner", "type", "size", "udp"]), texts
    ),
)


@given(st.lists(words, max_size=6), st.sampled_from(["", "h1:eth0", "router:eth0"]))
def test_hostile_words_become_a_frame_that_can_be_sent_or_one_printable_sentence(said: list[str], behind: str) -> None:
    try:
        built = build(said, HOSTS, Start("s1:eth1", behind), {"office": 10})
    except BadInput as error:
        assert str(error).isprintable() and len(str(error)) < 300, str(error)
    else:
        Burst().append(built.frame)
        assert built.goal in ("", *(each.place for each in HOSTS))


@given(
    st.binary(max_size=100) | st.integers(MAX_FRAME - 1, MAX_FRAME + 2).map(bytes), st.sampled_from(["", ":", " ", "-"])
)
def test_hex(data: bytes, separator: str) -> None:
    text = separator.join(f"{byte:02x}" for byte in data)
    if 14 <= len(data) <= MAX_FRAME:
        assert from_hex(text) == data
    else:
        with pytest.raises(BadInput, match="--hex"):
            from_hex(text)


@given(st.text(max_size=60))
def test_hostile_hex(text: str) -> None:
    try:
        assert 14 <= len(from_hex(text)) <= MAX_FRAME
    except BadInput as error:
        assert str(error).isprintable()


def capture(tmp_path: Path, *frames: bytes) -> str:
    path = tmp_path / "some.pcapng"
    blocks = [pcapng.packet_block(0, index, frame) for index, frame in enumerate(frames)]
    path.write_bytes(pcapng.section_header() + pcapng.interface_block("s1:eth1") + b"".join(blocks))
    return str(path)


def test_a_packet_of_a_capture_file(tmp_path: Path) -> None:
    frames = [made("dst=h3 vlan=10").frame, made("dst=six").frame]
    path = capture(tmp_path, *frames)
    assert [from_file(path, number) for number in (1, 2)] == frames
    with pytest.raises(BadInput, match="has 2 packets, and no packet 3"):
        from_file(path, 3)


@pytest.mark.parametrize("junk", [b"", b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1" + bytes(30), b"hello" * 20, bytes(100)])
def test_what_is_no_capture_file_is_a_sentence(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(junk)
    with pytest.raises(BadInput, match="junk"):
        from_file(str(path), 1)
    with pytest.raises(BadInput, match="No such file"):
        from_file(str(tmp_path / "none"), 1)

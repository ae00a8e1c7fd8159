"""vfab capture on a running lab: what is in the file, what tshark makes of it, and how a capture ends."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import peers
from tests.support.command import SECONDS, Vfab

LAB = """
name: capture
vlans: {office: 10, lab: 20}
topology:
  nodes:
    s1: {kind: switch, ports: {eth1: {access: office}, eth2: {access: lab}, eth9: {trunk: [office, lab]}}}
    s2: {kind: switch, ports: {eth1: {access: office}, eth9: {trunk: [office, lab]}}}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
    h3: {addresses: [10.0.0.3/24]}
  links:
    - endpoints: ["s1:eth9", "s2:eth9"]
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s1:eth2", "h2:eth0"]
    - endpoints: ["s2:eth1", "h3:eth0"]
"""


@pytest.fixture(scope="module")
def vfab() -> Iterator[Vfab]:
    with Vfab(LAB) as made:
        made("up", made.file)
        made("ping", "h1", "h3", "-c", "1")
        yield made


def begun(process: subprocess.Popen[bytes], sentence: bytes = b"capturing ") -> None:
    """Waits for what the capture says when it has its link."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith(sentence), line + process.stderr.read()


def fields(file: str, *names: str, only: str = "frame") -> list[list[str]]:
    words = [word for name in names for word in ("-e", name)]
    command = [peers.need("tshark"), "-r", file, "-Y", only, "-T", "fields", "-E", "separator=|", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return [line.split("|") for line in done.stdout.splitlines()]


@pytest.mark.peer("tshark")
def test_a_file_has_tags_nanoseconds_directions_and_one_identity_per_frame(vfab: Vfab) -> None:
    file = str(vfab.path / "all.pcapng")
    process = vfab.start("capture", "s1", "-w", file)
    begun(process)
    vfab("ping", "h1", "h3", "-c", "3")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert b" captured on s1 (" in said

    names = ("frame.interface_name", "frame.packet_flags_direction", "vlan.id", "frame.packet_id", "frame.time_epoch")
    requests = fields(file, *names, only="icmp.type == 8")
    assert [row[:3] for row in requests] == [["s1:eth1", "0x00000001", ""], ["s1:eth9", "0x00000002", "10"]] * 3
    identities = [row[3] for row in requests]
    assert identities[0::2] == identities[1::2] and len(set(identities)) == 3
    times = [row[4].split(".")[1] for row in requests]
    assert all(len(digits) == 9 for digits in times) and any(not digits.endswith("000") for digits in times)
    replies = fields(file, *names[:3], only="icmp.type == 0")
    assert replies == [["s1:eth9", "0x00000001", "10"], ["s1:eth1", "0x00000002", ""]] * 3


@pytest.mark.peer("capinfos")
def test_the_file_ends_with_statistics_of_every_port(vfab: Vfab) -> None:
    file = str(vfab.path / "count.pcapng")
    process = vfab.start("capture", "s1", "-w", file, "-c", "4")
    begun(process)
    vfab("ping", "h1", "h3", "-c", "2")
    _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said) == (0, b"4 frames captured on s1 (2 in, 2 out)\n")
    command = [peers.need("capinfos"), file]
    text = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    assert "Number of packets:   4" in text
    assert text.count("Number of stat entries = 1") == 3
    assert "Name = s1:eth2" in text


@pytest.mark.peer("tshark")
def test_a_pipe_into_tshark_and_its_end(vfab: Vfab) -> None:
    """tshark sees frames while they come, and when it has enough the capture ends quietly, too."""
    process = vfab.start("capture", "s1:eth9", "-w", "-")
    assert process.stdout is not None
    command = [peers.need("tshark"), "-r", "-", "-c", "2", "-T", "fields", "-e", "vlan.id", "-e", "icmp.type"]
    with subprocess.Popen(
        command, stdin=process.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as tshark:
        process.stdout.close()
        begun(process)
        vfab("ping", "h1", "h3", "-c", "2")
        text, _ = tshark.communicate(timeout=SECONDS)
    assert text.splitlines() == ["10\t8", "10\t0"]
    assert process.wait(SECONDS) == 0
    assert process.stderr is not None
    assert b"captured on s1:eth9" in process.stderr.read()


def test_words_for_people_ours_scapys_and_json(vfab: Vfab) -> None:
    for options, wanted in (
        (("--direction", "in"), "eth1 in "),
        (("--direction", "out", "--decode"), "Ether / IP / ICMP 10.0.0.3 > 10.0.0.1 echo-reply"),
    ):
        process = vfab.start("capture", "s1:eth1", "-c", "1", *options)
        begun(process)
        vfab("ping", "h1", "h3", "-c", "1")
        out, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        assert wanted in out.decode() and out.count(b"\n") == 1
    process = vfab.start("capture", "s1:eth9", "-c", "1", "--json")
    begun(process)
    vfab("ping", "h1", "h3", "-c", "1")
    value = json.loads(process.communicate(timeout=SECONDS)[0])
    assert (value["port"], value["direction"]) == ("eth9", "out")
    assert "vlan 10" in value["frame"] and value["time_ns"] > 1_700_000_000_000_000_000 and value["identity"] > 0
    assert not (vfab.path / "home" / ".cache").exists(), "scapy left something in the user's home"


def test_a_capture_outlives_its_switch(vfab: Vfab) -> None:
    process = vfab.start("capture", "s1:eth1", "--direction", "in", "--decode")
    begun(process)
    vfab("restart", "s1")
    begun(process, b"s1 is gone; waiting for it")
    begun(process, b"s1 is back")
    vfab("ping", "h1", "h3", "-c", "1", "-W", "20")
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert b"echo-request" in out
    assert b" captured on s1:eth1 (" in said


def test_what_cannot_be_captured_is_one_sentence(vfab: Vfab) -> None:
    for arguments, code, sentence in (
        (("s1:eth7",), 1, "switch s1 has no port 'eth7'; its ports are: eth1, eth2, eth9"),
        (("s3",), 1, "there is no switch 's3' in capture; there are: s1, s2"),
        (("s1", "-w", "/nowhere/at/all"), 2, "cannot write /nowhere/at/all: No such file or directory"),
        (("s1", "-w", "-", "--decode"), 2, "-w - writes the capture itself to stdout"),
        (("s1", "-c", "-1"), 2, "-c and --seconds take a number greater than 0"),
        (("s1", "-w", "/dev/full"), 1, "the capture has ended: No space left on device"),
    ):
        done = vfab.run("capture", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(f"vfab: {sentence}") and done.stderr.count("\n") == 1

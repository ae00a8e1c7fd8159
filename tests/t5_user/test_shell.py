"""vfab shell from a pipe, from a terminal, and with -c: Mininet's words on a lab that runs."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.peers import need
from tests.support.rooms import need_namespaces
from tests.support.user import BIN, Answer, vfab
from tests.support.waiting import until

LAB = """\
name: shelled
loops: block
topology:
  nodes:
    s1: {kind: switch}
    s2: {kind: switch}
    h1: {addresses: [10.0.0.1/24]}
    h2: {addresses: [10.0.0.2/24]}
    ext: {kind: external}
  links:
    - endpoints: ["s1:eth1", "h1:eth0"]
    - endpoints: ["s2:eth1", "h2:eth0"]
    - endpoints: ["s1:eth2", "s2:eth2"]
    - endpoints: ["s1:eth3", "s2:eth3"]
    - endpoints: ["s2:eth9", "ext:eth0"]
"""


@pytest.fixture
def lab(work: Path) -> Path:
    """A lab that is up; its folder is the working folder."""
    (work / "shelled.fab.yml").write_text(LAB)
    vfab("up", "shelled.fab.yml")
    return work


def shell(*lines: str, code: int = 0) -> Answer:
    """The lines through a pipe."""
    done = subprocess.run(
        [BIN / "vfab", "shell"], input="\n".join(lines), capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    answer = Answer(["shell", *lines], done)
    assert answer.code == code, answer.told
    return answer


def test_what_there_is(lab: Path) -> None:
    told = shell("nodes", "# a comment", "", "links", "dump", "ports s1", "help")
    assert "switch: s1 s2\nhost: h1 h2\nexternal: ext\n" in told.out
    for row in ("s1:eth1 -- h1:eth0  up", "s1:eth2 -- s2:eth2  up", "s1:eth3 -- s2:eth3  blocked",
                "s2:eth9 -- ext:eth0  down"):  # fmt: skip
        assert f"{row}\n" in told.out
    assert re.search(r"^h1 +host +10\.0\.0\.1/24 +eth0$", told.out, re.MULTILINE)
    assert re.search(r"^s1:eth1 +up +forwarding", told.out, re.MULTILINE)
    assert "link A B up|down" in told.out and told.err == ""


def test_nodes_first(lab: Path) -> None:
    told = shell(
        "h1 ping h2 -c 2", "pingall", "s1 fdb", "h1 trace dst=h2 icmp", "vlan show s1", "s2 restart", "s1 logs"
    )
    assert "2 sent, 2 received" in told.out and "2 answered, 0 stayed apart" in told.out
    assert re.search(r"^s1 +1 .* eth1 +dynamic", told.out, re.MULTILINE) and "reaches h2:eth0" in told.out
    assert "s2 is up again" in told.out


def test_userspace_hosts_have_their_own_traffic(lab: Path) -> None:
    assert "h1 -> h2: " in shell("iperf h1 h2").out


def test_links_go_down_and_come_back_as_they_were(lab: Path) -> None:
    down = shell("h1 ping h2 -c 1", "link s1 h1 down", "links", "h1 ping h2 -c 1 -W 0.2", code=1)
    assert "s1:eth1 state: forwarding -> disabled" in down.out and "s1:eth1 -- h1:eth0  disabled\n" in down.out
    up = shell("link h1 s1 up", "h1 ping h2 -c 1", "link s2 s1 down", "links", "h1 ping h2 -c 1 -W 0.2",
               "link s1 s2 up", "links", "h1 ping h2 -c 1")  # fmt: skip
    assert up.out.count("1 sent, 1 received") == 2 and up.out.count("1 sent, 0 received") == 1
    assert up.out.count("s1:eth3 -- s2:eth3  disabled\n") == 1
    assert up.out.count("s1:eth3 -- s2:eth3  blocked\n") == 1
    assert vfab("status", "--json").json["changed"] == [], "a blocked link is blocked again, as the file says"


def test_a_mistake_is_a_sentence_and_not_the_end(lab: Path) -> None:
    lines = {
        "pnigall": "there is no command and no node 'pnigall'; did you mean 'pingall'?",
        "h1": "what should h1 do? For example: h1 ping",
        "h1 ls": "h1 (host) does not know 'ls'; it knows ping, traffic, trace; kind: netns in the lab file runs ",
        "ext reboot": "ext (external) does not know 'reboot'; it knows nothing here; it is run by somebody else",
        "link s1": "say which two nodes, and what: link s1 h1 down",
        "link s1 h2 down": "there is no link between s1 and h2",
        "link s1 h9 down": "there is no node 'h9'",
        "iperf h1": "say from where and to where",
        "iperf h1 s1": "iperf needs two hosts of kind netns, or two userspace hosts",
        'h1 "': "no closing quotation in this line",
        "port frob": "argument WORD: invalid choice",
        "shell": "this is one already",
        "fdb show s9": "there is no switch 's9'",
        "h1 \x1b[2J": r"'\x1b[2J'",
    }
    told = shell(*lines, "sh echo still here")
    said = told.err.splitlines()
    assert len(said) == len(lines) and told.out == "still here\n"
    for line, sentence in zip(said, lines.values(), strict=True):
        assert sentence in line and line.startswith("vfab") and line.isprintable()


def test_the_exit_code_is_the_last_commands(lab: Path) -> None:
    shell("nodes", "nosuch", code=2)
    shell("nosuch", "nodes")
    shell("nosuch", "exit", "never said", code=2)
    shell("sh exit 7", code=7)
    shell("sh kill -9 $$", code=137)
    assert vfab("shell", "-c", "h1 ping h2 -c 1", "-c", "nodes").out.endswith("external: ext\n")
    assert "no lab 'other' runs" in vfab("shell", "other", code=1).sentence


def test_programs_do_not_eat_the_script(lab: Path) -> None:
    assert shell("sh cat", "sh echo after").out == "after\n"


def test_without_the_lab_it_goes_on(lab: Path) -> None:
    told = shell("down", "nodes", "h1 ping h2", "sh echo here", code=0)
    assert "Lab shelled is down" in told.out and told.out.endswith("here\n") and len(told.err.splitlines()) == 2


def test_nobody_reads_on(lab: Path) -> None:
    command = f"(yes help | head -5000) | {BIN}/vfab shell 2>err | head -1"
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True).stdout.count(b"\n") == 1
    assert Path("err").read_text() == ""


def test_a_terminal_has_a_prompt_history_and_completion(lab: Path, home: Path) -> None:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [BIN / "vfab", "shell"], stdin=side, stdout=side, stderr=side, close_fds=True, start_new_session=True,
        env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(side)
    said = ""

    def until_said(words: str) -> None:
        nonlocal said
        deadline = time.monotonic() + 30
        while words not in said:
            assert time.monotonic() < deadline and select.select([main], [], [], 30)[0], said
            said += os.read(main, 4096).decode()

    try:
        until_said("help tells what can be said")
        until_said("shelled> ")
        os.write(main, b"exter\t\x15nod\t\n")
        until_said("external: ext")
        os.write(main, b"exit\n")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(main)
    assert (home / "state/virtfab/shell-history").read_text().splitlines()[-2:] == ["nodes ", "exit"]


@pytest.fixture
def spaces(work: Path) -> Path:
    """Two namespaces at a switch, and a userspace host."""
    need_namespaces(tun=True)
    text = vfab("topo", "single,2", "--hosts", "netns").out
    more = '    u1: {addresses: [10.0.0.9/24]}\n  links:\n    - endpoints: ["s1:eth9", "u1:eth0"]\n'
    text = text.replace("  links:\n", more)
    (work / "spaces.fab.yml").write_text(text)
    vfab("up", "spaces.fab.yml")
    return work


def test_namespaces_run_programs(spaces: Path) -> None:
    need("ping")
    told = shell("nodes", "h1 ping h2 -c 1", "h2 ip -br addr show dev eth0", "h1 echo h1 h2 u1 s1", "h1 cat")
    assert "netns: h1 h2\n" in told.out and "1 packets transmitted, 1 received" in told.out
    assert re.search(r"^eth0 +UP +10\.0\.0\.2/24", told.out, re.MULTILINE)
    assert "h1 10.0.0.2 10.0.0.9 s1\n" in told.out, "names of other nodes are their addresses"
    assert "cannot run nosuch" in shell("h1 nosuch", code=127).err
    assert "iperf needs two hosts of kind netns" in shell("iperf h1 u1", code=2).err


def test_a_link_that_is_down_has_no_carrier(spaces: Path) -> None:
    said = shell("link s1 h1 down", "h1 cat /sys/class/net/eth0/carrier", "link s1 h1 up").out.splitlines()
    assert said == ["s1:eth1 state: forwarding -> disabled", "0", "s1:eth1 state: disabled -> forwarding"]
    until(lambda: shell("h1 cat /sys/class/net/eth0/carrier").out == "1\n")


def test_iperf_between_namespaces(spaces: Path) -> None:
    need("iperf3")
    told = shell("iperf h1 h2", "iperf h2 h1")
    assert len(re.findall(r"bits/sec +receiver", told.out)) == 2 and told.err == ""

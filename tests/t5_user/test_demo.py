"""`vfab demo`: its picture, and that nothing of it stays; what it must show is in test_wheel.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.user import BIN, SECONDS, left_in, vfab
from tests.support.waiting import until

SVG = "{http://www.w3.org/2000/svg}"


def environments(home: Path) -> list[dict[str, str]]:
    """What is in the environments of the processes that run with this test's home, but not of ourselves."""
    mark, found = f"HOME={home}/home".encode(), []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            pairs = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in pairs and int(entry) != os.getpid():
            found.append(dict(pair.decode(errors="replace").split("=", 1) for pair in pairs if b"=" in pair))
    return found


def folders(home: Path) -> set[Path]:
    """The folders of the demo that runs now, which has its own ones."""
    places = {Path(each[name]) for each in environments(home) for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    return {place.parent for place in places if home not in place.parents}


def test_the_picture_is_svg_that_names_every_node(home: Path, work: Path) -> None:
    vfab("graph", "two-switches", "--svg", "demo.svg", cwd=work)
    root = ET.parse(work / "demo.svg").getroot()
    assert root.tag == f"{SVG}svg" and root.get("viewBox")
    words = " ".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))
    assert all(re.search(rf"\b{name}\b", words) for name in ("s1", "s2", "h1", "h2", "h3", "h4", "office", "lab"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_interrupted_leaves_nothing(home: Path, work: Path, signum: signal.Signals) -> None:
    with subprocess.Popen(
        [BIN / "vfab", "demo"], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        assert any("Lab two-switches is up" in line for line in demo.stdout)
        used = folders(home)
        assert [name for name in left_in(*used) if name.endswith("s1.zmq")], "its sockets are in a folder of its own"
        os.killpg(demo.pid, signum)  # as a terminal does it
        _, said = demo.communicate(timeout=SECONDS)
    assert len(used) == 1 and "Traceback" not in said, said
    assert demo.returncode == 128 + signum
    until(lambda: environments(home) == [], what="the end of all processes")
    assert not any(folder.exists() for folder in used)


def test_a_folder_where_nothing_can_be_written_is_one_sentence(home: Path, work: Path) -> None:
    answer = vfab("demo", "--svg", "/no/such/folder/demo.svg", cwd=work, code=1)
    assert "cannot write /no/such/folder/demo.svg" in answer.err and answer.err.count("\n") <= 2
    assert environments(home) == []

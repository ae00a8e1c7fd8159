"""Which ids a user may give away, as subuid(5) writes them; a machine that starts no more threads."""

from __future__ import annotations

import _thread
import os
import pwd
from pathlib import Path

import pytest

from daemons.loop import Loop
from daemons.netns_config import parse_config
from daemons.netns_hosts import Hosts
from daemons.netns_users import Users, _granted

NAME = pwd.getpwuid(os.getuid()).pw_name
NOBODY_HERE = 4_000_000_000  # a uid without a name


@pytest.mark.parametrize(
    ("text", "uid", "granted"),
    [
        ("", os.getuid(), None),
        (f"{NAME}:100000:65536\n", os.getuid(), (100000, 65536)),
        (f"{os.getuid()}:100000:65536\n", os.getuid(), (100000, 65536)),
        (f"someone:1:2\n{NAME}:300000:5\n{NAME}:400000:6\n", os.getuid(), (300000, 5)),
        (f"{NAME}:100000:0\n", os.getuid(), None),
        (f"{NAME}:x:y\n{NAME}:1\n:::\n#\n", os.getuid(), None),
        ("4000000000:7:8\n", NOBODY_HERE, (7, 8)),
        (f"{NAME}x:7:8\n", os.getuid(), None),
    ],
)
def test_the_first_range_of_a_user(tmp_path: Path, text: str, uid: int, granted: tuple[int, int] | None) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    assert _granted(str(file), uid) == granted


def test_a_machine_without_the_file(tmp_path: Path) -> None:
    assert _granted(str(tmp_path / "subuid"), os.getuid()) is None


def test_where_no_thread_can_be_started_it_is_an_error_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no namespace says why; as our own mistake it would end the whole configuration."""

    def refuse(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    hosts = Hosts(Loop(), lambda config, namespace: pytest.fail("there is no uplink"))
    hosts.users = Users(None, 1)
    config = parse_config({"lab": "t", "epoch": 1, "hosts": [{"name": "h1", "nics": []}]})
    assert hosts.configure(config)["added"] == ["h1"]
    why = "no more threads may be started (ulimit -u, pids.max)"
    assert hosts.problems == [f"h1 has no namespace: {why}; vfab up tries it again"]

"""vfab-cni: a CNI plugin (specification 1.1.0) that plugs a container into a VLAN of a switch of a running lab.

A runtime runs it as it runs every plugin: CNI_COMMAND and its companions in the environment, the network configuration
on stdin, an answer or an error as JSON on stdout, and nothing else there. examples/podman shows a configuration.
Knows: that exchange. Refuses to know: what the commands do.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Final

from daemons.errors import UserError
from tools.cni_config import SUPPORTED, attachment_of, command_of, decoded, folders_of, network_of
from tools.cni_errors import DECODE, FAILED, LATEST, OURS, CniError

_LONGEST: Final = 1 << 20


def main() -> int:
    """Exit code 0, or 1 with an error on stdout."""
    said: dict[str, Any] = {}
    try:
        answer = _answer(said)
    except CniError as error:
        return _failed(error, said)
    except (UserError, OSError) as error:
        return _failed(CniError(FAILED, str(error)), said)
    except Exception as error:
        traceback.print_exc()  # stderr is for logs; runtimes keep it
        return _failed(CniError(OURS, f"internal error, please report it: {type(error).__name__}: {error}"), said)
    if answer is not None:
        print(json.dumps(answer), flush=True)
    return 0


def _failed(error: CniError, said: dict[str, Any]) -> int:
    version = said.get("cniVersion")
    print(json.dumps(error.to_json(version if version in SUPPORTED else LATEST)), flush=True)
    return 1


def _answer(said: dict[str, Any]) -> dict[str, Any] | None:
    """said: gets what is on stdin, so that an error can be told in its version."""
    command = command_of(os.environ)
    text = sys.stdin.buffer.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise CniError(DECODE, f"the network configuration has more than {_LONGEST} bytes")
    if command == "VERSION":
        said |= decoded(text) if text.strip() else {}
        version = said.get("cniVersion")
        return {"cniVersion": version if isinstance(version, str) else LATEST, "supportedVersions": list(SUPPORTED)}
    said |= decoded(text)
    attachment = attachment_of(os.environ, command)
    network = network_of(said, command, os.environ.get("CNI_ARGS", ""))
    os.environ.update(folders_of(said))
    from tools.cni_verbs import COMMANDS  # a runtime asks for VERSION often

    return COMMANDS[command](network, attachment)


if __name__ == "__main__":
    sys.exit(main())

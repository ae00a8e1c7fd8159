"""`tap=listen udp.listen=127.0.0.1:5000` on the command line -> keys of a port as a program gives them.

Knows: that a key with a dot is a part of a mapping, and that a value is what it would be in a lab file (YAML), where
the key is one that only lab files have. Refuses to know: what the keys mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from daemons.port_keys import KEYS
from tools.errors import BadInput


def keys(given: Mapping[str, str]) -> dict[str, Any]:
    """Raises BadInput."""
    made: dict[str, Any] = {}
    for key, text in given.items():
        whole, dot, part = key.partition(".")
        if not dot:
            made[key] = text if key in KEYS else _value(key, text)
        elif isinstance(made.setdefault(whole, {}), dict):
            made[whole][part] = _value(key, text)
        if whole in given and dot:
            raise BadInput(f"{whole}= and {key}= do not go together; write one of them")
    return made


def _value(key: str, text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        raise BadInput(f"{key}= is {text[:40]!r}, which is no value of a lab file") from None

"""pydantic's errors -> our findings, one plain sentence each.

Knows: pydantic's error types and how to find the model that a key belongs to. Refuses to know: the lab file's rules
(values that have rules of their own bring their sentence with them, see `fields.wrong`).
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from .mistake import At, Finding, did_you_mean, listed, quoted
from .model import LabFile

MAPPING = "write it as key: value pairs"
LIST = "write it as a list: [ ... ]"
TEXT = "write text; quotes make text of anything"
# error type -> (what belongs here, what to do)
BELONGS = {
    "model_type": ("a mapping", MAPPING),
    "model_attributes_type": ("a mapping", MAPPING),
    "dict_type": ("a mapping", MAPPING),
    "list_type": ("a list", LIST),
    "tuple_type": ("a list", LIST),
    "string_type": ("text", TEXT),
}


def findings(error: ValidationError) -> list[Finding]:
    """One finding per pydantic error, in pydantic's order."""
    return [_finding(dict(each)) for each in error.errors(include_url=False)]


def missing(error: ValidationError) -> set[str]:
    """The keys of the whole file that are missing."""
    return {str(each["loc"][0]) for each in error.errors() if each["type"] == "missing" and len(each["loc"]) == 1}


def _finding(error: dict[str, Any]) -> Finding:
    at: At = error["loc"]
    kind, context = error["type"], error.get("ctx", {})
    key = at[-1:] == ("[key]",)
    if key:
        at = at[:-1]
    if kind == "lab":
        return Finding(at, context["what"], context["fix"], key)
    if kind == "missing":
        return Finding(at[:-1], f"{quoted(at[-1])} is missing here", f"add {at[-1]}:", key=True)
    if kind == "extra_forbidden":
        keys = _keys_at(at[:-1])
        fix = did_you_mean(at[-1], keys, f"remove it; known here: {listed(keys)}")
        return Finding(at, f"unknown key {quoted(at[-1])}", fix, key=True)
    if kind == "string_too_long":
        return Finding(at, f"this text is longer than {context['max_length']} characters", "shorten it")
    belongs, fix = BELONGS.get(kind, ("another value", "see the key's description in lab.schema.json"))
    found = "nothing" if error["input"] is None else _shape(error["input"])
    return Finding(at, f"here belongs {belongs}, not {found}", fix)


def _shape(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else quoted(value)


def _keys_at(at: At) -> Iterable[str]:
    """The keys that the mapping at this place may have."""
    here: Any = LabFile
    for step in at:
        model = _model(here)
        fields = {field.alias or name: field for name, field in model.model_fields.items()} if model else {}
        if isinstance(step, str) and step in fields:
            here = fields[step].annotation
        else:  # an item of a list, or a value of a dict: its type is the last argument
            here = typing.get_args(_bare(here))[-1]
    model = _model(here)
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _bare(kind: Any) -> Any:
    """`X` of `X | None` and of Annotated[X, ...]."""
    while True:
        arguments = [part for part in typing.get_args(kind) if part is not type(None)]
        if hasattr(kind, "__metadata__") or type(None) in typing.get_args(kind):
            kind = arguments[0]
        else:
            return kind


def _model(kind: Any) -> type[BaseModel] | None:
    bare = _bare(kind)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None

"""The JSON Schema of the lab file, for editors; made from the model, which also checks the files.

Knows: how the schema is printed, so that the copy in topologies/ can be compared. Refuses to know: the keys.
"""

from __future__ import annotations

import json
from typing import Any

from .model import LabFile


def schema() -> dict[str, Any]:
    """The schema as a value (JSON Schema 2020-12)."""
    made = LabFile.model_json_schema()
    _tidy(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "virtfab lab", **made}


def text() -> str:
    """The schema as `vfab schema` prints it and as it stands in topologies/lab.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def _tidy(part: Any) -> None:
    """Drop pydantic's titles (an editor would show them above the description); refuse names that break their rule."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        if "patternProperties" in part:
            part["additionalProperties"] = False
        for value in part.values():
            _tidy(value)
    elif isinstance(part, list):
        for value in part:
            _tidy(value)

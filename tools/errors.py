"""The error that means exit code 2: what the user typed or wrote is wrong."""

from __future__ import annotations

from daemons.errors import UserError


class BadInput(UserError):
    """Wrong usage, or a wrong lab file."""


class BadFile(BadInput):
    """A wrong lab file: each line begins with its place, as editors and terminals like to find it."""

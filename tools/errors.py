"""The error that means exit code 2: what the user typed or wrote is wrong."""

from __future__ import annotations

from daemons.errors import UserError


class BadInput(UserError):
    """Wrong usage, or a wrong lab file."""

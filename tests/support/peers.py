"""Finds the real programs that tests hold virtfab against, and says what to do where one is missing."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skips the test; where nothing may be skipped (VFAB_CI=1) it fails instead."""
    sentence = f"{what} is missing; tools/install-peers installs it"
    if os.environ.get("VFAB_CI") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


def need(program: str) -> str:
    """The path of a program, e.g. need("tshark"); skips the test where it is not installed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    return path if path is not None else missing(program)

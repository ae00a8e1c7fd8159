"""The files of labs that were made from a shape: where they are kept, and that they go with the lab.

Knows: the state folder. Refuses to know: the shapes (daemons.lab.shapes), what `up` and `down` do.
A lab is its name and its file, so a lab from a word has a file as well. It is the same one each time, so a second
`vfab up --topo` finds the lab that runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemons.errors import UserError
from daemons.paths import state_root
from tools.errors import BadInput

if TYPE_CHECKING:
    from daemons.lab.topo import Topo

_NOTE = "\nWritten anew by each `vfab up --topo`, gone with `vfab down`: keep it with --save FILE before you change it."


def read(words: str, hosts: str) -> Topo:
    """The lab that the words mean. Raises BadInput."""
    from daemons.lab import shapes  # not above: `down` needs none of it

    try:
        return shapes.parse(words, hosts)
    except shapes.ShapeError as error:
        raise BadInput(str(error)) from None


def lay(topo: Topo) -> str:
    """The path of the lab's file among those of the labs from shapes; written. Raises UserError."""
    folder = _folder()
    topo.comment += _NOTE
    path = os.path.join(folder, f"{topo.name}.fab.yml")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        _write(path, topo.to_yaml())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; keep it elsewhere with --save FILE") from None
    return path


def _write(path: str, text: str) -> None:
    """All of it at once: a lab that runs reads it whenever it likes."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


@contextlib.contextmanager
def on_trial(topo: Topo) -> Iterator[str]:
    """The path of the lab's file for a while: what a lab that runs has there is put back."""
    path = os.path.join(_folder(), f"{topo.name}.fab.yml")
    before = None
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        before = file.read()
    lay(topo)
    try:
        yield path
    finally:
        if before is None:
            forget(os.path.realpath(path))
        else:
            _write(path, before)


def keep(topo: Topo, path: str) -> str:
    """Write the lab file where the user wants it; a file that is there with other text stays. Raises UserError."""
    text = topo.to_yaml()
    try:
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as there:
            if there.read(len(text) + 1) != text:
                raise BadInput(f"{path} is there already and says something else; give another name, or remove it")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


def forget(path: str) -> None:
    """Remove the file of a lab from a shape, and of no other."""
    folder = _folder()
    if os.path.dirname(path) != os.path.realpath(folder):
        return
    with contextlib.suppress(OSError):
        os.unlink(path)
        os.rmdir(folder)  # as long as others are in it, it stays
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(folder))


def _folder() -> str:
    return os.path.join(state_root(), "shapes")

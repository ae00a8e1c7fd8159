"""The lab as a picture: text for the terminal, SVG for everything else; DOT and Mermaid for those who draw themselves.

Knows: nothing; it is the door to the `picture_` files, which share `layout`.
"""

from __future__ import annotations

from .picture_dot import dot as dot
from .picture_mermaid import mermaid as mermaid
from .picture_svg import svg as svg
from .picture_text import text as text

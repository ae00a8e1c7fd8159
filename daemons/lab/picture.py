"""The lab as a picture: text for the terminal, SVG for everything else.

Knows: nothing; it is the door to `picture_text` and `picture_svg`, which share `layout`.
"""

from __future__ import annotations

from .picture_svg import svg as svg
from .picture_text import text as text

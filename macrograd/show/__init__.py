"""Looking at things: a computation graph as a drawing, what a net learned and how, as matplotlib pictures.

`draw` needs the extra "draw", the pictures need the extra "plot"; both are asked for when first used.
"""

from macrograd.show.draw import Drawing, draw

__all__ = ["Drawing", "draw"]

"""A page that trains in a browser: `mg.playground`, and what reads a net that was trained there."""

from macrograd.browser.page import playground
from macrograd.browser.played import PlaygroundNet, from_playground

__all__ = ["PlaygroundNet", "from_playground", "playground"]

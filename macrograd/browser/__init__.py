"""A page that trains nets in a browser: `mg.playground`, and a reader for the nets trained there."""

from macrograd.browser.page import playground
from macrograd.browser.played import PlaygroundNet, from_playground

__all__ = ["PlaygroundNet", "from_playground", "playground"]

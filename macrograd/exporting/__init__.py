"""Programs as files that run without Python: `mg.export`."""

from macrograd.exporting.export import Exported, export

__all__ = ["Exported", "export"]

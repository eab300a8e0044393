"""The paths of the files that a command line writes."""

from __future__ import annotations

from pathlib import Path


def check(option: str, path: str) -> None:
    """Raise now, as a ValueError, the error that writing there would raise after training."""
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        problem = "it is a directory" if file.is_dir() else f"the directory {file.parent} does not exist"
        raise ValueError(f"{option} {path}: {problem}")


def check_apart(named: dict[str, str | None]) -> None:
    """Raise ValueError if two of the options (or the data) name the same file: one would overwrite the other."""
    seen: dict[Path, str] = {}
    for option, path in named.items():
        if path is None:
            continue
        place = Path(path).resolve()
        if place in seen:
            raise ValueError(f"{seen[place]} and {option} are the same file, {path}: give each its own")
        seen[place] = option


def shown(path: Path) -> Path:
    """The path for display: relative if it is below the current directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

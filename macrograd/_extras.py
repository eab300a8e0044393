"""How to install the libraries that only some functions need, which are optional extras of the package."""


def installing(extra: str) -> str:
    """The command that installs an extra: from a package index, and from a clone, where there is no release."""
    return f'pip install "macrograd[{extra}]", or in a clone of the repository pip install ".[{extra}]"'

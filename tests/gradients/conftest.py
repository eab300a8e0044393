"""A separate cache for the tests of the gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the user's cache directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield

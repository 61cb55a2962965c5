"""What tests of several folders share."""

from collections.abc import Iterator

import pytest

from .support.ministack import MiniStack, ministack


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """One local cloud for all tests of this process; it starts in 0.3 s, when first asked for."""
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running

"""What tests of several folders share."""

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

from .support.ministack import MiniStack, ministack


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """One local cloud for all tests of this process; it starts in 0.3 s, when first asked for."""
    with ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


class OneCloud(LoadGroupScheduling):  # type: ignore[misc]
    """Spread tests over the workers, but those on the deployed stacks to one: it starts them once.

    (The marker `xdist_group`, which is for this, does nothing with pytest 9.2 and xdist 3.8.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file.endswith("aws/test_cloud.py") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneCloud | None:
    return OneCloud(config, log) if config.getvalue("dist") == "load" else None

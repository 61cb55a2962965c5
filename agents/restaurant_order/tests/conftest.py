"""The agent, loaded once."""

from __future__ import annotations

import pytest
from agents.restaurant_order.tests.support import FOLDER

from voxyray.agent import Agent
from voxyray.loading import load_folder


@pytest.fixture(scope="session")
def agent() -> Agent:
    return load_folder(FOLDER)

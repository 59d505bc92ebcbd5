from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from stories import START, tell
from trueup.core.views.chronicle import Chronicle, read


@pytest.fixture
def story() -> Callable[[str], Chronicle]:
    return lambda name: read(tell(name))


@pytest.fixture
def start() -> datetime:
    return START

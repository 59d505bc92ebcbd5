"""What every target promises, held by this one on a real API server."""

from __future__ import annotations

import pytest

from drivers.targets.test_contract import (
    test_a_change_is_a_new_generation,
    test_a_watch_wakes_for_what_comes,
    test_applications_do_not_see_each_other,
    test_delete_is_idempotent,
    test_every_object_is_judged,
    test_the_same_again_changes_nothing,
    test_watchers_miss_nothing,
    test_what_is_applied_is_read_back,
)

pytestmark = pytest.mark.integration

__all__ = [
    "test_a_change_is_a_new_generation",
    "test_a_watch_wakes_for_what_comes",
    "test_applications_do_not_see_each_other",
    "test_delete_is_idempotent",
    "test_every_object_is_judged",
    "test_the_same_again_changes_nothing",
    "test_watchers_miss_nothing",
    "test_what_is_applied_is_read_back",
]

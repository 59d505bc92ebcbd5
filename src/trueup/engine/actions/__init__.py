"""Building blocks that Trueup runs itself, by the name that workflows use. `ACTIONS` is the registry.

None of them is downloaded: what an action does on other services is done here by the same words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from trueup.engine.actions import archives, checkout, images, metadata, python
from trueup.engine.running import Use

ACTIONS: Mapping[str, Callable[[Use], Awaitable[int]]] = {
    "actions/checkout": checkout.checkout,
    "actions/setup-python": python.setup,
    "actions/upload-artifact": archives.upload,
    "actions/download-artifact": archives.download,
    "actions/cache": archives.cache,
    "docker/login-action": images.login,
    "docker/setup-buildx-action": images.setup_buildx,
    "docker/setup-qemu-action": images.setup_qemu,
    "docker/metadata-action": metadata.metadata,
    "docker/build-push-action": images.build_push,
}

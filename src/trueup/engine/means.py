"""What reading one repository takes beside a renderer: keys for what is encrypted, a way to what is elsewhere."""

from __future__ import annotations

from msgspec import Struct

from trueup.engine.opening import Opener
from trueup.engine.remotes import Beside


class Means(Struct, frozen=True):
    """Without `opener` what SOPS encrypted is only named; without `beside` the renderer refuses what is remote."""

    opener: Opener | None = None
    beside: Beside | None = None


NONE = Means()

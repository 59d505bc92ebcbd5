"""Who is told of a failure and a recovery: one file per product."""

from collections.abc import Callable

from trueup.drivers.notify.webhook import Webhook, WebhookSettings
from trueup.ports import Notify

NOTIFY: dict[str, Callable[[WebhookSettings], Notify]] = {"webhook": Webhook}

__all__ = ["NOTIFY", "Webhook", "WebhookSettings"]

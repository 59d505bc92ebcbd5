"""Who is told of a failure and a recovery: one file per product."""

from trueup.drivers.notify.webhook import Webhook, WebhookSettings

NOTIFY = {"webhook": Webhook}

__all__ = ["NOTIFY", "Webhook", "WebhookSettings"]

"""Forges: they are told how a commit fares, and their webhooks say that a branch moved. One file per product."""

from trueup.core.address import parse
from trueup.drivers.forges import gitea, github, gitlab
from trueup.drivers.forges.forge import Account, Forge, Push

# In the order in which a webhook's headers are looked at: Gitea sends GitHub's headers beside its own.
FORGES: dict[str, Forge] = {
    "gitea": gitea.FORGE,
    "gitlab": gitlab.FORGE,
    "github": github.FORGE,
}


def detect(url: str) -> str | None:
    """The product behind a repository's address, by its host's name; None when the name does not tell."""
    try:
        host = parse(url)[0].host
    except ValueError:
        return None
    for product, forge in FORGES.items():
        if host in forge.hosts or set(host.split(".")[:2]) & set(forge.hosts):
            return product
    return None


__all__ = ["FORGES", "Account", "Forge", "Push", "detect"]

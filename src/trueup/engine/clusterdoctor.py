"""What a cluster lacks for Trueup to roll out to it, and what mends it. Asks; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from trueup.drivers.builders.auth import Credentials
from trueup.drivers.targets.kubernetes import facts
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.facts import Right
from trueup.engine.cluster import Way, WayRefused, access, nodes_here
from trueup.engine.delivery import RegistryInvalid, RegistrySetting, read_setting
from trueup.engine.doctor import Check, State
from trueup.ports import BuilderDown, TargetDown

HOME = "trueup-system"
ASK_S = 10.0
USUAL = ("deployments.apps", "services", "configmaps")  # of what a repository states, the least that is usual
VERBS = ("get", "patch", "create", "delete")


async def examine_cluster(way: Way, environ: Mapping[str, str], accounts: Credentials) -> tuple[Check, ...]:
    """Whether it answers, what we may do there, and how images get to its nodes. Never raises."""
    try:
        client = Client(access(way, environ), environ)
    except WayRefused as error:
        return (Check("cluster", State.MISSING, str(error), "kubectl config get-contexts"),)
    try:
        named = f"{client.access.name} at {client.access.server}"
        found = [Check("cluster", State.OK, f"{named} is {await facts.version(client)}")]
        found.append(await _rights(client, way.namespace or client.access.namespace))
        found.append(await _images(client, way.image_registry, accounts))
        return tuple(found)
    except (ApiError, TargetDown) as error:
        fix = "look at the address and the credentials: kubectl version"
        return (Check("cluster", State.MISSING, f"{client.access.name}: {error}", fix),)
    finally:
        await client.close()


async def _rights(client: Client, namespace: str) -> Check:
    wanted = [Right(verb, what, namespace) for what in USUAL for verb in VERBS]
    wanted += [Right(verb, what) for what in USUAL for verb in ("list", "watch")]
    wanted += [Right(verb, "configmaps", HOME) for verb in ("get", "create", "patch")]
    wanted.append(Right("create", "leases.coordination.k8s.io", HOME))
    wanted += [Right("list", "pods", namespace), Right("get", "pods/log", namespace)]
    lacks = await facts.lacking(client, wanted)
    if not lacks:
        return Check("cluster rights", State.OK, f"enough for Deployments, Services and ConfigMaps in {namespace}")
    listed = "; ".join(str(each) for each in lacks[:4]) + (f"; and {len(lacks) - 4} more" if len(lacks) > 4 else "")
    return Check("cluster rights", State.MISSING, f"this account may not: {listed}", "grant them: docs/kubernetes.md")


async def _images(client: Client, registry: str, accounts: Credentials) -> Check:
    name = "images for the nodes"
    if registry:
        try:
            return await _setting(name, read_setting(registry), accounts)
        except (RegistryInvalid, BuilderDown) as error:
            return Check(name, State.MISSING, str(error), "correct --image-registry, or podman login")
    reason = await nodes_here(client)()
    if not reason:
        return Check(name, State.OK, "every node is this machine: the embedded registry serves them")
    return Check(
        name,
        State.WARNING,
        f"{reason}; built images can only go to the registries that manifests name, with an account for each",
        "podman login REGISTRY, or trueup up --image-registry HOST/PREFIX",
    )


async def _setting(name: str, setting: RegistrySetting, accounts: Credentials) -> Check:
    scheme = "https" if setting.secure else "http"
    limit = aiohttp.ClientTimeout(total=ASK_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as http:
            async with http.get(f"{scheme}://{setting.host}/v2/") as answer:
                status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = str(error) or type(error).__name__
        fix = "start it, correct --image-registry, or write http:// before a registry without TLS"
        return Check(name, State.MISSING, f"{setting.host} does not answer: {said}", fix)
    if status == 401 and await accounts.find(setting.host, setting.prefix) is None:
        return Check(name, State.MISSING, f"{setting.host} asks for an account", f"podman login {setting.host}")
    return Check(name, State.OK, f"pushed to {setting.host}{f'/{setting.prefix}' if setting.prefix else ''}")

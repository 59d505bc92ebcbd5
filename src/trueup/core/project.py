"""What a project allows: sources, destinations, kinds of objects, who may do what. Pure decisions, Argo CD's rules.

A rule with `!` before it denies what it matches; something is allowed when any rule allows it and none denies it.
Source: Argo CD v3.5.7, docs/user-guide/projects.md and pkg/apis/application/v1alpha1/app_project_types.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from trueup.core.globs import matches
from trueup.core.model import Place, Ref
from trueup.core.origin import Origin
from trueup.core.windows import Window, wrong_window

IN_CLUSTER, IN_CLUSTER_URL = "in-cluster", "https://kubernetes.default.svc"


class Where(Struct, frozen=True):
    """A destination that rules are about."""

    server: str = ""
    name: str = ""
    namespace: str = ""


class Kind(Struct, frozen=True):
    group: str = ""
    kind: str = ""
    name: str = ""


class Role(Struct, frozen=True):
    """`policies` are lines of "p, proj:PROJECT:ROLE, RESOURCE, ACTION, PROJECT/OBJECT, allow|deny"."""

    name: str
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


class Orphaned(Struct, frozen=True):
    warn: bool = False
    ignore: tuple[Kind, ...] = ()


class Project(Struct, frozen=True, kw_only=True):
    origin: Origin
    place: Place
    source_repos: tuple[str, ...] = ()
    destinations: tuple[Where, ...] = ()
    cluster_allowed: tuple[Kind, ...] = ()
    cluster_denied: tuple[Kind, ...] = ()
    namespaced_allowed: tuple[Kind, ...] | None = None  # None: every kind
    namespaced_denied: tuple[Kind, ...] = ()
    roles: tuple[Role, ...] = ()
    windows: tuple[Window, ...] = ()
    orphaned: Orphaned | None = None


# --- what may run where ----------------------------------------------------------------------------


def permits_source(project: Project, url: str) -> bool:
    """Whether applications may be made from a repository. `*` stays within a part of its path, `**` does not."""
    allowed = False
    wanted = normalized(url)
    for rule in project.source_repos:
        denies = rule.startswith("!")
        if matches(_one_pattern(normalized(rule.removeprefix("!"))), wanted, "/"):
            if denies:
                return False
            allowed = True
        elif denies:
            allowed = True  # a rule that denies something else allows this
    return allowed


def _one_pattern(pattern: str) -> str:
    return "**" if pattern == "*" else pattern


def normalized(url: str) -> str:
    """An address as rules compare it. Source: Argo CD v3.5.7, util/git/git.go NormalizeGitURL."""
    text = url.strip().lower()
    if re.fullmatch(r"(ssh://)?[^/:]*@[^@]+", text) and not text.startswith("ssh://"):
        text = text.replace(":", "/", 1)
    return text.removesuffix(".git").removeprefix("ssh://")


def permits_destination(project: Project, server: str, name: str, namespace: str) -> bool:
    allowed = False
    for rule in project.destinations:
        name_fits = bool(name) and _fits(rule.name, name)
        server_fits = bool(server) and _fits(rule.server, server)
        namespace_fits = _fits(rule.namespace, namespace)
        if (server_fits or name_fits) and namespace_fits:
            allowed = True
        elif (
            (not name_fits and rule.name.startswith("!"))
            or (not server_fits and rule.server.startswith("!") and namespace_fits)
            or (not namespace_fits and rule.namespace.startswith("!") and server_fits)
        ):
            return False
    return allowed


def _fits(rule: str, text: str) -> bool:
    return not matches(rule[1:], text) if rule.startswith("!") else matches(rule, text)


def permits_kind(project: Project, ref: Ref) -> bool:
    """Whether objects like this one may be made. Namespaced kinds are allowed unless denied, others only if allowed."""
    if ref.namespace:
        allowed = project.namespaced_allowed is None or _listed(project.namespaced_allowed, ref, False)
        return allowed and not _listed(project.namespaced_denied, ref, False)
    return _listed(project.cluster_allowed, ref, True) and not _listed(project.cluster_denied, ref, True)


def _listed(kinds: Iterable[Kind], ref: Ref, by_name: bool) -> bool:
    return any(
        matches(one.kind, ref.kind, "/")
        and matches(one.group, ref.group, "/")
        and (not by_name or not one.name or matches(one.name, ref.name, "/"))
        for one in kinds
    )


def is_orphan(project: Project, ref: Ref, owned: bool) -> bool:
    """Whether a live object in a namespace of the project's applications belongs to none of them and is to be told of.

    Source: Argo CD v3.5.7, docs/user-guide/orphaned-resources.md: the exceptions that no rule needs to name."""
    if project.orphaned is None or owned or not ref.namespace:
        return False
    known = (("", "ServiceAccount", "default"), ("", "Service", "kubernetes"), ("", "ConfigMap", "kube-root-ca.crt"))
    if (ref.group, ref.kind, ref.name) in known:
        return False
    return not any(
        matches(one.group, ref.group) and matches(one.kind, ref.kind) and (not one.name or matches(one.name, ref.name))
        for one in project.orphaned.ignore
    )


# --- who may do what -------------------------------------------------------------------------------


def may(project: Project, groups: Iterable[str], resource: str, action: str, name: str) -> bool:
    """Whether somebody of these groups may do this to `name`, e.g. ("applications", "sync", "shop")."""
    mine = frozenset(groups)
    allowed = False
    for role in project.roles:
        if mine.isdisjoint(role.groups):
            continue
        for line in role.policies:
            policy = _policy(line)
            if policy is None or not _applies(policy, project, resource, action, name):
                continue
            if policy[5] == "deny":
                return False
            allowed = True
    return allowed


def _policy(line: str) -> tuple[str, ...] | None:
    parts = tuple(part.strip() for part in line.split(","))
    return parts if len(parts) == 6 and parts[0] == "p" else None


def _applies(policy: tuple[str, ...], project: Project, resource: str, action: str, name: str) -> bool:
    wanted = f"{project.origin.name}/{name}"
    return matches(policy[2], resource) and matches(policy[3], action) and matches(policy[4], wanted)


# --- what a project may not say --------------------------------------------------------------------


def wrong(project: Project) -> Iterator[str]:
    """What Argo CD refuses in a project. Source: app_project_types.go ValidateProject."""
    yield from _repeated("source repository", project.source_repos)
    if "!*" in project.source_repos:
        yield "source repository !* would deny everything"
    keys = [f"{d.server or d.name}/{d.namespace}" for d in project.destinations]
    yield from _repeated("destination", keys)
    for one in project.destinations:
        if "!*" in (one.server, one.name, one.namespace):
            yield "a destination of !* would deny everything"
    yield from _repeated("role", [role.name for role in project.roles])
    for role in project.roles:
        yield from _wrong_role(project, role)
    yield from _repeated("sync window", [f"{w.kind}:{w.schedule}:{w.duration}:{w.chosen}" for w in project.windows])
    for window in project.windows:
        if (message := wrong_window(window)) is not None:
            yield message


_ROLE = re.compile(r"[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?")


def _wrong_role(project: Project, role: Role) -> Iterator[str]:
    if not _ROLE.fullmatch(role.name):
        yield f"role {role.name!r} is no name of letters, digits, - and _"
    yield from _repeated(f"policy of role {role.name}", role.policies)
    yield from _repeated(f"group of role {role.name}", role.groups)
    subject = f"proj:{project.origin.name}:{role.name}"
    for line in role.policies:
        policy = _policy(line)
        if policy is None:
            yield f"policy {line!r} is not of the form p, {subject}, RESOURCE, ACTION, PROJECT/OBJECT, allow"
        elif policy[1] != subject:
            yield f"policy {line!r} is about {policy[1]}, and a role's are about {subject}"
        elif not policy[4].startswith(f"{project.origin.name}/"):
            yield f"policy {line!r} is about {policy[4]}, which is not of this project"
        elif policy[5] not in ("allow", "deny"):
            yield f"policy {line!r} ends with {policy[5]}, and may end with allow or deny"


def _repeated(what: str, values: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield f"{what} {value} is stated twice"
        seen.add(value)

"""From what Git states and what the target holds to a Plan; `core.order` says what of it is due. Pure, and total.

A plan leaves nothing to decide: applying it makes the target hold what is desired, and planning again gives nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator, Mapping

import orjson
from msgspec import Struct, structs

from trueup.core.hooks import wave_of
from trueup.core.model import Action, Bundle, Change, Held, Json, Live, LiveObject, Object, Plan, Ref
from trueup.core.objects import order
from trueup.core.policy import Policy, breaks, kept_at_end, kept_by, share

# --- plan ------------------------------------------------------------------------------------------


def plan(desired: Bundle, live: Live, policy: Policy | None = None) -> Plan:
    """What would make `live` hold `desired`; see `release` for what a person approved.

    An object with the hash it was last applied with costs no look at its body. Only what was applied by us (a hash)
    is ever deleted, and nothing is while something could not be read. Changes come by wave, then by what others
    need first; deletions last, in the reverse order.
    """
    rest, left = _unsettled(desired, live)
    if not rest and not left:
        return Plan((), (), live.unread)
    held_now = {each.ref: each for each in left}
    changes = [change for each in rest if (change := _change(each, held_now.pop(each.ref, None)))]
    changes.sort(key=forward)
    deletes = {ref: each for ref, each in held_now.items() if each.hash}
    if not deletes:
        return Plan(tuple(changes), (), live.unread)
    owned = sum(1 for each in live.objects if each.hash)
    may, held = _judge_deletes(deletes, owned, live, policy or Policy())
    return Plan((*changes, *sorted(may, key=backward)), held, live.unread)


def _unsettled(desired: Bundle, live: Live) -> tuple[list[Object], list[LiveObject]]:
    """What is left on both sides once the objects that are as desired are put aside.

    Hashes are compared first: they are strings that remember their own hash, so this is the cheap way round.
    """
    by_hash = {each.hash: each for each in live.objects if each.hash}
    rest: list[Object] = []
    settled: set[str] = set()
    for each in desired.objects:
        held = by_hash.get(each.hash)
        if held is not None and held.ref == each.ref:
            settled.add(each.hash)
        else:
            rest.append(each)
    if len(settled) == len(live.objects):
        return rest, []
    return rest, [each for each in live.objects if each.hash not in settled or by_hash[each.hash] is not each]


def _change(desired: Object, live: LiveObject | None) -> Change | None:
    if live is None:
        return Change(Action.CREATE, desired.ref, "", desired.hash, wave_of(desired.body))
    if live.hash == desired.hash:
        return None
    return Change(Action.UPDATE, desired.ref, live.hash, desired.hash, wave_of(desired.body))


def _judge_deletes(
    deletes: Mapping[Ref, LiveObject], owned: int, live: Live, policy: Policy
) -> tuple[list[Change], tuple[Held, ...]]:
    may: list[Change] = []
    held: list[Held] = []
    whole = _why_all_wait(deletes, owned, live, policy)
    for ref, each in deletes.items():
        change = Change(Action.DELETE, ref, each.hash, "", wave_of(each.body))
        reason = whole or _why_it_waits(each, policy)
        if reason:
            held.append(Held(change, reason))
        else:
            may.append(change)
    return may, tuple(sorted(held, key=lambda h: backward(h.change)))


def _why_all_wait(deletes: Collection[Ref], owned: int, live: Live, policy: Policy) -> str:
    if live.unread:
        first = live.unread[0]
        more = f" and {len(live.unread) - 1} more" if len(live.unread) > 1 else ""
        return f"{first.what}{more} could not be read ({first.reason}); nothing is deleted until it can"
    if not policy.prune:
        return "pruning is off"
    if breaks(policy, len(deletes), owned):
        return f"{share(deletes, owned)} would be deleted at once, more than the share of {policy.max_delete_share:.0%}"
    return ""


def _why_it_waits(each: LiveObject, policy: Policy) -> str:
    if each.ref.kind in policy.guarded:
        return f"deleting a {each.ref.kind} takes data with it"
    kept = kept_by(each.body)
    return f"kept by its annotation {kept}" if kept else ""


def ending(live: Live, policy: Policy, *, data: bool = False) -> Plan:
    """What taking an application away deletes, last waves first: all that is ours and nothing keeps.

    What takes data with it stays unless `data`; while something could not be read nothing is deleted."""
    may: list[Change] = []
    held: list[Held] = []
    for each in live.objects:
        if not each.hash:
            continue
        change = Change(Action.DELETE, each.ref, each.hash, "", wave_of(each.body))
        kept = kept_at_end(each.body)
        guarded = each.ref.kind in policy.guarded and not data
        reason = (
            f"kept by its annotation {kept}" if kept else "it holds data: --data deletes it, too" if guarded else ""
        )
        if live.unread:
            reason = f"{live.unread[0].what} could not be read ({live.unread[0].reason})"
        if reason:
            held.append(Held(change, reason))
        else:
            may.append(change)
    return Plan(tuple(sorted(may, key=backward)), tuple(sorted(held, key=lambda h: backward(h.change))), live.unread)


def forward(change: Change) -> tuple[object, ...]:
    return (change.wave, *order(change.ref))


def backward(change: Change) -> tuple[object, ...]:
    kind_at, *rest = order(change.ref)
    return (-change.wave, -kind_at, *rest)


# --- approval --------------------------------------------------------------------------------------


def change_key(change: Change) -> str:
    """What an approval covers of one change: action, object, and the hashes before and after."""
    ref = change.ref
    fields = (
        change.action.value,
        ref.cluster,
        ref.group,
        ref.kind,
        ref.namespace,
        ref.name,
        change.before,
        change.after,
    )
    return hashlib.sha256("\0".join(fields).encode()).hexdigest()


def changes_hash(changes: Iterable[Change]) -> str:
    """The hash over a set of changes that `plan` shows and `approve` takes; the order does not matter."""
    return hashlib.sha256("\n".join(sorted({change_key(change) for change in changes})).encode()).hexdigest()


def approval(planned: Plan) -> str:
    """The hash that allows a plan's held changes; "" when none is held, or when none can be allowed."""
    return changes_hash(held.change for held in planned.held) if planned.held and not planned.unread else ""


def release(planned: Plan, approved: Collection[str]) -> Plan:
    """The plan with its held changes set free when `approved` has the hash of exactly this set.

    If the world moved since, the hash differs and they stay held. What waits because something could not be read
    is never released: an approval cannot make it known.
    """
    key = approval(planned)
    if not key or key not in approved:
        return planned
    changes = planned.changes + tuple(held.change for held in planned.held)
    return structs.replace(planned, changes=changes, held=())


# --- diff ------------------------------------------------------------------------------------------

# Fields that the target writes; never part of what Git states
SERVER_FIELDS = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"})
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SECRET_FIELDS = ("data", "stringData")


def diff(live: Json, desired: Json, key: bytes) -> tuple[str, ...]:
    """What would change, one line per field: "- spec.replicas: 2", "+ spec.replicas: 3".

    None for a body means that the object is absent. Items of lists with names are told apart by name. A Secret's
    values are shown as a hash under `key`: whether two are equal can be seen, what they are cannot.
    """
    before, after = (dict(_fields(_stated(body, key))) if body else {} for body in (live, desired))
    lines: list[str] = []
    for path in [*before, *(path for path in after if path not in before)]:
        if before.get(path) == after.get(path):
            continue
        lines += [f"- {path}: {before[path]}"] if path in before else []
        lines += [f"+ {path}: {after[path]}"] if path in after else []
    return tuple(lines)


def _stated(body: Json, key: bytes) -> Json:
    if not isinstance(body, dict):
        return {}
    stated = {name: value for name, value in body.items() if name != "status"}
    metadata = stated.get("metadata")
    if isinstance(metadata, dict):
        stated["metadata"] = {name: value for name, value in metadata.items() if name not in SERVER_FIELDS}
    if body.get("kind") == "Secret":
        for name in _SECRET_FIELDS:
            if isinstance(stated.get(name), dict):
                stated[name] = {field: Hidden(_keyed(key, value)) for field, value in stated[name].items()}
        annotations = stated["metadata"].get("annotations") if isinstance(metadata, dict) else None
        if isinstance(annotations, dict) and LAST_APPLIED in annotations:  # kubectl keeps the whole Secret in it
            copied = {**annotations, LAST_APPLIED: Hidden(_keyed(key, annotations[LAST_APPLIED]))}
            stated["metadata"] = {**stated["metadata"], "annotations": copied}
    return stated


class Hidden(Struct, frozen=True):
    """A secret value, by its keyed hash."""

    mark: str


def _keyed(key: bytes, value: Json) -> str:
    return hmac.new(key, orjson.dumps(value, option=orjson.OPT_SORT_KEYS), hashlib.sha256).hexdigest()[:12]


def _fields(value: Json, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value as text) of every leaf; empty collections are leaves."""
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _fields(below, f"{path}.{_key(name)}" if path else _key(name))
    elif isinstance(value, list) and value:
        for name, below in _items(value):
            yield from _fields(below, f"{path}[{name}]")
    else:
        yield path, f"(hidden {value.mark})" if isinstance(value, Hidden) else orjson.dumps(value).decode()


def _key(name: str) -> str:
    return (
        name
        if name and not set(name) & set(".[] :") and name.isprintable()
        else f'"{name.encode("unicode_escape").decode()}"'
    )


def _items(value: list[Json]) -> Iterator[tuple[str, Json]]:
    names = [item.get("name") if isinstance(item, dict) else None for item in value]
    named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    for index, item in enumerate(value):
        yield (str(names[index]) if named else str(index)), item

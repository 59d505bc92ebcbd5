"""Health of objects by a user's own rules where one is for their kind, else by the rules that Trueup has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trueup.core.health.live import Found, live_health
from trueup.core.health.rules import Rule, Said, found, rule_for
from trueup.core.model import Json

AT_ONCE = 500  # objects of one request


class Judges(Protocol):
    """Runs rules in a process of its own, with limits."""

    async def judge(self, rules: Sequence[Rule], inputs: Sequence[tuple[int, Json]]) -> tuple[Said, ...]:
        """What these rules say, by (number of the rule, object). Raises RenderFailed, RendererDown."""
        ...


async def judge_all(bodies: Sequence[Json], rules: Sequence[Rule], judges: Judges) -> tuple[Found, ...]:
    """How each object is. Raises RenderFailed, RendererDown."""
    chosen = [rule_for(rules, body) for body in bodies]
    by_rule: dict[int, Found] = {}
    asked = [at for at, number in enumerate(chosen) if number >= 0]
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        said = await judges.judge(rules, [(chosen[at], bodies[at]) for at in some])
        for at, one in zip(some, said, strict=True):
            by_rule[at] = found(rules[chosen[at]], one)
    return tuple(by_rule[at] if at in by_rule else live_health(body) for at, body in enumerate(bodies))

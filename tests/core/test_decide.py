"""What Git is told of a bad Candidate: once, and not while the whole place is sick."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trueup.core.candidate import ApplicationState, CandidateState, Seen, SourceState, Verdict, Write, WriteState
from trueup.core.decide import (
    CloseWrite,
    HoldUndo,
    MakeWrite,
    Policy,
    PushWrite,
    SourceSeen,
    UndoFacts,
    WriteFacts,
    decide_source,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GOOD = CandidateState("candidate/1", number=1, commit="a" * 40, verdict=Verdict.GREEN)
BAD = CandidateState("candidate/2", number=2, commit="b" * 40, verdict=Verdict.GREEN)
SOURCE = SourceState(
    "source/s",
    seq=9,
    head=BAD.commit,
    candidates={GOOD.id: Seen(GOOD.id, GOOD.commit, 1, 1), BAD.id: Seen(BAD.id, BAD.commit, 2, 5, GOOD.commit)},
)


def sick(name: str) -> ApplicationState:
    return ApplicationState(
        f"application/{name}", name=name, source=SOURCE.id, good=(GOOD.id,), condemned={BAD.id: "exit 1"}
    )


def seen(*applications: ApplicationState, many: int = 1, share: float = 0.1) -> SourceSeen:
    facts = UndoFacts(BAD.id, GOOD.id, True, True, ("app/main",))
    return SourceSeen({c.id: c for c in (GOOD, BAD)}, applications, undo=facts, sick=many, sick_share=share)


def test_two_sick_applications_make_one_undo() -> None:
    actions = decide_source(SOURCE, seen(sick("web"), sick("worker")), Policy(), NOW)
    assert actions == (MakeWrite("undo", GOOD.id, BAD.id, ("app/main",)),)


@pytest.mark.parametrize(
    ("many", "share", "held"),
    [(3, 0.6, True), (30, 0.51, True), (2, 1.0, False), (3, 0.5, False)],
)
def test_nothing_is_undone_while_most_of_what_runs_is_sick(many: int, share: float, held: bool) -> None:
    (action,) = decide_source(SOURCE, seen(sick("web"), many=many, share=share), Policy(), NOW)
    if held:
        assert isinstance(action, HoldUndo) and f"{many} applications are sick at once" in action.reason
    else:
        assert isinstance(action, MakeWrite)


@pytest.mark.parametrize("found", [True, False])
def test_while_one_write_is_open_no_other_is_begun(found: bool) -> None:
    from msgspec.structs import replace

    open_write = Write("undo", GOOD.id, "c" * 40, parent=BAD.commit, condemned=BAD.id)
    source = replace(SOURCE, writes={open_write.commit: open_write})
    looked = replace(seen(sick("web")), writes=(WriteFacts(GOOD.id, ("config/web.yaml",)),), open_write_found=found)
    expected = CloseWrite(open_write, WriteState.PUSHED) if found else PushWrite(open_write)
    assert decide_source(source, looked, Policy(), NOW) == (expected,)
    done = replace(source, writes={open_write.commit: replace(open_write, state=WriteState.PUSHED)})
    assert not [a for a in decide_source(done, seen(sick("web")), Policy(), NOW) if isinstance(a, MakeWrite)]

"""What is owed to sessions, whatever state their slots are in."""

from __future__ import annotations

from engine.turn_ledger import TurnLedger


def test_what_has_ended_is_owed_until_it_is_answered_or_its_session_closes() -> None:
    ledger = TurnLedger()
    for key in (1, 2):
        ledger.open(key)
    assert [ledger.end(1), ledger.end(1), ledger.end(2)] == [0, 1, 0]
    assert ledger.owed() == [(1, 0), (1, 1), (2, 0)]
    ledger.settle(1, 0)
    ledger.settle(1, 0)
    ledger.close(2)
    assert ledger.owed() == [(1, 1)]


def test_late_commands_of_a_closed_session_owe_nothing() -> None:
    ledger = TurnLedger()
    ledger.open(1)
    ledger.close(1)
    ledger.close(1)
    assert ledger.end(1) is None
    ledger.settle(1, 0)
    assert ledger.owed() == []

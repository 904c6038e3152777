"""A lane's inbox: bounded where it says so, and newer items in place of older ones."""

from __future__ import annotations

from engine.inbox import Inbox


def test_a_full_inbox_says_no_unless_it_is_forced() -> None:
    inbox: Inbox[str] = Inbox(capacity=1)
    assert inbox.put("a")
    assert not inbox.put("b")
    assert inbox.put("c", force=True)
    assert inbox.drain(0) == ["a", "c"]


def test_a_newer_item_takes_the_place_of_the_one_that_it_replaces() -> None:
    inbox: Inbox[str] = Inbox(capacity=9)
    for item, replaces in (("a1", "a"), ("x", None), ("b1", "b"), ("a2", "a"), ("y", None)):
        assert inbox.put(item, replaces=replaces)
    assert inbox.drain(0) == ["a2", "x", "b1", "y"]
    assert inbox.put("a3", replaces="a")  # what was taken out is not replaced
    assert inbox.drain(0) == ["a3"]


def test_a_closed_inbox_takes_nothing_and_gives_what_it_has() -> None:
    inbox: Inbox[str] = Inbox(capacity=9)
    inbox.put("a")
    inbox.close()
    assert not inbox.put("b", force=True)
    assert inbox.drain(None) == ["a"]

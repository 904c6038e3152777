from hypothesis import given
from hypothesis import strategies as st

from engine.llm.slots import Slots


def test_a_session_returns_to_its_slot() -> None:
    slots = Slots(3)
    mine, returning = slots.take(1)
    assert not returning
    slots.give_back(mine)
    others = [slots.take(2), slots.take(3)]
    assert slots.take(1) == (mine, True)
    assert (mine, False) not in others


def test_a_new_session_takes_the_slot_longest_unused() -> None:
    slots = Slots(2)
    (first, _), (second, _) = slots.take(1), slots.take(2)
    slots.give_back(second)
    slots.give_back(first)
    assert slots.take(3) == (first, False)
    slots.give_back(first)
    assert slots.take(1) == (second, False)


def test_a_forgotten_sessions_slot_goes_first() -> None:
    slots = Slots(2)
    (first, _), (second, _) = slots.take(1), slots.take(2)
    slots.give_back(first)
    slots.give_back(second)
    slots.forget(2)
    assert slots.take(3) == (second, False)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_a_slot_is_never_given_to_two(steps: list[tuple[int, bool]]) -> None:
    slots, taken = Slots(3), list[int]()
    for key, take in steps:
        if take and slots.free:
            slot, _ = slots.take(key)
            assert slot not in taken
            taken.append(slot)
        elif not take and taken:
            slots.give_back(taken.pop(0))
        assert slots.free == 3 - len(taken)

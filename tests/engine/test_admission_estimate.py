"""What is estimated of one session more, from work that a simulated clock measures."""

from __future__ import annotations

import math

import pytest

from engine.admission import Admission


class Machine:
    """An ``Admission`` with a target of 1 s, on a machine that takes 0.26 s for 6 s of speech."""

    def __init__(self, service_s: float = 0.26, target_s: float = 1.0) -> None:
        self.now = 0.0
        self.admission = Admission(target_s, lambda: self.now)
        self.admission.calibrate(service_s, 6.0)
        self.open = 0

    def fill(self, most: int = 1000) -> int:
        """Let in who may come, all at once; how many are there then."""
        while self.open < most and self.admission.has_room():
            self.admission.opened(self.open)
            self.open += 1
        return self.open

    def speak(self, seconds: float, latency_s: float, share: float = 1.0) -> None:
        """Every session says 6 s in each six seconds, or a share of them."""
        for _ in range(round(seconds / 6)):
            self.now += 6
            for key in range(self.open):
                self.admission.finished(key, 6 * share, latency_s)


def test_a_crowd_that_arrives_at_once_is_not_let_in_whole() -> None:
    assert 8 <= Machine().fill() <= 12
    assert Machine(service_s=0.11).fill() > 2 * Machine().fill()


def test_the_first_may_come_however_slow_the_machine_is() -> None:
    assert Machine(service_s=30.0).fill() == 1


def test_a_target_of_zero_admits_everybody() -> None:
    assert Machine(service_s=30.0, target_s=0.0).fill(200) == 200


def test_sessions_that_hardly_speak_leave_room_for_others() -> None:
    machine = Machine()
    before = machine.fill()
    machine.speak(300, latency_s=0.3, share=0.1)
    assert machine.fill() >= 1.5 * before


def test_finals_that_take_longer_than_was_expected_close_the_door() -> None:
    machine = Machine()
    machine.fill(5)
    assert machine.admission.has_room()
    machine.speak(24, latency_s=1.1)
    assert not machine.admission.has_room()
    assert machine.admission.p95_s() >= 1.1


def test_what_was_slow_is_forgotten_when_it_has_passed() -> None:
    machine = Machine()
    machine.fill(5)
    machine.speak(24, latency_s=1.1)
    machine.now += 60
    assert machine.admission.has_room()


def test_a_few_finals_tell_nothing() -> None:
    machine = Machine()
    machine.fill(2)
    machine.speak(18, latency_s=3.0)  # six of them
    assert machine.admission.has_room()


def test_a_session_that_closes_gives_its_room_back() -> None:
    machine = Machine()
    full = machine.fill()
    load = machine.admission.load()
    machine.admission.closed(0)
    machine.admission.closed(0)
    assert machine.admission.load() == pytest.approx(load * (full - 1) / full)
    assert machine.admission.has_room()


def test_more_than_can_be_is_infinite_and_never_an_error() -> None:
    machine = Machine(target_s=0.0)
    machine.fill(500)
    assert machine.admission.load() == 1.0
    assert machine.admission.p95_s() == math.inf


def test_finals_that_were_ready_before_they_were_asked_for_do_no_harm() -> None:
    machine = Machine()
    machine.fill(3)
    machine.speak(24, latency_s=0.0)
    assert machine.admission.p95_s() < 1.0

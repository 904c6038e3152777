"""In which language a slot asks for its windows to be decoded."""

from __future__ import annotations

from slot_bench import Bench

from engine.types import SessionOptions, Transcript


def languages(bench: Bench) -> list[str | None]:
    return [e.language for e in bench.events if isinstance(e, Transcript) and e.is_final]


def test_each_long_turn_is_decoded_in_its_own_language_and_short_ones_keep_the_last() -> None:
    bench = Bench()
    bench.idle = False
    asked = []
    for seconds, heard in ((1, "fr"), (1, "it"), (3, "de"), (1, "de"), (4, "en"), (1, "en")):
        bench.say(seconds)
        bench.end()
        job = bench.answer(1, language=heard, language_probability=0.99)
        asked.append((job.language, job.last_language))
    assert asked == [
        (None, None),
        (None, None),
        (None, None),
        ("de", "de"),
        (None, "de"),
        ("en", "en"),
    ]
    assert languages(bench) == ["fr", "it", "de", "de", "en", "en"]


def test_a_language_that_was_given_is_asked_for_always() -> None:
    for options in (SessionOptions(language="de"), SessionOptions(languages=("de",))):
        bench = Bench(options=options)
        bench.idle = False
        for seconds in (1, 4):
            bench.say(seconds)
            bench.end()
            assert bench.answer(1).language == "de"


def test_the_choice_is_among_those_listed() -> None:
    bench = Bench(options=SessionOptions(languages=("en", "de")))
    bench.idle = False
    bench.say(4)
    bench.end()
    job = bench.answer(1)
    assert (job.language, job.languages) == (None, ("en", "de"))


def test_a_window_is_not_asked_again_for_a_language_that_is_sure() -> None:
    for probability, expected in ((0.99, "de"), (0.5, None)):
        bench = Bench(partials=True)
        while not bench.jobs or bench.jobs[-1].seconds < 3:
            bench.say(0.2)
        assert bench.jobs[-1].language is None
        bench.answer(1, language="de", language_probability=probability)
        bench.say(1)
        assert bench.jobs[-1].language == expected


def test_settled_words_keep_their_language() -> None:
    bench = Bench(partials=True, partial_interval_s=0.5)
    bench.say(0.7)
    bench.answer(1, 2, language="de")
    bench.say(0.6)
    bench.answer(1, 2, 3, language="de")
    bench.say(3)
    assert bench.jobs[-1].prefix == (1, 2)
    assert bench.jobs[-1].language == "de"


def test_windows_of_one_turn_have_languages_of_their_own() -> None:
    bench = Bench()
    bench.say(3)
    bench.pause(0.3)
    bench.answer(1, end=".", language="en", language_probability=0.99)
    bench.pause(1.2)
    bench.say(5)
    bench.pause(0.3)
    job = bench.answer(2, language="de", language_probability=0.99)
    assert (job.language, job.last_language) == (None, "en")
    bench.end()
    assert bench.finals() == ["one. two"]
    assert languages(bench) == ["de"]  # which most of it was in


def test_what_a_short_window_was_taken_for_is_neither_kept_nor_context() -> None:
    bench = Bench()
    bench.say(1.6)
    bench.pause(0.3)
    bench.answer(1, end=".", language="ar", language_probability=0.5)
    bench.pause(1.2)
    bench.say(5)
    bench.pause(0.3)
    job = bench.answer(2, language="en", language_probability=0.7)
    assert (job.language, job.last_language, job.context) == (None, None, "")
    bench.say(1)
    bench.end()
    assert bench.jobs[0].seconds > 5


def test_what_is_left_out_of_a_first_long_window_is_known_by_its_language() -> None:
    bench = Bench()
    bench.idle = False
    bench.say(20)
    bench.end()
    bench.answer(*[1] * 4, language="de", language_probability=0.9, times=(0, 0.5, 1, 1.5, 2))
    assert bench.jobs[0].last_language == "de"
    assert bench.jobs[0].context == " one" * 4

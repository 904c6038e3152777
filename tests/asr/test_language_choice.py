"""Which language a window is decoded in, of how likely each one is."""

from __future__ import annotations

import pytest

from engine.asr.languages import check_known, choose
from engine.errors import ModelError

HEARD = {"en": 0.3, "de": 0.55, "fr": 0.1, "nl": 0.05}


def test_the_likeliest_is_chosen_where_nothing_was_spoken_before() -> None:
    assert choose(HEARD) == ("de", pytest.approx(0.55))


def test_an_unclear_one_does_not_replace_the_language_spoken_so_far() -> None:
    assert choose(HEARD, kept="fr") == ("fr", pytest.approx(0.1))
    clear = HEARD | {"de": 2.0}
    assert choose(clear, kept="fr")[0] == "de"


def test_one_that_is_still_plausible_stays_against_a_clear_one() -> None:
    """Portuguese in the midst of Spanish; and German and English as they were in fact spoken."""
    assert choose({"pt": 0.82, "es": 0.10, "gl": 0.08}, kept="es") == ("es", pytest.approx(0.1))
    assert choose({"en": 0.68, "cy": 0.316, "de": 0.004}, kept="de")[0] == "en"


def test_only_those_allowed_are_chosen_and_their_probabilities_are_shares() -> None:
    assert choose(HEARD, ("en", "fr")) == ("en", pytest.approx(0.75))
    assert choose(HEARD, ("en", "nl"), kept="fr")[0] == "en"
    assert choose(HEARD, ("en", "xx"), kept="de") == ("en", pytest.approx(1.0))


def test_a_model_that_knows_none_of_them_says_so() -> None:
    with pytest.raises(ModelError, match="none of the languages xx, yy"):
        check_known(("xx", "yy"), frozenset(HEARD))
    check_known(("xx", "en"), frozenset(HEARD))
    check_known((), frozenset(HEARD))

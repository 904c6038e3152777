from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pick_cases import EOT, LAYOUT, PLAIN, RULES, TIMES, by_the_book, make_case

from kernels.token_pick import PickRule, token_pick


@pytest.mark.parametrize("time_boost", [-20.0, 0.0, 3.0])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_equals_whispers_rules(rule: PickRule, time_boost: float) -> None:
    case = make_case([rule] * 3, time_boost=time_boost)
    picked = token_pick(*case)
    for row, found in enumerate(zip(*picked, strict=True)):
        expected = by_the_book(case.logits[row], case.masks[rule.mask], rule)
        assert int(found[0]) == expected[0]
        assert tuple(map(float, found[1:])) == pytest.approx(expected[1:], abs=1e-5)


@settings(deadline=None, max_examples=15)
@given(rules=st.lists(st.sampled_from(list(RULES.values())), min_size=1, max_size=6))
def test_a_mixed_batch_equals_each_row_alone(rules: list[PickRule]) -> None:
    case = make_case(rules)
    together = token_pick(*case)
    for row in range(len(rules)):
        this = slice(row, row + 1)
        alone = token_pick(case.logits[this], case.masks, case.rules[this], LAYOUT)
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[this], part)


def test_of_equals_the_lowest_is_picked() -> None:
    case = make_case([PLAIN])
    case.logits[0, [400, 300, 200]] = 50.0
    case.masks[0, [400, 300, 200]] = False
    assert token_pick(*case).token.tolist() == [200]


def test_all_times_together_outweigh_the_best_text() -> None:
    case = make_case([RULES["times or text"]] * 2)
    case.logits.fill_(-10.0)
    case.masks.fill_(False)
    case.logits[:, 1000] = 2.0
    case.logits[0, TIMES:] = -4.0  # 1501 e^-4 > e^2, each alone is less
    case.logits[1, TIMES:] = -6.0  # 1501 e^-6 < e^2
    assert token_pick(*case).token.tolist() == [TIMES, 1000]


def test_a_suppressed_end_has_no_probability() -> None:
    case = make_case([RULES["first token"], RULES["first time"], PLAIN])
    probability = token_pick(*case).end_of_text_probability
    assert probability[:2].tolist() == [0.0, 0.0]
    assert probability[2] > 0


def test_an_english_vocabulary_without_times() -> None:
    logits = torch.randn(2, TIMES)
    masks = torch.zeros(1, TIMES, dtype=torch.bool)
    rules = torch.tensor([PickRule(0, 0, TIMES, TIMES)] * 2, dtype=torch.int32)
    picked = token_pick(logits, masks, rules, LAYOUT)
    assert picked.token.tolist() == logits.argmax(1).tolist()
    expected = logits.log_softmax(1)[:, EOT].exp()
    torch.testing.assert_close(picked.end_of_text_probability, expected)

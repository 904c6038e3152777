"""The next token of each row: Whisper's rules as data, and the choice under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.whisper.spec import WhisperSpec
from engine.whisper.tokenizer import WhisperTokenizer
from kernels.dispatch import operations_for
from kernels.token_pick import PickRule, TokenLayout

_ANY, _FIRST = 0, 1
_MAX_INITIAL_TIMESTAMP = 50  # steps of 0.02 s, as in OpenAI's Whisper
_ROUNDING = 2.0**-7  # of a bfloat16 logit, twice over
_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class RowRule:
    """What one row may pick, and how: ``temperature`` 0 is greedy, else ``generator`` is used."""

    pick: PickRule
    temperature: float = 0.0
    generator: torch.Generator | None = None

    @property
    def is_plain(self) -> bool:
        return self.pick.first_token == 0 and self.pick.timestamp_low == self.pick.timestamp_high


@dataclass(frozen=True, slots=True)
class Pick:
    token: int
    log_probability: float


def plain_rule(said: int) -> PickRule:
    """Text only, after ``said`` tokens of it."""
    return PickRule(_ANY if said else _FIRST, 0, 0, 0)


def timestamp_rule(said: Sequence[int], tokens: WhisperTokenizer, vocabulary: int) -> PickRule:
    """The rule after ``said``: times come in pairs and never go back (OpenAI's Whisper)."""
    begin = tokens.timestamp_begin
    if not said:
        return PickRule(_FIRST, begin, begin, begin + _MAX_INITIAL_TIMESTAMP + 1)
    times = [token for token in said if token >= begin]
    low = times[-1] if times else begin
    if said[-1] < begin:
        return PickRule(_ANY, 0, low + bool(times), vocabulary)
    if len(said) < 2 or said[-2] >= begin:
        return PickRule(_ANY, 0, 0, 0)
    return PickRule(_ANY, tokens.end_of_text, low, vocabulary)


def gumbel_noise(size: int, generator: torch.Generator | None) -> Tensor:
    """``[size]`` float32 on the CPU; the arg-max of logits and it is a draw from their softmax."""
    uniform = torch.rand(size, generator=generator).clamp_(min=1e-20)
    return -(-uniform.log()).log()


class TokenPicker:
    """Greedy or sampled choice, with log-probabilities after suppression.

    On a CPU in bfloat16, where a logit has eight bits, the tokens that could be the best, up to
    eight of them, are scored again in float32 against ``embeddings``: a choice then depends on the
    hidden state only.
    """

    def __init__(
        self,
        spec: WhisperSpec,
        tokens: WhisperTokenizer,
        embeddings: Tensor,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._layout = TokenLayout(tokens.end_of_text, tokens.timestamp_begin)
        never = (*spec.suppress, tokens.no_timestamps)
        self._never = torch.tensor(sorted(set(never)), device=device)
        self._masks = torch.zeros(2, spec.vocabulary, dtype=torch.bool, device=device)
        self._masks[:, self._never] = True
        self._begin = torch.tensor(spec.suppress_begin, dtype=torch.int64, device=device)
        self._masks[_FIRST, self._begin] = True
        self._pick = operations_for(device, dtype).token_pick
        self._dense = device.type == "cpu"
        self._embeddings = embeddings if self._dense and dtype is torch.bfloat16 else None

    def __call__(self, hidden: Tensor, logits: Tensor, rules: Sequence[RowRule]) -> list[Pick]:
        """One pick a row. hidden ``[rows, width]`` float32, logits ``[rows, vocabulary]``."""
        if self._dense and all(rule.is_plain for rule in rules):
            picks = self._plain(hidden, logits, rules)
        else:
            picks = self._ruled(logits, rules)
        for row, rule in enumerate(rules):
            if rule.temperature > 0:
                picks[row] = self._sampled(hidden[row], logits[row], rule, picks[row])
        return picks

    def choose(self, logits: Tensor, rules: Tensor) -> Tensor:
        """The same by numbers alone: logits ``[rows, vocabulary]``, rules ``[rows, 4]`` int32.

        Returns ``[rows, 2]`` float32 where the logits are: token (exact: they are below 2^24) and
        log-probability.
        """
        picked = self._pick(logits, self._masks, rules, self._layout)
        return torch.stack([picked.token.float(), picked.log_probability.float()], 1)

    def draw(self, logits: Tensor, rules: Tensor, temperatures: Tensor, noise: Tensor) -> Tensor:
        """``choose`` from ``softmax(logits / temperature)``, by Gumbel noise.

        temperatures ``[rows]``; noise ``[rows, vocabulary]`` of :func:`gumbel_noise`. The
        log-probabilities are those at temperature 1.
        """
        wide = logits.float()
        likely = self.choose(wide, rules)
        total = wide.gather(1, likely[:, :1].long()) - likely[:, 1:]
        drawn = self.choose(wide / temperatures[:, None] + noise, rules)[:, :1]
        return torch.cat([drawn, wide.gather(1, drawn.long()) - total], 1)

    def _ruled(self, logits: Tensor, rules: Sequence[RowRule]) -> list[Pick]:
        table = torch.tensor([rule.pick for rule in rules], dtype=torch.int32)
        both = self.choose(logits, table.to(logits.device)).tolist()
        return [Pick(int(token), probability) for token, probability in both]

    def _plain(self, hidden: Tensor, logits: Tensor, rules: Sequence[RowRule]) -> list[Pick]:
        """A CPU's way for rows without timestamps: few passes over the logits."""
        allowed = logits.to(torch.float32, copy=True)
        allowed[:, self._never] = -torch.inf
        allowed[:, self._layout.timestamp_begin :] = -torch.inf
        for row, rule in enumerate(rules):
            if rule.pick.mask == _FIRST:
                allowed[row, self._begin] = -torch.inf
        values, candidates = allowed.topk(_CANDIDATES, sorted=False)
        candidates, order = candidates.sort(1)  # of equals the lowest is chosen
        values = values.gather(1, order)
        best, which = values.max(1)
        token = candidates.gather(1, which[:, None])
        total = best - allowed.log_softmax(1).gather(1, token).squeeze(1)
        if self._embeddings is not None:
            scores = self._scored_again(hidden, candidates, values)
            best, which = scores.max(1)
            token = candidates.gather(1, which[:, None])
        pairs = zip(token.squeeze(1).tolist(), (best - total).tolist(), strict=True)
        return [Pick(*pair) for pair in pairs]

    def _scored_again(self, hidden: Tensor, candidates: Tensor, values: Tensor) -> Tensor:
        """Float32 scores of candidates that bfloat16 cannot tell from the best."""
        assert self._embeddings is not None
        best = values.amax(1, keepdim=True)
        close = values >= best - best.abs() * _ROUNDING - _ROUNDING
        vectors = self._embeddings[candidates].float()
        return (vectors @ hidden[:, :, None]).squeeze(2).masked_fill(~close, -torch.inf)

    def _sampled(self, hidden: Tensor, logits: Tensor, rule: RowRule, greedy: Pick) -> Pick:
        """Draw from ``softmax(logits / temperature)`` by adding Gumbel noise."""
        noise = gumbel_noise(len(logits), rule.generator)
        scaled = logits.float() / rule.temperature + noise
        drawn = self._ruled(scaled[None], [rule])[0]
        total = float(logits[greedy.token]) - greedy.log_probability
        return Pick(drawn.token, float(logits[drawn.token]) - total)

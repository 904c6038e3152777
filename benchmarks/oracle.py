"""Token for token: Whisper in torch against CTranslate2, both in float32, greedy, 30 s of context.

    ANTIPHON_SPEECH=... python -m benchmarks.oracle OUTPUT.json

Two programs that add the same numbers in another order differ where two tokens are all but equally
likely, and from there on say different things. So each clip is compared up to the first token that
differs, and the gap there is told: by how much our model found its own token likelier than the
other's, in nats. A gap above ``NEAR_TIE`` would be a difference of another kind.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ctranslate2
import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from benchmarks.load import results
from benchmarks.whisper import read
from engine.asr.guards import repeats
from engine.models import resolve
from engine.types import Pcm
from engine.whisper.features import features, hear
from engine.whisper.model import WhisperModel
from engine.whisper.packed import Span, pack
from engine.whisper.row import RowRequest, RowResult
from server.sources import load

NEAR_TIE = 0.02
_MAX_TOKENS = 200
_FRAMES = 3000
_LONGEST_S = 29.0


@dataclass(frozen=True, slots=True)
class Difference:
    """The first token that differs, and how much likelier ours was, in nats, to our model."""

    position: int
    gap: float


class Pair:
    """One model folder in both programs."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.ours = WhisperModel(folder, "cpu", "float32", slots=1)
        self.theirs = ctranslate2.models.Whisper(
            str(folder), compute_type="float32", intra_threads=threads
        )

    @torch.inference_mode()
    def encode(self, pcm: Pcm) -> tuple[Tensor, Tensor]:
        """Features ``[3000, bins]`` and our encoder's states ``[1500, width]``."""
        mel = features(hear(pcm, self.ours.spec.n_mels), _FRAMES)
        return mel, self.ours.encoder(mel[None])[0]

    @torch.inference_mode()
    def decode(self, states: Tensor, request: RowRequest) -> RowResult:
        rows = self.ours.continuous()
        rows.join(request, states)
        while not (finished := rows.step()):
            pass
        return finished[0][1]

    def expect(self, mel: Tensor, opening: list[int], most: int = _MAX_TOKENS) -> Any:
        """What CTranslate2 makes of the same features."""
        batch = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None].numpy()))
        return self.theirs.generate(
            batch,
            [opening],
            beam_size=1,
            max_length=len(opening) + most,
            return_no_speech_prob=True,
        )[0]

    @torch.inference_mode()
    def difference(
        self, states: Tensor, opening: list[int], tokens: list[int], expected: list[int]
    ) -> Difference | None:
        """Where ``tokens``, which our model chose, leave ``expected``; None if they do not.

        A loop is cut short here and not there, so that it is compared up to where it was cut.
        """
        end = self.ours.tokens.end_of_text
        ours, theirs = [*tokens, end], [*expected, end]
        if repeats(tuple(tokens)):
            ours, theirs = tokens, expected[: len(tokens)]
        pairs = enumerate(zip(ours, theirs, strict=False))
        position = next((i for i, (one, other) in pairs if one != other), None)
        if position is None:
            assert len(ours) == len(theirs)
            return None
        self.ours.decoder.hear(0, states)
        known = (*opening, *ours[:position])
        hidden = self.ours.decoder(pack([Span(0, 0, known)], self.ours.device))
        logits = self.ours.decoder.logits(hidden[-1:])[0]
        return Difference(position, float(logits[ours[position]] - logits[theirs[position]]))


def compare(pair: Pair, pcm: Pcm, language: str) -> tuple[int, Difference | None, list[str]]:
    """How many tokens we chose, the first that differs, and both texts."""
    tokens = pair.ours.tokens
    opening = tokens.opening(language)
    mel, states = pair.encode(pcm)
    ours = list(pair.decode(states, RowRequest(_MAX_TOKENS, language)).tokens)
    theirs = list(pair.expect(mel, opening).sequences_ids[0])
    found = pair.difference(states, opening, ours, theirs)
    return len(ours), found, [tokens.decode(ours), tokens.decode(theirs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="JSON file of the result")
    parser.add_argument("--model", default="base", help="name or folder (default: base)")
    parser.add_argument("--every", type=int, default=1, help="only every so many clips")
    args = parser.parse_args()
    speech = Path(os.environ["ANTIPHON_SPEECH"])
    pair = Pair(resolve(args.model, "asr", load({}, os.environ).home))
    lines = map(json.loads, (speech / "manifest.jsonl").read_text().splitlines())
    clips = [line for line in lines if line.get("text") and line["seconds"] < _LONGEST_S]
    counts = {"clips": 0, "tokens": 0, "identical": 0, "near_ties": 0, "other_differences": 0}
    result = results.start("oracle", {"model": args.model, "near_tie_nats": NEAR_TIE})
    for clip in track(clips[:: args.every], "clips"):
        tokens, found, texts = compare(pair, read(speech / clip["audio"]), clip["lang"])
        kind = "identical" if found is None else "near_ties" if found.gap < NEAR_TIE else None
        counts["clips"] += 1
        counts["tokens"] += tokens
        counts[kind or "other_differences"] += 1
        if found is not None:
            about = {"audio": clip["audio"], "antiphon": texts[0], "ctranslate2": texts[1]}
            result["runs"].append(about | asdict(found))
        results.write(result | {"counts": counts}, args.output)
    print(json.dumps({"counts": counts, "differences": result["runs"]}, ensure_ascii=False))


if __name__ == "__main__":
    main()

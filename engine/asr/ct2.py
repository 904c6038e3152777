"""Whisper on CTranslate2: one batched encode, one batched generate, for many sessions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import numpy.typing as npt
import torch

from engine.asr.backend import AsrJob, Hypothesis
from engine.asr.guards import context_s, token_cap
from engine.asr.languages import check_known, choose, fits_context
from engine.asr.vocabulary import MAX_POSITIONS, Vocabulary
from engine.errors import AsrFailed, ModelError
from engine.metrics import STAGE_SECONDS
from engine.types import SAMPLE_RATE
from kernels.log_mel import whisper_features

log = logging.getLogger(__name__)

_FRAMES_PER_SECOND = 100
_CPU_FINALS = 4
_CPU_PARTIALS = 1
_POSITION_S = 0.02  # of audio in one encoder position


@dataclass(frozen=True, slots=True)
class _Row:
    """A job on its way through a step: its language and its prompt, ready for the decoder."""

    job: AsrJob
    index: int  # in the encoder's output
    language: str | None
    language_probability: float | None  # where it was detected
    prompt: tuple[int, ...]  # ends where the new text begins, prefix included
    start: int  # position of <|startoftranscript|>, equal in one call of generate


class CTranslate2Whisper:
    """An ``AsrBackend``: a step encodes and decodes all submitted jobs as one batch."""

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        compute_type: str = "auto",
        threads: int = 0,
        batch_size: int = 16,
    ) -> None:
        self.name = f"ctranslate2/{folder.name}"
        if compute_type == "auto":
            compute_type = "float16" if device == "cuda" else "int8"
        self._batch_size = batch_size
        self._vocabulary = Vocabulary(folder)
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder), device=device, compute_type=compute_type, intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"Whisper in {folder} cannot be loaded on {device}: {error}"
            ) from error
        self._jobs: list[AsrJob] = []

    @property
    def active(self) -> int:
        return len(self._jobs)

    def capacity(self, job: AsrJob) -> int:
        # A CPU encodes a batch row by row, and whoever comes next waits for all of it.
        if self._model.device == "cpu":
            most = _CPU_FINALS if job.is_final else _CPU_PARTIALS
            return min(most, self._batch_size) - len(self._jobs)
        return self._batch_size - len(self._jobs)

    def submit(self, jobs: Sequence[AsrJob]) -> None:
        self._jobs.extend(jobs)

    def promote(self, job: AsrJob) -> None:
        """Nothing to do: a step runs all its jobs as one batch."""

    def cancel(self, key: int, turn_id: int | None = None) -> None:
        """Nothing to do: a step ends all its jobs, and the lane drops late results."""

    def step(self) -> list[Hypothesis]:
        """Encode and decode every submitted job; a batch that fails is tried one by one."""
        jobs, self._jobs = self._jobs, []
        try:
            return self._run(jobs)
        except (RuntimeError, ValueError, ModelError) as error:
            who = ", ".join(f"session {job.key} turn {job.turn_id}" for job in jobs)
            if len(jobs) == 1:
                log.warning("%s: a segment of %.1f s failed: %s", who, jobs[0].seconds, error)
                failure = AsrFailed(f"{self.name} failed on a segment: {error}")
                return [Hypothesis(jobs[0], error=failure)]
            log.warning("a speech batch failed, trying one by one (%s): %s", who, error)
        results = []
        for job in jobs:
            self._jobs = [job]
            results += self.step()
        return results

    def decode(self, tokens: Sequence[int]) -> str:
        return self._vocabulary.decode(tokens)

    def warmup(self) -> None:
        """Encode and decode a second of silence, so that the first speaker does not wait."""
        silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
        self._run([AsrJob(-1, 0, 0, silence, is_final=True)])

    def close(self) -> None:
        self._model.unload_model()

    # ---- one step -----------------------------------------------------------------------

    def _run(self, jobs: Sequence[AsrJob]) -> list[Hypothesis]:
        if not jobs:
            return []
        with STAGE_SECONDS.labels("asr_encode").time():
            encoded = self._encode(jobs)
        languages = self._languages(jobs, encoded)
        groups = defaultdict(list)
        for index, (job, detected) in enumerate(zip(jobs, languages, strict=True)):
            row = self._row(job, index, *detected)
            groups[row.start].append(row)
        with STAGE_SECONDS.labels("asr_decode").time():
            return [
                hypothesis
                for rows in groups.values()
                for hypothesis in self._generate(rows, encoded, len(jobs))
            ]

    def _encode(self, jobs: Sequence[AsrJob]) -> ctranslate2.StorageView:
        """Encoder output ``[jobs, frames / 2, width]`` over the longest context asked for."""
        seconds = max(context_s(job.seconds, job.full_context) for job in jobs)
        features = whisper_features(
            [torch.from_numpy(job.pcm) for job in jobs],
            frames=seconds * _FRAMES_PER_SECOND,
            bins=self._model.n_mels,
        )
        if self._model.device == "cuda" or len(jobs) == 1:
            return self._model.encode(_view(features.numpy()))
        # On a CPU a batch of eight falls out of the caches and costs twice as much for each row.
        rows = [self._model.encode(_view(row[None].numpy())) for row in features]
        return _view(np.concatenate([np.asarray(row) for row in rows]))

    def _languages(
        self, jobs: Sequence[AsrJob], encoded: ctranslate2.StorageView
    ) -> list[tuple[str | None, float | None]]:
        """Each job's language: as given, else detected, for all that need it in one call, and
        then with its probability."""
        if not self._vocabulary.multilingual:
            return [("en", None)] * len(jobs)
        languages: list[tuple[str | None, float | None]] = [(job.language, None) for job in jobs]
        unknown = [i for i, job in enumerate(jobs) if job.language is None]
        if unknown:
            ranked = self._model.detect_language(self._select(encoded, unknown, len(jobs)))
            for i, candidates in zip(unknown, ranked, strict=True):
                check_known(jobs[i].languages, self._vocabulary.languages)
                likely = {token.strip("<|>"): probability for token, probability in candidates}
                languages[i] = choose(likely, jobs[i].languages, jobs[i].last_language)
        return languages

    def _row(self, job: AsrJob, index: int, language: str | None, likely: float | None) -> _Row:
        context = job.context if fits_context(job, language) else ""
        previous = self._vocabulary.previous(job.prompt, context, job.hotwords)
        prompt = self._vocabulary.prompt(language, previous, job.task)
        start = prompt.index(self._vocabulary.start)
        return _Row(job, index, language, likely, (*prompt, *job.prefix), start)

    def _generate(
        self,
        rows: Sequence[_Row],
        encoded: ctranslate2.StorageView,
        total: int,
    ) -> list[Hypothesis]:
        """Decode rows whose text starts at one position, as CTranslate2 requires of a batch."""
        temperature = rows[0].job.temperature
        longest = max(len(row.prompt) - len(row.job.prefix) for row in rows)
        cap = max(token_cap(row.job.seconds) for row in rows)
        results = self._model.generate(
            self._select(encoded, [row.index for row in rows], total),
            [list(row.prompt) for row in rows],
            beam_size=1,
            sampling_topk=0 if temperature else 1,
            sampling_temperature=temperature or 1,
            max_length=min(longest + cap, MAX_POSITIONS),
            return_scores=True,
            return_no_speech_prob=True,
            length_penalty=0,
        )
        return [
            self._hypothesis(row, result, self._times(row, result, encoded, total))
            for row, result in zip(rows, results, strict=True)
        ]

    def _times(
        self,
        row: _Row,
        result: ctranslate2.models.WhisperGenerationResult,
        encoded: ctranslate2.StorageView,
        total: int,
    ) -> tuple[float, ...]:
        """When each token begins, and the last one ends, in seconds of the window; if asked."""
        sparse = len(result.sequences_ids[0]) < row.job.align_below
        if not (row.job.align or sparse):
            return ()
        (aligned,) = self._model.align(
            self._select(encoded, [row.index], total),
            list(row.prompt[row.start : len(row.prompt) - len(row.job.prefix) - 1]),
            [result.sequences_ids[0]],
            round(row.job.seconds * _FRAMES_PER_SECOND),
        )
        first: dict[int, int] = {}
        for token, position in aligned.alignments:
            first.setdefault(token, position)
        return tuple(first[token] * _POSITION_S for token in sorted(first))

    def _hypothesis(
        self,
        row: _Row,
        result: ctranslate2.models.WhisperGenerationResult,
        times: tuple[float, ...],
    ) -> Hypothesis:
        tokens = tuple(result.sequences_ids[0])
        chosen = len(tokens) - len(row.job.prefix) + 1  # forced tokens are not scored; the end is
        return Hypothesis(
            job=row.job,
            tokens=tokens,
            text=self._vocabulary.decode(tokens),
            language=row.language,
            language_probability=row.language_probability,
            avg_logprob=result.scores[0] / max(chosen, 1),
            no_speech_prob=result.no_speech_prob,
            token_times=times,
        )

    def _select(
        self, encoded: ctranslate2.StorageView, rows: Sequence[int], total: int
    ) -> ctranslate2.StorageView:
        """Some rows of the encoder's output; all of them without a copy."""
        if len(rows) == total:
            return encoded
        if self._model.device == "cuda":
            return _view(torch.as_tensor(encoded, device="cuda")[list(rows)].contiguous())
        return _view(np.asarray(encoded)[list(rows)])


def _view(array: npt.NDArray[np.float32] | torch.Tensor) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(array)

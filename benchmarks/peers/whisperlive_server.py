"""WhisperLive's own server, with the model in a folder. Runs in WhisperLive's environment.

Each utterance of a test is a connection of its own, because WhisperLive has no other way to say
that one has ended; so its limits on admissions, which are meant for people, are raised.
"""

from __future__ import annotations

import argparse
import logging

from whisper_live.server import TranscriptionServer

_MANY = 100_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True, help="taken from OMP_NUM_THREADS")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    TranscriptionServer().run(
        "127.0.0.1",
        port=args.port,
        backend="faster_whisper",
        faster_whisper_custom_model_path=args.model,
        single_model=True,
        max_clients=_MANY,
        max_connection_time=3600,
        batch_enabled=args.batch,
        batch_max_size=8,
        batch_max_queue_wait_s=_MANY,
        batch_max_admissions_per_s=_MANY,
    )


if __name__ == "__main__":
    main()

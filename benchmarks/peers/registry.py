"""The servers that are compared, what each needs, and what each cannot do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
OURS = "antiphon"


@dataclass(frozen=True, slots=True)
class Peer:
    title: str
    script: str = ""
    """Beside this file, run by the peer's own Python: ``script --model M --threads N --port P``."""
    arguments: tuple[str, ...] = ()
    environment: str = ""
    """Peers with the same name share one virtual environment."""
    packages: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    """Packages whose own lists ask for what a CPU server never imports."""
    protocol: str = "antiphon"
    ggml: bool = False
    acknowledges: bool = True
    answers: bool = True
    cannot: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())


_WHISPERLIVE_PACKAGES = ("av", "faster-whisper==1.2.0", "fastapi", "numpy<2.5", "onnxruntime<2",
                         "python-multipart", "requests", "scipy", "torch", "uvicorn",
                         "websockets", "websocket-client", "openai-whisper==20250625")  # fmt: skip
_WHISPERLIVE_CANNOT = (
    "say that a segment has ended, or that a text is final",
    "acknowledge a chunk",
    "take WAV or WebM",
    "answer with a language model",
)
_UTTERANCE_CANNOT = ("show partial transcripts", "take WebM", "answer with a language model")
_FASTER_WHISPER = ("faster-whisper==1.2.1", "requests", "websockets")

PEERS: dict[str, Peer] = {
    OURS: Peer("Antiphon"),
    "whisperlive": Peer(
        "WhisperLive 0.10",
        "whisperlive_server.py",
        environment="whisperlive",
        packages=_WHISPERLIVE_PACKAGES,
        without_dependencies=("whisper-live==0.10.0",),
        protocol="whisperlive",
        acknowledges=False,
        answers=False,
        cannot=_WHISPERLIVE_CANNOT,
        remarks=("one shared model behind its lock (single_model), its own decoding defaults",),
    ),
    "whisperlive-batch": Peer(
        "WhisperLive 0.10 --batch_inference",
        "whisperlive_server.py",
        ("--batch",),
        environment="whisperlive",
        packages=_WHISPERLIVE_PACKAGES,
        without_dependencies=("whisper-live==0.10.0",),
        protocol="whisperlive",
        acknowledges=False,
        answers=False,
        cannot=_WHISPERLIVE_CANNOT,
        remarks=("batches of up to 8; its admission limits are raised, so that it refuses nobody",),
    ),
    "faster-whisper": Peer(
        "faster-whisper 1.2 behind one lock",
        "utterance_server.py",
        ("--engine", "faster-whisper"),
        environment="faster-whisper",
        packages=_FASTER_WHISPER,
        cannot=_UTTERANCE_CANNOT,
        remarks=("transcribes each utterance whole, when it has ended",),
    ),
    "faster-whisper-batched": Peer(
        "faster-whisper 1.2 BatchedInferencePipeline",
        "utterance_server.py",
        ("--engine", "faster-whisper-batched"),
        environment="faster-whisper",
        packages=_FASTER_WHISPER,
        cannot=_UTTERANCE_CANNOT,
        remarks=("batches the windows of one recording only: a short utterance is one window",),
    ),
    "whisper-cpp": Peer(
        "whisper.cpp (pywhispercpp 1.5) behind one lock",
        "utterance_server.py",
        ("--engine", "whisper-cpp"),
        environment="whisper-cpp",
        packages=("pywhispercpp==1.5.1", "websockets"),
        ggml=True,
        cannot=_UTTERANCE_CANNOT,
        remarks=("the same weights in float16; it has no int8 file of them",),
    ),
}

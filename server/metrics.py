"""What the front end counts, beside ``engine.metrics``.

Its stages go into the engine's ``antiphon_stage_seconds``: ``handshake`` (TCP connection made to
WebSocket open), ``chunk_ack`` (audio chunk read to its acknowledgement written), and
``segment_to_transcript``, ``segment_to_first_token`` and ``segment_to_answer``.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from engine.metrics import QUEUE_DEPTH

READY = Gauge("antiphon_ready", "1 while a conversation can begin, as /ready says, else 0")
CONNECTIONS = Gauge("antiphon_connections", "Open WebSocket connections")
CONVERSATIONS = Gauge("antiphon_conversations_kept", "Conversations of closed connections")
AUDIO_BYTES = Counter("antiphon_audio_received_bytes", "Audio received, as sent by clients")

LOOP_LATE = Histogram(
    "antiphon_event_loop_late_seconds",
    "How late timers of the event loop ring",
    buckets=(0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1),
)

OUTBOX_DEPTH = QUEUE_DEPTH.labels("outbox")

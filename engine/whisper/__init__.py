"""Whisper in torch: CTranslate2 weights, slots, continuous batching, draft verification."""

"""Audio as it arrives: containers and raw samples to mono float32 at 16 kHz, incrementally.

``stream.AudioStream`` is the way in. Everything here is pure: bytes in, samples out, no I/O
and no threads. What plugs in is a ``recording.Recording``, listed in ``sniff.CONTAINERS``.
"""

"""The inference engine: audio in, transcripts and replies out.

``engine`` knows audio, text and batches. It never imports a socket, and nothing in
``server`` is imported here: the direction is ``server -> engine -> kernels``.
"""

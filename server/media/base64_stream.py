"""Base64 that was cut anywhere."""

from __future__ import annotations

import binascii

from engine.errors import AudioError

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\v\f"
_MAX_PADDED_GROUPS = 4096


class Base64Stream:
    """Base64 text in chunks, of which only all together need to decode (RFC 4648 §4, §5).

    Each chunk may as well be a whole padded text: padding ends a group; or a data URL, as a
    browser's ``readAsDataURL`` gives it. Between calls at most three characters are kept.
    """

    def __init__(self) -> None:
        self._carry = b""

    def feed(self, text: str) -> bytes:
        """Decode the groups that ``text`` completes.

        Raises:
            AudioError: ``text`` holds something else; nothing of it and of what came before
                is kept.
        """
        carry, self._carry = self._carry, b""
        pieces = (carry + _clean(text)).split(b"=")
        if len(pieces) == 1:
            return self._whole_groups(pieces[0])
        if len(pieces) > _MAX_PADDED_GROUPS:
            raise AudioError(f"more than {_MAX_PADDED_GROUPS} base64 texts in one message")
        padded = [_decode_padded(piece) for piece in pieces[:-1]]
        return b"".join(padded) + self._whole_groups(pieces[-1])

    def end_segment(self) -> bytes:
        """Decode a tail that was not padded.

        Raises:
            AudioError: a single character is left over, which is not a byte.
        """
        carry, self._carry = self._carry, b""
        return _decode_padded(carry)

    def _whole_groups(self, characters: bytes) -> bytes:
        whole = len(characters) // 4 * 4
        self._carry = characters[whole:]
        return binascii.a2b_base64(characters[:whole])


def _clean(text: str) -> bytes:
    """The characters of the alphabet and padding, or ``AudioError``."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        characters = text.encode("ascii").translate(_FROM_URL_SAFE, delete=_WHITESPACE)
    except UnicodeEncodeError:
        characters = b"?"
    if strange := characters.translate(None, delete=_ALPHABET + b"="):
        raise AudioError(
            f"audio data must be base64; found {len(strange)} characters that are not, "
            f"the first of them {chr(strange[0])!r}"
        )
    return characters


def _decode_padded(characters: bytes) -> bytes:
    if len(characters) % 4 == 1:
        raise AudioError("base64 that ends after one character of a group of four")
    return binascii.a2b_base64(characters + b"=" * (-len(characters) % 4))

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_signals import cut

from engine.errors import AudioError
from server.media.base64_stream import Base64Stream


def collect(texts):
    stream = Base64Stream()
    return b"".join(stream.feed(text) for text in texts) + stream.end_segment()


@given(
    data=st.binary(max_size=60),
    offsets=st.lists(st.integers(0, 99), max_size=30),
    url_safe=st.booleans(),
    is_padded=st.booleans(),
)
def test_cuts_anywhere(data, offsets, url_safe, is_padded):
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(data) if is_padded else encode(data).rstrip(b"=")
    assert collect(part.decode() for part in cut(text, offsets)) == data


@given(st.lists(st.binary(max_size=9), max_size=9), st.lists(st.integers(0, 99), max_size=9))
def test_whole_padded_texts_in_a_row_cut_anywhere(parts, offsets):
    text = b"".join(base64.b64encode(part) for part in parts)
    assert collect(part.decode() for part in cut(text, offsets)) == b"".join(parts)


def test_bytes_come_as_soon_as_their_group_is_complete():
    stream = Base64Stream()
    assert [stream.feed(c) for c in "QUJDRA=="] == [b"", b"", b"", b"ABC", b"", b"", b"D", b""]


def test_whitespace_and_nothing():
    assert collect(["", " QU\r\n", "\tJD\n", ""]) == b"ABC"


def test_data_urls():
    assert collect(["data:audio/webm;codecs=opus;base64,QUJDRA==", "data:;base64,QQ=="]) == b"ABCDA"
    assert collect(["data:audio/webm;base64,", "data:"]) == b""


@pytest.mark.parametrize("text", ["QU*D", "QUJDé", "QUJD\0", "JDQ=", "data!"])
def test_what_is_not_base64_is_refused_and_forgotten(text):
    stream = Base64Stream()
    stream.feed("QU")
    with pytest.raises(AudioError):
        stream.feed(text)
    assert stream.feed("QUJD") == b"ABC"


def test_a_lone_character_at_the_end():
    stream = Base64Stream()
    assert stream.feed("QUJDQ") == b"ABC"
    with pytest.raises(AudioError, match="one character"):
        stream.end_segment()
    assert stream.feed("QUJD") == b"ABC"


def test_padding_only_is_bounded():
    with pytest.raises(AudioError, match="4096"):
        Base64Stream().feed("=" * 1_000_000)


def test_a_large_chunk():
    data = random.Random(1).randbytes(1_000_000)
    assert collect([base64.b64encode(data).decode()]) == data

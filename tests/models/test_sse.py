from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxyray.errors import ModelError
from voxyray.models.sse import SseReader

PIECES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data:  c",
        b"data",
        b"data:",
        b": ping",
        b":",
        b"event: error",
        b"id: 7",
        b"retry: 3",
        b"data: \xc3\xa9\xe2\x82\xac",
        b"other: x",
        b"",
        b"",
        b"database: no",
    ]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def events(*reads: bytes) -> list[bytes]:
    reader = SseReader()
    return [payload for read in reads for payload in reader.feed(read)]


def reference(stream: bytes) -> list[bytes]:
    """The specification, line by line."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found: list[bytes] = []
    data: list[bytes] = []
    for line in stream.split(b"\n")[:-1]:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        elif line == b"data" or line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    return found


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.tuples(PIECES, LINE_ENDS), max_size=30),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_any_split_of_any_stream_gives_the_events_of_the_specification(
    lines: list[tuple[bytes, bytes]], bom: bool, places: list[int]
) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + b"".join(line + end for line, end in lines)
    expected = reference(stream)
    assert events(stream) == expected
    assert events(*cut(stream, places)) == expected
    assert events(*(bytes([byte]) for byte in stream)) == expected


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_are_read_as_the_specification_says(stream: bytes, places: list[int]) -> None:
    assert events(*cut(stream, places)) == reference(stream)


def test_data_with_and_without_a_space() -> None:
    assert events(b"data: one\n\ndata:two\n\ndata:  three\n\n") == [b"one", b"two", b" three"]


def test_several_data_lines_are_one_event() -> None:
    assert events(b"data: a\ndata: b\n\n") == [b"a\nb"]


def test_comments_are_no_events() -> None:
    assert events(b": keep-alive\n\n: keep-alive\n\ndata: a\n: in between\n\n") == [b"a"]


def test_an_event_needs_its_blank_line() -> None:
    assert events(b"data: a\n") == []
    assert events(b"data: a\n", b"\n") == [b"a"]


def test_crlf_cut_between_its_two() -> None:
    assert events(b"data: a\r", b"\n\r", b"\n", b"data: b\r\n\r\n") == [b"a", b"b"]


def test_a_lone_cr_ends_an_event_at_once() -> None:
    assert events(b"data: a\r\r") == [b"a"]


def test_a_byte_order_mark_is_skipped_though_cut() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"
    for place in range(len(stream)):
        assert events(stream[:place], stream[place:]) == [b"a"]


def test_cut_inside_a_character() -> None:
    payload = "naïve €".encode()
    stream = b"data: " + payload + b"\n\n"
    for place in range(len(stream)):
        assert events(stream[:place], stream[place:]) == [payload]


def test_errors_are_told_apart() -> None:
    reader = SseReader()
    payloads = reader.feed(b"data: a\n\nevent: error\ndata: no\n\nevent: delta\ndata: b\n\n")
    assert payloads == [b"a", b"no", b"b"]
    assert reader.errors == [b"no"]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_event_has_a_bound_however_it_arrives(step: int) -> None:
    def read(stream: bytes) -> list[bytes]:
        reader = SseReader(max_event_bytes=100)
        return [
            payload
            for at in range(0, len(stream), step)
            for payload in reader.feed(stream[at : at + step])
        ]

    fits = b"data: " + b"x" * 94 + b"\n\n"
    assert read(fits * 3) == [b"x" * 94] * 3
    with pytest.raises(ModelError, match="more than 100 bytes"):
        read(b"data: " + b"x" * 95 + b"\n\n")
    with pytest.raises(ModelError, match="more than 100 bytes"):
        read(b"x" * 102)


def test_a_large_event_in_small_pieces_takes_no_quadratic_time() -> None:
    reader = SseReader()
    piece = b"x" * 64
    pieces = (1 << 20) // len(piece) - 1
    assert reader.feed(b"data: ") == []
    for _ in range(pieces):  # quadratic: 8 GB to copy
        assert reader.feed(piece) == []
    assert reader.feed(b"\n\n") == [piece * pieces]

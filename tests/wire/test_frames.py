"""RFC 6455 headers are followed and judged wherever the stream is cut; each rule stands beside its rows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.frames import (
    FRAMES_A_FEED,
    MESSAGE_TOO_BIG,
    MOST_OPENINGS,
    NO_STATUS,
    PROTOCOL_ERROR,
    CloseBegins,
    FrameError,
    FrameTracker,
    MessageOpenings,
    close_frame,
    is_only_control,
    is_wire_close_code,
    ping_frame,
)

KEY = b"\xa1\xb2\xc3\xd4"
LIMIT = 100_000


def frame(first: int, payload: bytes = b"", *, masked: bool = True) -> bytes:
    """Any frame, with the shortest length encoding."""
    size = len(payload)
    if size < 126:
        head = bytes([size])
    elif size < 0x10000:
        head = b"\x7e" + size.to_bytes(2, "big")
    else:
        head = b"\x7f" + size.to_bytes(8, "big")
    if not masked:
        return bytes([first]) + head + payload
    return bytes([first, head[0] | 0x80]) + head[1:] + KEY + xor(payload)


def xor(payload: bytes) -> bytes:
    return bytes(byte ^ KEY[index % 4] for index, byte in enumerate(payload))


def tracker(
    *,
    masked: bool = True,
    extensions: bool = False,
    limit: int = LIMIT,
    told_codes: frozenset[int] = frozenset(),
) -> FrameTracker:
    return FrameTracker(masked=masked, max_frame_bytes=limit, extensions=extensions, told_codes=told_codes)


def feed_in_pieces(watched: FrameTracker, data: bytes, cuts: list[int]) -> None:
    """Feed `data` cut at `cuts`; a FrameError's `good` is given from the start of `data`."""
    bounds = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    for start, stop in pairwise(bounds):
        try:
            watched.feed(data[start:stop])
        except FrameError as error:
            error.good += start
            raise


messages = st.one_of(
    st.builds(lambda payload: [(0x81, payload)], st.binary(max_size=300)),
    st.builds(
        lambda payload: [(0x82, payload)], st.sampled_from([b"", b"x" * 125, b"x" * 126, b"x" * 65536])
    ),
    st.builds(
        lambda first, middle, last: (
            [(first, b"start"), *middle, (0x00, b"go on"), (0x89, b"ping"), (0x80, last)]
        ),
        st.sampled_from([0x01, 0x02]),
        st.lists(st.sampled_from([(0x8A, b"pong"), (0x00, b"more"), (0x00, b"")]), max_size=3),
        st.binary(max_size=5),
    ),
    st.just([(0x89, b""), (0x8A, b"p" * 125)]),
)
conversations = st.lists(messages, max_size=6).map(lambda several: [one for many in several for one in many])


@given(conversations, st.lists(st.integers(0, 70_000), max_size=12), st.booleans(), st.booleans())
def test_any_legal_conversation_passes_however_it_is_cut(
    frames: list[tuple[int, bytes]], cuts: list[int], masked: bool, closes: bool
) -> None:
    data = b"".join(frame(first, payload, masked=masked) for first, payload in frames)
    if closes:
        data += frame(0x88, b"\x03\xe8bye", masked=masked) + frame(0x8A, b"late pong", masked=masked)
    watched = tracker(masked=masked)
    feed_in_pieces(watched, data, cuts)
    assert watched.at_boundary
    assert watched.close_seen is closes


def test_every_header_may_be_split_at_any_byte() -> None:
    data = b"".join(
        frame(first, payload)
        for first, payload in [
            (0x82, b""),
            (0x01, b"a" * 125),
            (0x00, b"b" * 126),
            (0x89, b"ping"),
            (0x80, b"c" * 65536),
            (0x88, b"\x03\xe9away"),
        ]
    )
    boundaries, end = {0}, 0
    for size in (6, 131, 134, 10, 65550, 12):
        end += size
        boundaries.add(end)
    headers = [
        cut for boundary in boundaries for cut in range(boundary, boundary + 17) if 0 < cut < len(data)
    ]
    for cut in headers:
        watched = tracker()
        watched.feed(data[:cut])
        assert watched.at_boundary is (cut in boundaries), cut
        watched.feed(data[cut:])
        assert watched.at_boundary
    watched = tracker()
    for index in range(len(data)):
        assert watched.at_boundary is (index in boundaries), index
        watched.feed(data[index : index + 1])
    assert watched.close_seen


ILLEGAL = [
    # 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
    *((frame(0x80 | opcode, b"x"), f"opcode {opcode:x}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    # 5.2, RSV1-3: "MUST be 0 unless an extension is negotiated".
    *((frame(0x81 | bit, b"x"), f"reserved bit {bit:x}") for bit in (0x10, 0x20, 0x40)),
    (frame(0xC9, b""), "reserved bit on a ping"),
    # 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
    (frame(0x09, b"x"), "fragmented ping"),
    (frame(0x08, b""), "fragmented close"),
    (frame(0x89, b"x" * 126), "long ping"),
    (frame(0x88, b"x" * 70000), "long close"),
    # 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
    (frame(0x81, b"x", masked=False), "unmasked"),
    (frame(0x88, b"\x03\xe8", masked=False), "unmasked close"),
    # 5.2: "the minimal number of bytes MUST be used to encode the length"
    (b"\x82\xfe\x00\x7d" + KEY + b"x" * 125, "125 in 16 bits"),
    (b"\x82\xff" + (0xFFFF).to_bytes(8, "big") + KEY, "65535 in 64 bits"),
    # 5.2: "the most significant bit MUST be 0"
    (b"\x82\xff\x80" + b"\0" * 7 + KEY, "64-bit length with its highest bit"),
    # 5.4: a continuation continues something.
    (frame(0x80, b"x"), "continuation of nothing"),
    (frame(0x00, b"x"), "continuation of nothing, not final"),
    # 5.5.1: a close body's first two bytes are a status code; 7.4: which codes may be sent.
    (frame(0x88, b"\x03"), "close of one byte"),
    *(
        (frame(0x88, code.to_bytes(2, "big") + b"why"), f"close code {code}")
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
]


@pytest.mark.parametrize("bad", [row[0] for row in ILLEGAL], ids=[row[1] for row in ILLEGAL])
def test_an_illegal_frame_is_refused_wherever_it_is_cut(bad: bytes) -> None:
    before = frame(0x82, b"good") + frame(0x89, b"")
    for cut in range(len(before) + min(len(bad), 17) + 1):
        watched = tracker()
        with pytest.raises(FrameError) as caught:
            feed_in_pieces(watched, before + bad, [cut])
        assert caught.value.close_code == PROTOCOL_ERROR
        assert caught.value.reason == str(caught.value)
        # What passed before ends at a boundary unless the bad frame's first bytes went with an earlier feed.
        begun = cut > len(before)
        assert caught.value.good == (cut if begun and not watched.at_boundary else len(before))
        assert watched.at_boundary or begun


@pytest.mark.parametrize(
    "second",
    [frame(0x81, b"x"), frame(0x82, b"x" * 200), frame(0x01, b"x")],
    ids=["text", "binary", "first fragment"],
)
def test_a_message_may_not_begin_inside_another(second: bytes) -> None:
    watched = tracker()
    watched.feed(frame(0x01, b"begun"))
    assert watched.at_boundary
    with pytest.raises(FrameError, match="inside another") as caught:
        watched.feed(second)
    assert caught.value.good == 0


@pytest.mark.parametrize("late", [frame(0x81, b"x"), frame(0x80, b"x"), frame(0x82, b"x" * 200)])
def test_no_data_frame_follows_a_close_frame(late: bytes) -> None:
    watched = tracker()
    closing = frame(0x88)
    with pytest.raises(FrameError, match="follows a close") as caught:
        watched.feed(closing + late)
    assert caught.value.good == len(closing)
    assert watched.close_seen


def test_a_close_inside_a_fragmented_message_ends_it() -> None:
    watched = tracker()
    watched.feed(frame(0x01, b"x") + frame(0x88))
    with pytest.raises(FrameError):
        watched.feed(frame(0x80, b"x"))


@pytest.mark.parametrize("size", [1, 125, 126, 1000, 65535, 65536, LIMIT])
@pytest.mark.parametrize("masked", [True, False])
def test_a_data_frame_may_be_as_big_as_the_limit_and_no_bigger(size: int, masked: bool) -> None:
    watched = tracker(masked=masked, limit=size)
    watched.feed(frame(0x82, b"x" * size, masked=masked))
    with pytest.raises(FrameError) as caught:
        watched.feed(frame(0x82, b"x" * (size + 1), masked=masked))
    assert caught.value.close_code == MESSAGE_TOO_BIG


def test_control_frames_are_not_subject_to_the_limit() -> None:
    watched = tracker(limit=1)
    watched.feed(frame(0x89, b"x" * 125) + frame(0x88, b"\x03\xe8" + b"x" * 123))
    assert watched.at_boundary


def test_a_frame_too_big_is_refused_before_its_payload_comes() -> None:
    with pytest.raises(FrameError) as caught:
        tracker().feed(b"\x82\xff" + (1 << 40).to_bytes(8, "big"))
    assert caught.value.close_code == MESSAGE_TOO_BIG


def test_a_servers_frames_must_not_be_masked() -> None:
    """5.1: "A server MUST NOT mask any frames that it sends to the client." """
    with pytest.raises(FrameError, match="is masked"):
        tracker(masked=False).feed(frame(0x81, b"x"))


def test_reserved_bits_of_data_frames_pass_with_extensions() -> None:
    watched = tracker(extensions=True)
    watched.feed(frame(0xC1, b"deflated") + frame(0x42, b"x" * 200) + frame(0x00, b"") + frame(0x80, b""))
    assert watched.at_boundary
    with pytest.raises(FrameError, match="control frame sets"):
        watched.feed(frame(0xC9))


def test_payload_inside_one_frame_is_only_counted() -> None:
    watched = tracker()
    data = frame(0x82, b"x" * 1000)
    watched.feed(data[:100])
    watched.feed(b"\xff" * 500)
    watched.feed(b"")
    assert not watched.at_boundary
    watched.feed(data[600:])
    assert watched.at_boundary


def test_boundary_in_tells_how_much_finishes_the_frame_and_changes_nothing() -> None:
    one, two = frame(0x82, b"x" * 200), frame(0x81, b"y" * 10)
    for cut in range(len(one) + 1):
        watched = tracker()
        watched.feed(one[:cut])
        rest = one[cut:] + two
        expected = 0 if cut == 0 else len(one) - cut
        assert watched.boundary_in(rest) == expected
        assert watched.boundary_in(rest) == expected
        assert watched.boundary_in(rest[:1]) == min(1, expected)
        watched.feed(rest[:expected])
        assert watched.at_boundary
    assert watched.boundary_in(two) == 0


def test_boundary_in_a_header_that_is_at_fault_raises_as_feed_would() -> None:
    watched = tracker()
    watched.feed(b"\x82")
    with pytest.raises(FrameError):
        watched.boundary_in(b"\x01x")


@given(st.binary(max_size=40), st.booleans(), st.booleans(), st.lists(st.integers(0, 40), max_size=5))
def test_hostile_bytes_get_the_same_verdict_however_they_are_cut(
    data: bytes, masked: bool, extensions: bool, cuts: list[int]
) -> None:
    def verdict(cuts: list[int]) -> tuple[object, ...]:
        watched = tracker(masked=masked, extensions=extensions)
        try:
            feed_in_pieces(watched, data, cuts)
        except FrameError as error:
            return error.close_code, error.reason
        return watched.at_boundary, watched.close_seen

    assert verdict([]) == verdict(cuts) == verdict(list(range(len(data))))


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_legal_close_codes_pass_both_ways(code: int) -> None:
    assert is_wire_close_code(code)
    tracker().feed(close_frame(code, "why", mask=KEY))
    tracker(masked=False).feed(close_frame(code, "why", mask=None))


@pytest.mark.parametrize("masked", [True, False])
def test_the_close_code_is_known_once_its_frame_has_begun(masked: bool) -> None:
    watched = tracker(masked=masked)
    assert watched.close_code is None
    for byte in frame(0x88, b"\x03\xe9away", masked=masked):
        watched.feed(bytes([byte]))
    assert watched.close_code == 1001
    bare = tracker(masked=masked)
    bare.feed(frame(0x88, masked=masked))
    assert bare.close_code == NO_STATUS


@given(conversations, st.lists(st.integers(0, 2_000), max_size=12), st.booleans(), st.binary(max_size=9))
def test_a_close_that_is_to_be_told_is_told_once_at_the_end_of_its_code(
    frames: list[tuple[int, bytes]], cuts: list[int], masked: bool, reason: bytes
) -> None:
    before = b"".join(frame(first, payload, masked=masked) for first, payload in frames)
    closing = frame(0x88, b"\x03\xe8" + reason, masked=masked)
    data = before + closing + closing + frame(0x8A, b"late pong", masked=masked)
    watched = tracker(masked=masked, told_codes=frozenset({1000, 1001}))
    told = []
    for start, stop in pairwise(sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})):
        try:
            watched.feed(data[start:stop])
        except CloseBegins as begun:
            told.append((begun.code, start + begun.size))
            watched.feed(data[start + begun.size : stop])
    assert told == [(1000, len(before) + (8 if masked else 4))]
    assert watched.at_boundary
    assert watched.close_code == 1000


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("cut", range(20))
def test_where_a_told_code_ends_is_counted_from_the_feed_that_ends_it(cut: int, masked: bool) -> None:
    data = frame(0x81, b"x", masked=masked) + frame(0x88, b"\x03\xe9away", masked=masked)
    code_ends = len(frame(0x81, b"x", masked=masked)) + (8 if masked else 4)
    watched = tracker(masked=masked, told_codes=frozenset({1001}))
    start = cut if cut < code_ends else 0
    watched.feed(data[:start])
    with pytest.raises(CloseBegins) as caught:
        watched.feed(data[start:])
    assert (caught.value.code, start + caught.value.size) == (1001, code_ends)
    assert not watched.at_boundary
    watched.feed(data[code_ends:])
    assert watched.at_boundary


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("cut", range(8))
def test_a_close_without_a_code_is_told_at_the_end_of_its_length(cut: int, masked: bool) -> None:
    before, close = frame(0x81, b"x", masked=masked), frame(0x88, masked=masked)
    data, told_at = before + close, len(before) + 2
    watched = tracker(masked=masked, told_codes=frozenset({NO_STATUS}))
    start = cut if cut < told_at else 0
    watched.feed(data[:start])
    with pytest.raises(CloseBegins) as caught:
        watched.feed(data[start:])
    assert (caught.value.code, start + caught.value.size) == (NO_STATUS, told_at)
    assert watched.is_over is not masked
    watched.feed(data[told_at:])
    assert watched.is_over


def test_no_limit_is_no_limit_but_the_protocols() -> None:
    watched = FrameTracker(masked=False)
    watched.feed(b"\x82\x7f" + (2**63 - 1).to_bytes(8, "big"))
    assert not watched.at_boundary
    with pytest.raises(FrameError) as caught:
        FrameTracker(masked=False).feed(b"\x82\x7f" + (2**63).to_bytes(8, "big"))
    assert caught.value.close_code == PROTOCOL_ERROR


@pytest.mark.parametrize("payload", [b"", b"\x03\xe9", b"\x0f\xa1why"])
def test_other_closes_are_not_told(payload: bytes) -> None:
    tracker(told_codes=frozenset({1000})).feed(frame(0x88, payload) + frame(0x8A))


@pytest.mark.parametrize("code", [1005, 1006, 1015, 0, 70000])
def test_a_code_that_no_peer_may_send_is_never_sent(code: int) -> None:
    with pytest.raises(ValueError, match="may not be sent"):
        close_frame(code, mask=None)


def test_control_frames_are_built_byte_for_byte() -> None:
    assert close_frame(1001, mask=None) == b"\x88\x02\x03\xe9"
    assert close_frame(1008, "no", mask=None) == b"\x88\x04\x03\xf0no"
    assert ping_frame(b"hi", mask=None) == b"\x89\x02hi"
    assert ping_frame(b"hello", mask=KEY) == b"\x89\x85" + KEY + xor(b"hello")


def test_a_long_reason_is_cut_at_a_character() -> None:
    built = close_frame(1000, "é" * 100, mask=None)
    assert built[4:].decode() == "é" * 61
    tracker(masked=False).feed(built)


def test_malformed_control_frames_are_not_built() -> None:
    with pytest.raises(ValueError, match="125 bytes"):
        ping_frame(b"x" * 126, mask=None)
    with pytest.raises(ValueError, match="4 bytes"):
        ping_frame(b"", mask=b"abc")


# -- runs of equal headers ------------------------------------------------------------------------------------

ODD = {
    "another length": b"\x82\x03abc",
    "a longer length": b"\x82\x7e\x00\x80" + b"x" * 128,
    "a fragment": b"\x02\x01a\x80\x01b",
    "a ping": b"\x89\x02hi",
    "a close": b"\x88\x02\x03\xe8",
    "nothing": b"",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("before", [0, 1, 70, 200])
@pytest.mark.parametrize("cut", [0, 1, 2, 40])
def test_a_long_run_is_followed_as_frame_by_frame(odd: bytes, before: int, cut: int) -> None:
    """Headers at equal distances are compared all at once; that must show in nothing but time."""
    frame = b"\x82\x40" + b"\x82\x40\x88\x80" * 16
    # Only control frames may follow a close frame, and half a status code would be completed by what is not its own.
    data = frame * before + odd
    if odd != ODD["a close"]:
        data += frame * 100
        data = data[: len(data) - cut]
    at_once = FrameTracker(masked=False, max_frame_bytes=1000)
    at_once.feed(data)
    bytewise = FrameTracker(masked=False, max_frame_bytes=1000)
    for position in range(len(data)):
        bytewise.feed(data[position : position + 1])
    assert (at_once.at_boundary, at_once.close_seen, at_once.close_code) == (
        bytewise.at_boundary,
        bytewise.close_seen,
        bytewise.close_code,
    )
    assert at_once.boundary_in(frame * 2) == bytewise.boundary_in(frame * 2)


@pytest.mark.parametrize("position", [0, 1, 63, 99])
def test_an_offending_frame_in_a_long_run_is_found_where_it_stands(position: int) -> None:
    frame = b"\x82\x40" + b"x" * 64
    tracker = FrameTracker(masked=False, max_frame_bytes=1000)
    with pytest.raises(FrameError) as caught:
        tracker.feed(frame * position + b"\x83\x40" + b"x" * 64 + frame * (200 - position))
    assert caught.value.good == position * len(frame)


def test_a_run_of_frames_that_change_state_is_no_run() -> None:
    tracker = FrameTracker(masked=False, max_frame_bytes=1000)
    with pytest.raises(FrameError):
        tracker.feed((b"\x02\x40" + b"x" * 64) * 100)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("kinds", [2, 3, 7])
def test_a_feed_follows_so_many_frames_at_most_and_stops_at_a_boundary(masked: bool, kinds: int) -> None:
    """Frames of different lengths, which no run skips: whoever sends them by the million gets its turns like others."""
    key = b"\0\0\0\0" if masked else b""
    mask = 0x80 if masked else 0
    frames = [bytes((0x81, mask | size)) + key + b"x" * size for size in range(kinds)]
    count = 3 * FRAMES_A_FEED + 10
    starts = [0]
    for number in range(count):
        starts.append(starts[-1] + len(frames[number % kinds]))
    data = b"".join(frames[number % kinds] for number in range(count))
    tracker, taken, stops = FrameTracker(masked=masked, max_frame_bytes=1000), 0, []
    while stopped_at := tracker.feed(data[taken:]):
        assert tracker.at_boundary
        taken += stopped_at
        stops.append(starts.index(taken))
    # The first frame of a feed may be a run of its own.
    assert len(stops) == 3
    assert all(0 <= stop - (number + 1) * FRAMES_A_FEED <= 3 for number, stop in enumerate(stops))
    assert tracker.at_boundary


@pytest.mark.parametrize("more", [b"", b"\x81", b"\x81\x82", b"\x81\x82\0\0\0\0", b"\x81\x82\0\0\0\0x"])
@pytest.mark.parametrize("count", range(FRAMES_A_FEED - 1, FRAMES_A_FEED + 4))
def test_what_is_cut_short_right_at_the_bound_is_not_lost(count: int, more: bytes) -> None:
    frames = b"".join((b"\x81\x80\0\0\0\0", b"\x81\x81\0\0\0\0x")[number % 2] for number in range(count))
    tracker, rest = FrameTracker(masked=True, max_frame_bytes=1000), frames + more
    while stopped_at := tracker.feed(rest):
        rest = rest[stopped_at:]
    assert tracker.at_boundary is (more == b"")
    tracker.feed(b"\x81\x82\0\0\0\0xx"[len(more) :])
    assert tracker.at_boundary


def test_very_many_control_frames_are_not_looked_through_to_the_last() -> None:
    pong = b"\x8a\x80\0\0\0\0"
    assert is_only_control(pong * FRAMES_A_FEED)
    assert not is_only_control(pong * (FRAMES_A_FEED + 1))


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 2000), max_size=4))
def test_views_are_followed_as_bytes_are(payloads: list[bytes], cuts: list[int]) -> None:
    """What came as a view of shared memory has its frames where the bytes have them."""
    data = b"".join(frame(0x82, payload) for payload in (*payloads, b"x" * 70_000, *[b"y" * 40] * 200))
    watched, other = tracker(), tracker()
    bounds = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    for start, stop in pairwise(bounds):
        assert watched.boundary_in(memoryview(data)[start:stop]) == other.boundary_in(data[start:stop])
        watched.feed(memoryview(data)[start:stop])
        other.feed(data[start:stop])
        assert watched.at_boundary == other.at_boundary
    assert watched.at_boundary


PONG = frame(0x8A, b"nbgate")
EMPTY_PONG = frame(0x8A)
KEYSTROKE = b"\x81\x8d" + KEY + bytes(13)


@pytest.mark.parametrize(
    ("data", "only"),
    [
        (b"", True),
        (PONG, True),
        (EMPTY_PONG + PONG + ping_frame(b"x" * 125, mask=KEY), True),
        (close_frame(1000, mask=KEY), True),
        (KEYSTROKE, False),
        (PONG + KEYSTROKE, False),
        (PONG + KEYSTROKE[:1], False),
        (b"\x80\x80" + KEY, False),  # the end of a message in fragments
        (PONG[:1], False),
        (PONG[:-1], False),
        (PONG + PONG[:7], False),
    ],
)
def test_control_frames_alone_are_told_from_messages(data: bytes, only: bool) -> None:
    assert is_only_control(data) is only


def openings_in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    reader, found = MessageOpenings(), []
    for start, stop in pairwise(sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})):
        some = reader.feed(memoryview(data)[start:stop])
        assert some is not None
        found += some
    return found


AWARENESS = b"\x01\xd6\x01" + b"x" * 340
UPDATE = b"\x00\x02" + b"y" * 70_000
CONVERSATION = [
    (frame(0x82, AWARENESS), b"\x01\xd6"),
    (PONG, None),
    (frame(0x81, b"save"), b"sa"),
    (frame(0x02, b"\x00\x02\x04"), b"\x00\x02"),  # a message in fragments, with a pong between
    (EMPTY_PONG, None),
    (frame(0x80, b"\x01\x01"), None),
    (frame(0x82, UPDATE), b"\x00\x02"),
    (frame(0x82, b"\x01"), b"\x01"),
    (frame(0x82), b""),
    (frame(0xC2, b"\x00\x02"), b""),  # compressed
    (frame(0x82, b"\x00\x00" + bytes(124)), b"\x00\x00"),
    (close_frame(1000, mask=KEY), None),
]
SAID = [opening for _, opening in CONVERSATION if opening is not None]


def test_the_openings_of_messages_are_read_wherever_they_are_cut() -> None:
    data = b"".join(part for part, _ in CONVERSATION)
    assert openings_in_pieces(data, []) == SAID
    assert openings_in_pieces(data, list(range(0, len(data), 7))) == SAID
    short = b"".join(part for part, _ in CONVERSATION if len(part) < 1000)
    said = [opening for part, opening in CONVERSATION if opening is not None and len(part) < 1000]
    assert openings_in_pieces(short, list(range(len(short)))) == said
    for cut in range(len(short)):
        assert openings_in_pieces(short, [cut]) == said


@given(st.lists(st.sampled_from(CONVERSATION), max_size=8), st.lists(st.integers(0, 80_000), max_size=8))
def test_the_openings_are_the_same_in_any_order_and_however_they_come(
    conversation: list[tuple[bytes, bytes | None]], cuts: list[int]
) -> None:
    data = b"".join(part for part, _ in conversation)
    assert openings_in_pieces(data, cuts) == [said for _, said in conversation if said is not None]


def test_no_more_openings_are_read_at_once_than_the_bound() -> None:
    awareness = frame(0x82, b"\x01")
    assert MessageOpenings().feed(awareness * MOST_OPENINGS) == [b"\x01"] * MOST_OPENINGS
    assert MessageOpenings().feed(awareness * MOST_OPENINGS + awareness[:1]) is None

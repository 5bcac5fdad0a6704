"""What Hypothesis draws: frames, histories of a channel, and cuts of a stream."""

from __future__ import annotations

from struct import Struct

from hypothesis import strategies as st

from pipeproxy._channels._wire import BATCH, FROM_CLIENT, FROM_OWNER, LIMIT, Frame, header

#: As the wire's docstring draws it, apart from the code: size, ident, number, member, kind.
HEADER = Struct("<IQQHH")

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
#: The kinds that each side may send.
sides = st.sampled_from([FROM_CLIENT, FROM_OWNER])
#: Of any length up to some reads', those round the limit for views and a read's size among them.
payloads = (
    st.binary(max_size=80)
    | st.builds(lambda text, count: text * count, st.binary(min_size=1, max_size=7), u16)
    | st.sampled_from([65511, 65512, 65513, 65535, 65536, 65537, 131072]).map(bytes)
)


def frames(
    legal: frozenset[int], payloads: st.SearchStrategy[bytes] = payloads
) -> st.SearchStrategy[Frame]:
    """Frames of one side, as a decoder hands them out: batches never are."""
    return st.tuples(st.sampled_from(sorted(legal - {BATCH})), u64, u64, u16, payloads)


def histories(legal: frozenset[int], max_size: int = 6) -> st.SearchStrategy[list[Frame]]:
    """What one side may have sent."""
    return st.lists(frames(legal), max_size=max_size)


def to_bytes(frame: Frame) -> bytes:
    """The frame as it travels."""
    kind, ident, number, member, payload = frame
    return header(kind, len(payload), ident, number, member) + payload


def illegal_headers(legal: frozenset[int]) -> st.SearchStrategy[bytes]:
    """Headers that a side may not send: of another kind, or of too large a frame."""
    wrong_kinds = u16.filter(lambda kind: kind not in legal) | st.sampled_from(
        sorted((FROM_CLIENT | FROM_OWNER) - legal)
    )
    right_kinds = st.sampled_from(sorted(legal))
    too_large = st.integers(LIMIT + 1, 2**32 - 1) | st.sampled_from([LIMIT + 1, 2**32 - 1])
    return st.builds(HEADER.pack, u32, u64, u64, u16, wrong_kinds) | st.builds(
        HEADER.pack, too_large, u64, u64, u16, right_kinds
    )


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in the portions in which a pipe may give them."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]

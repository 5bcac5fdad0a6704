"""The text of a traceback, which tells at the client where in the owner an exception was raised.

It is what Python would print, but short however deep the failure: what repeats itself is counted,
and so is the middle of a long way.
"""

from __future__ import annotations

import os
from itertools import groupby
from types import CodeType, TracebackType

from ._rebuild import GROUP, safe_str

#: Traceback entries that travel from each end, and equal ones in a row; the others are counted.
MAX_ENTRIES, MAX_REPEATS = 50, 3
#: Formatted entries that are kept for the next failure at the same place.
MAX_KNOWN = 512

_OURS = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep, "<pipeproxy")
#: By id of code, which is kept alive so that the id stays its own, and instruction.
_known_entries: dict[tuple[int, int], tuple[CodeType, str]] = {}


def traceback_of(exc: BaseException, where: str) -> str:
    """What Python would have printed about `exc` alone, without pipeproxy's own first frames."""
    import traceback  # only failures pay for it

    lines = [f"Traceback in the owner (process {os.getpid()}, {where}):\n"]
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
        tb = tb.tb_next
    try:
        if isinstance(exc, GROUP):
            whole = traceback.TracebackException(type(exc), exc, tb, compact=True)
            lines += whole.format(chain=False)
        else:
            lines += _entries(tb) + traceback.format_exception_only(type(exc), exc)
    except Exception as error:
        lines.append(f"{safe_str(exc)} (its traceback cannot be shown: {safe_str(error)})")
    return "".join(lines).rstrip("\n")


def _entries(tb: TracebackType | None) -> list[str]:
    entries = []
    while tb is not None:
        entries.append(_entry(tb))
        tb = tb.tb_next
    folded = []
    for entry, run in groupby(entries):
        more = len(list(run)) - MAX_REPEATS
        folded += [entry] * (MAX_REPEATS + min(more, 0))
        if more > 0:
            folded.append(f"  [Previous line repeated {more} more times]\n")
    if len(folded) > 2 * MAX_ENTRIES:
        gap = f"  [{len(folded) - 2 * MAX_ENTRIES} more entries]\n"
        folded[MAX_ENTRIES:-MAX_ENTRIES] = [gap]
    return folded


def _entry(tb: TracebackType) -> str:
    # Placing the carets takes Python 0.1 ms an entry, and the same lines fail again and again.
    import traceback

    code = tb.tb_frame.f_code
    key = id(code), tb.tb_lasti
    known = _known_entries.get(key)
    if known is None:
        if len(_known_entries) >= MAX_KNOWN:
            _known_entries.clear()
        known = _known_entries[key] = code, "".join(traceback.format_tb(tb, limit=1))
    return known[1]

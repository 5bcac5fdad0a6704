"""Codecs turn the values of a call into bytes and back.

A codec is a module with these functions; `pipeproxy.codecs.pickle` is the default one.

    encode(value, refer) -> bytes                 decode(payload, where) -> value
    encode_call(args, kwargs, refer) -> bytes     decode_call(payload, where) -> (args, kwargs)
    encode_failure(exc, where, refer) -> bytes    decode_failure(payload) -> exception
    encode_result, encode_failure_apart: the same, but what is large is a `Parcel`
    explain_call(args, kwargs, refer, where, parameters) -> CodecError
    explain_result(value, error, where, refer) -> CodecError

``refer`` decides which objects travel as references: ``refer(obj)`` answers a reduce tuple, as
``__reduce__`` would, or ``NotImplemented``. ``where`` names the method in texts for people.

The rooms of the default one; each imports only what stands below it:

    pickle                    values; which part of one it is that cannot travel
    _exceptions               the pickler, and an exception as data
    _contents, _tracebacks    what an exception consists of; where it was raised
    _reasons                  why a value cannot travel, in words for people
    _rebuild, _views          how it is put together again; what pickle would refuse, or copy
"""

from __future__ import annotations

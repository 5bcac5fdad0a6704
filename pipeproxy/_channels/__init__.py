"""How two processes talk: a door to knock at, a pipe each way, frames, and memory beside them.

    _door, _handover            how a process that has no pipe gets one; how memory is handed over
    _channel                    one end: bytes into frames, and frames into bytes
    _wire                       what a frame is
    _parcels, _borrowed         values whose bytes are in shared memory
    _taps, _transport_check     where tests cut in; what every transport must do

It decides nothing: who calls is `_client`, who answers `_owner`.
"""

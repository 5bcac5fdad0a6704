"""The side that calls: what goes to an owner, by which way, and what comes of it.

_calls                      one call, from the arguments to the value
_requests                   what it asks for, how that travels, and what an answer says to it
_exchange                   a frame and its reply, while its thread waits
_flight, _outbox, _courier  calls that nobody waits for just now, and who carries them
_promises, _asking          what comes of those
_futures, _awaited          `submit` and `aio`
_inside                     sections that this process is in
_readings                   what is published, read without a call
_lines, _way                the channels to an owner, and whether it lives
_held, _pool                what this process holds of it: references, and memory for bulk
"""

"""The side that answers: a listener, and everything that it serves.

A call comes in from above and goes down room by room:

    _listener, _turns           the user's side; who serves
    _service                    a turn of the loop: wait, see who is there
    _reception                  who comes, and who goes
    _attendance                 one channel: read it, serve it, reply
    _frames                     one frame: what it asks for is done
    _dispatch, _admission       one call: its turn has come, or it waits in line
    _answers                    it is run, and its reply made
    _errands                    calls that are not run at once:
    _retries, _workers, _tasks, _batches    tried again, in threads, in an event loop, many as one
    _upcalls, _voice            what the owner asks of its clients, and tells them
    _published                  what it publishes
    _callers, _caller           the channels, and one of them
    _loop, _spawn, _stats       serving in asyncio, or in a process of its own; what was done
"""

"""What a process asks of the system it runs on: descriptors, memory, locks, time, signals.

_descriptors                each owned by one object, closed by one C call
_life                       who this process is, and how others learn that it is gone
_rights, _bell              locks and wake-ups that survive what a signal handler raises
_buffers, _memory, _slots   memory that processes share: for bulk, and for what is published
_deadline, _until           until when a call may take, and a listener serve
_sigint, _reports           Ctrl-C, and errors that nobody can be given
"""

"""Locks and queues of the standard library, called in the name of processes that may die.

_primitives, _queues        what is called in their place
_reentrant                  a lock that belongs to a chain of calls
_waits, _takers             how such a call waits; what the dead had taken is free again
"""

"""Live objects that travel: what stands for them elsewhere, and what becomes of it at home.

_references                 links: how a reference leaves and arrives
_outgoing                   what leaves with a reply
_home, _direct, _openness   objects in their own process, and calls that are made there
_lent                       objects of a process that serves nothing else
_streams                    iterating an object of another process
_values                     what users say of how a value travels
_reach, _orphans            what can be asked of any proxy; ending with an owner
"""

"""The owner's side of `pipeproxy.managers`: what a manager's process makes and shares.

_registry, _desk     objects by the name of their type; strangers with an authkey
_byname              calls by name and copies, of what is shared as it is
_containers, _pools  types of our own; queues and locks are the standard library's
_proxies             proxies that call by name
"""

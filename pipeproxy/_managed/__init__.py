"""The owner's side of `pipeproxy.managers`: what a manager's process makes and shares.

registry, desk      objects by the name of their type; strangers with an authkey
byname              calls by name and copies, of what is shared as it is
containers, pools   types of our own; queues and locks are the standard library's
proxies             proxies that call by name
"""

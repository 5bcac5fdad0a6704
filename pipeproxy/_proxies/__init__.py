"""From a spec to the class of its proxies, and the verbs: calls in ways a plain call cannot say.

_proxy, _generate           the class, and the source of its methods
_verbs, _gathering          `notify`, `run` and `batch`
_locked                     several calls as one
_shared                     how a class names the type of its proxies
"""

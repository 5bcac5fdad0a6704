"""What can go wrong, and whose fault it is.

    PipeProxyError
    ├── SpecError (TypeError)             you: this class cannot be shared as it was described
    ├── NotExposed (AttributeError)       you: the owner does not show this name
    ├── CodecError (TypeError)            you: this value cannot travel; the text names it
    ├── Released (ReferenceError)         you: this reference was given back
    ├── CallTimeout (TimeoutError)        your deadline passed; the call may still be running
    ├── Cancelled                         the caller gave up; the method was asked to stop
    ├── DeadlockError                     calls wait for each other in a circle
    ├── OwnerDied (ConnectionError)       the process that held the object is gone
    ├── ListenerClosed                    the owner lives but no longer answers
    ├── ClientDied (ConnectionError)      the process that was called back is gone
    ├── CallLost                          this answer is lost; the call may have run
    ├── ProtocolError                     the other side sent what no pipeproxy sends
    └── RemoteError                       a method raised something that cannot be rebuilt here

A method's own exception is none of these: it arrives as itself, with a
`RemoteTraceback` as its ``__cause__`` that shows where in the owner it was raised.

Trying again helps after `CallTimeout` and `CallLost`, if the method may run twice.
It does not help after `OwnerDied`, `ListenerClosed` or any error marked "you".
"""

from __future__ import annotations

__all__ = [
    "CallLost",
    "CallTimeout",
    "Cancelled",
    "ClientDied",
    "CodecError",
    "DeadlockError",
    "ListenerClosed",
    "NotExposed",
    "OwnerDied",
    "PipeProxyError",
    "ProtocolError",
    "Released",
    "RemoteError",
    "RemoteTraceback",
    "SpecError",
]


class PipeProxyError(Exception):
    """The root of everything that pipeproxy itself raises."""


class SpecError(PipeProxyError, TypeError):
    """A class, its options or its markers describe something that cannot be shared."""


class NotExposed(PipeProxyError, AttributeError):
    """The spec of the object does not show this name, or does not let it be changed."""


class CodecError(PipeProxyError, TypeError):
    """A value cannot be turned into bytes or back; the text names the argument or the result."""


class Released(PipeProxyError, ReferenceError):
    """The reference was given back, so it leads nowhere any more."""


class CallTimeout(PipeProxyError, TimeoutError):
    """The deadline of ``with timeout(...)`` passed first; the call may still be running."""


class Cancelled(PipeProxyError):
    """The caller gave the call up before it was finished."""


class DeadlockError(PipeProxyError):
    """Calls wait for one another in a circle, and this one was chosen to break it."""


class OwnerDied(PipeProxyError, ConnectionError):
    """The process that held the object is gone, and the object with it."""


class ListenerClosed(PipeProxyError):
    """The listener that answered for this object was closed; its process may live on."""


class ClientDied(PipeProxyError, ConnectionError):
    """The process that was to answer a call of the owner's is gone."""


class CallLost(PipeProxyError):
    """The owner lives, but the channel was cut before the answer; the call may have run."""


class ProtocolError(PipeProxyError):
    """Bytes arrived that no pipeproxy of this version sends."""


class RemoteError(PipeProxyError):
    """A method raised an exception that cannot be rebuilt in this process.

    Attributes:
        type_name: the module and qualified name of the exception's class in the owner.
        message: its ``str()`` there.
    """

    def __init__(self, type_name: str, message: str) -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


class RemoteTraceback(Exception):
    """The owner's side of a traceback, as the ``__cause__`` of the exception that it belongs to.

    Its text is what Python would have printed in the owner: process, method, files and lines.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text

# What pipeproxy uses of wrapt, which ships no types of its own before 2.0.
from typing import Any

class ObjectProxy:
    __wrapped__: Any
    def __init__(self, wrapped: object) -> None: ...

class CallableObjectProxy(ObjectProxy):
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

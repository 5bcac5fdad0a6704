"""What is refused of proxies of classes whose base is `Shared`."""

from __future__ import annotations

from pipeproxy import share, spawn
from tests.typing.cases.zoo import Teller

proxy, listener = share(Teller("ada"))
proxy.no_such_method()  # E: attr-defined | reportAttributeAccessIssue
proxy._private  # E: attr-defined | reportAttributeAccessIssue
proxy.serve(3, 4)  # E: arg-type | reportArgumentType
listener.share(Teller("bob")).no_such_method()  # E: attr-defined | reportAttributeAccessIssue
spawn(Teller, 3)  # E: call-overload | reportArgumentType reportCallIssue
spawn(Teller, "ada")[0].no_such_method()  # E: attr-defined | reportAttributeAccessIssue
clerk: Teller = proxy  # E: assignment | reportAssignmentType

"""Clients: what the owner remembers of them is bounded."""

from __future__ import annotations

from pipeproxy._objects._clients import Client


def test_what_is_remembered_of_a_client_is_bounded() -> None:
    client = Client(b"token")
    for number in range(1, 3000):
        client.remember_gone(number)
        client.remember_left(number)
    assert list(client.gone) == list(client.left) == list(range(2000, 3000))

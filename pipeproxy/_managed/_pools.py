"""Pools whose workers are children of a manager's process; what they return stays there."""

from __future__ import annotations

from multiprocessing.pool import ApplyResult, IMapIterator, Pool

from .._specs._options import proxied

__all__ = ["Pool"]

for _cls in (Pool, ApplyResult, IMapIterator):
    proxied(_cls, dispatch="threads")

"""A program that runs one of CPython's ``WithManager…`` test classes.

``python -m tests.cpython.with_manager MANAGER CLASS FILE`` uses the manager of ``standard`` or of
``ours``, and writes to the file a line for each test: its name and what came of it, as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.managers
import sys
import unittest
from importlib import import_module
from typing import Any, TextIO

#: What the tests take from the standard library, and get from ours instead.
PATCHED = ("BaseManager", "BaseProxy", "RemoteError", "SyncManager")

PASSED, SKIPPED = "passed", "skipped"


class Record(unittest.TestResult):
    """Writes down what comes of each test, as soon as it is over."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file
        self._outcome = PASSED

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        wrong = [text for case, text in self.errors + self.failures if case is test]
        if wrong:
            outcome = wrong[0]
        else:
            outcome = SKIPPED if any(case is test for case, _ in self.skipped) else PASSED
        self.write(test._testMethodName, outcome)

    def write(self, name: str, outcome: str) -> None:
        print(json.dumps([name, outcome]), file=self._file, flush=True)


def use_ours() -> None:
    """Put our manager in the place of the standard one; before the tests are imported."""
    from pipeproxy import managers

    multiprocessing.Manager = managers.Manager
    for name in PATCHED:
        setattr(multiprocessing.managers, name, getattr(managers, name))
    # Of the standard manager's own, and only looked at for a warning.
    managers.BaseManager._number_of_objects = lambda manager: 0  # type: ignore[attr-defined]


def run(whose: str, name: str, file: TextIO) -> None:
    """Run one class of tests."""
    if whose == "ours":
        use_ours()
    module: Any = import_module("test._test_multiprocessing")
    if whose == "ours":
        module.SERIALIZER = "pickle"  # there is no other
    # Where the tests of a Pool in another process find them by name.
    module.install_tests_in_module_dict(globals(), "fork")
    case = globals().get(name) or getattr(module, name)
    record = Record(file)
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(record)
    for culprit, text in record.errors + record.failures:
        if not isinstance(culprit, unittest.TestCase):  # of the class or the module
            record.write(str(culprit), text)


if __name__ == "__main__":
    with open(sys.argv[3], "w", encoding="utf-8") as opened:
        run(sys.argv[1], sys.argv[2], opened)

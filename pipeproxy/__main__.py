"""``python -m pipeproxy``: the command line."""

from __future__ import annotations

import sys

USAGE = """\
usage: python -m pipeproxy stubs MODULE... [--out DIRECTORY] [--check]

Write types for the proxies of the classes of modules; --help behind stubs tells more.
"""


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit status."""
    if arguments[:1] == ["stubs"]:
        from . import stubs

        return stubs.main(arguments[1:])
    asked = arguments[:1] in (["-h"], ["--help"])
    (sys.stdout if asked else sys.stderr).write(USAGE)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

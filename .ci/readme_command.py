"""Print one command of the README's first sh block: readme_command.py NUMBER, counted from 1."""

import re
import sys
from pathlib import Path

readme = Path(__file__).resolve().parent.parent / "README.md"
block = re.search(r"^```sh\n(.*?)^```", readme.read_text("utf-8"), re.DOTALL | re.MULTILINE)
commands = block.group(1).replace("\\\n", "").splitlines() if block else []
print(commands[int(sys.argv[1]) - 1])

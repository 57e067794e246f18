"""The code of the documentation runs as it is copied: README.md and everything in docs/."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from terminal import MISHAP, Terminal

ROOT = Path(__file__).parents[2]

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})python(?P<info>(?: [^\n]*)?)\n"
    r"(?P<code>.*?)"
    r"^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One ```python block and where it stands."""

    name: str
    line: int
    code: str
    runs: bool

    @property
    def place(self) -> str:
        return f"{self.name}:{self.line}"

    @property
    def is_file(self) -> bool:
        """Whether it is a file as it stands; all others are pasted into ``python -m asyncio``."""
        return "asyncio.run(" in self.code


def blocks_of(name: str, text: str) -> list[Block]:
    return [
        Block(
            name,
            text.count("\n", 0, found.start()) + 1,
            re.sub(f"(?m)^{found['indent']}", "", found["code"]),
            "no-run" not in found["info"].split(),
        )
        for found in FENCE.finditer(text)
    ]


def run(blocks: list[Block], directory: Path) -> str:
    """Do with the blocks of one document what its reader does; return what is shown."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AVATAR_")}
    shown = ""
    for block in blocks:
        compile(block.code, block.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if block.runs and block.is_file:
            file = directory / "example.py"
            file.write_text(block.code, encoding="utf-8")
            ran = subprocess.run(  # noqa: S603
                [sys.executable, file],
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (ran.returncode, ran.stderr) == (0, ""), block.place
            shown += ran.stdout
    pasted = [block for block in blocks if block.runs and not block.is_file]
    if pasted:
        with Terminal(directory, environment) as terminal:
            for block in pasted:
                screen = terminal.paste(block.code)
                assert not MISHAP.search(screen), f"{block.place}\n{screen}"
                shown += screen
            screen = terminal.leave()
            assert not MISHAP.search(screen), screen
    return shown


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_document_runs_as_it_is_copied(document: Path, tmp_path: Path):
    text = document.read_text(encoding="utf-8")
    blocks = blocks_of(str(document.relative_to(ROOT)), text)
    run(blocks, tmp_path)
    if any(block.runs and not block.is_file for block in blocks):
        assert "`python -m asyncio`" in text  # it says where they go


# --- what tells them apart, and that a mishap is seen -------------------------------

DOCUMENT = """\
Text.

```python
import asyncio
steps = ["first"]
```

```sh
false
```

- A list:

  ```python
  async with asyncio.timeout(20):
      steps.append("second")
  ```

```python
async def main():
    print("a file of its own")


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
```

```python
async def answer():
    return len(steps)

task = asyncio.create_task(answer())
```

```python
print("steps:", await task)
```

```python no-run
steps.append(never)
```

```pythonic
nonsense(
```
"""


def test_blocks_are_pasted_in_order_and_files_are_run(tmp_path: Path):
    shown = run(blocks_of("page.md", DOCUMENT), tmp_path)
    assert shown.startswith("a file of its own\n")
    assert "\nsteps: 2\n" in shown


@pytest.mark.parametrize(
    "code",
    [
        "x = 1\nx / 0\n",
        "for x in range(2):\n    print(x)\nprint('no blank line before this one')\n",
        "def half(x):\n    x = x\n\n    return x / 2\n",  # a blank line ends it
        "import warnings\nwarnings.warn('old')\n",
        "import asyncio\nasyncio.run(asyncio.sleep(0, missing))\n",
    ],
)
def test_a_block_that_does_not_run_as_it_is_copied_is_shown_with_its_place(code, tmp_path):
    with pytest.raises(AssertionError, match=re.escape("page.md:3")):
        run(blocks_of("page.md", f"Text.\n\n```python\n{code}```\n"), tmp_path)


def test_a_block_that_is_not_run_must_still_compile(tmp_path):
    with pytest.raises(SyntaxError):
        run(blocks_of("page.md", "```python no-run\nnonsense(\n```\n"), tmp_path)

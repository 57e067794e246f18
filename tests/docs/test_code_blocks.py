"""The code of the documentation runs: README.md and everything in docs/."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import pytest

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

    def compile(self) -> CodeType:
        """Compile it so that a traceback shows the document's own lines."""
        code = "\n" * self.line + self.code
        return compile(code, self.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


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


def run(blocks: list[Block]) -> dict[str, object]:
    """Run the blocks of one document in order, in one namespace and one event loop.

    Between top-level awaits the loop does not run, so that a block may as well
    be a script that ends in ``asyncio.run()``.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks:
            code = block.compile()
            if block.runs:
                result = eval(code, namespace)  # noqa: S307  # how top-level await is run
                if inspect.iscoroutine(result):
                    runner.run(result)
    return namespace


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_document_runs(
    document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name in os.environ:
        if name.startswith("AVATAR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # what they write does not stay
    run(blocks_of(str(document.relative_to(ROOT)), document.read_text(encoding="utf-8")))


# --- the runner itself -------------------------------------------------------------

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
  async with asyncio.timeout(1):
      steps.append("second")
  ```

```python
async def main():
    steps.append("third")


if __name__ == "__main__":
    asyncio.run(main())
```

```python no-run
steps.append(never)
```

```pythonic
nonsense(
```
"""


def test_blocks_run_in_order_in_one_namespace_with_top_level_await():
    namespace = run(blocks_of("page.md", DOCUMENT))
    assert namespace["steps"] == ["first", "second", "third"]


def test_a_task_of_one_block_goes_on_in_the_next():
    namespace = run(
        blocks_of(
            "page.md",
            "```python\nimport asyncio\n"
            "async def answer():\n    return 42\n"
            "task = asyncio.create_task(answer())\nawait asyncio.sleep(0)\n```\n"
            "```python\nx = await task\n```\n",
        )
    )
    assert namespace["x"] == 42


def test_a_block_that_fails_shows_its_place_in_the_document():
    with pytest.raises(ZeroDivisionError) as caught:
        run(blocks_of("page.md", "\n```python\nx = 1\nx / 0\n```\n"))
    last = caught.traceback[-1]
    assert str(last.path).endswith("page.md")
    assert last.lineno + 1 == 4  # pytest counts from 0


def test_a_block_that_is_not_run_must_still_compile():
    with pytest.raises(SyntaxError):
        run(blocks_of("page.md", "```python no-run\nnonsense(\n```\n"))

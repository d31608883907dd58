"""The README's commands and examples are what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("heading", ["Run", "Test"])
def test_one_command_in_one_line(heading):
    section = re.search(rf"^## {heading}\n(.*?)(?=^## )", README, re.DOTALL | re.MULTILINE).group(1)
    blocks = re.findall(r"^```\w*\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) == 1
    assert blocks[0].startswith("python3 -m venv .venv && ")


def test_the_examples_run(tmp_path):
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_and_paths_exist():
    """Links between pages, and files that the text names in backquotes with their folder."""
    faults = []
    for page in PAGES:
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if not link.startswith("http") and not (page.parent / link).exists():
                faults.append(f"{page.name}: {link}")
        for path in re.findall(r"`((?:csrc|python|tests|bench|docs|\.ci)/[\w./-]+)`", text):
            if not (ROOT / path).exists():
                faults.append(f"{page.name}: {path}")
    assert not faults, faults

import json
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Runs `examples/<name>.py` with arguments; gives the figures that it prints last."""

    def run(name, *arguments):
        script = str(EXAMPLES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(script, run_name="__main__")
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert {"seconds", "processor_seconds"} <= result.keys()
        return result

    return run

"""ONNX Runtime keeps no record of what runs, and so sends none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import tiny_model

_OPEN = "import sys; from pathlib import Path; from heimdex_clip.encoder.encoder import open_encoder; "
_OPEN += "open_encoder(Path(sys.argv[1]), runtime='cpu')"


def test_opening_a_model_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folder = tiny_model.build(tmp_path / "model")
    left_out = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environ = {name: value for name, value in os.environ.items() if name not in left_out}
    subprocess.run([sys.executable, "-c", _OPEN, folder], env={**environ, "HOME": str(home)}, check=True, timeout=60)
    assert not [path for path in home.rglob("*") if "onnxruntime" in path.name or "deviceid" in path.name]

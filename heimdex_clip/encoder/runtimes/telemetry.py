"""ONNX Runtime's reports to its makers, which this project does not send."""

from __future__ import annotations

import os


def refuse() -> None:
    """Call it before `import onnxruntime`: nothing is recorded, stored under the home folder, or sent.

    Since 1.31 its Linux wheels record and store by default, at import: a lasting device id, the interpreter's path,
    the processor, the system; the address that they are meant for is built in. `disable_telemetry_events()` comes too
    late for the import's own. A value that is set stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

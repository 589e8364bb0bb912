"""The bare SDK loop: a handler that sleeps 5 ms and answers with as many bytes as the worker does.

``python -m bench.stub_bare`` serves the queue that the SDK's variables name.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping

from worker import sdk

SLEEP_S = 0.005
CONCURRENCY = 512


async def handle(_job: Mapping[str, object]) -> dict[str, object]:
    """Any job; the reply has the size of an embedding's."""
    await asyncio.sleep(SLEEP_S)
    return {"request_id": "bench", "embedding": list(_VECTOR)}


_VECTOR = [random.Random(0).gauss(0, 1) / 20 for _ in range(512)]  # noqa: S311  # nothing secret


def main() -> None:
    """Serve the SDK's loop until SIGTERM, its import prepared as the worker prepares it."""
    sdk.prepare_import(os.environ)
    import runpod

    runpod.serverless.start({"handler": handle, "concurrency_modifier": lambda _current: CONCURRENCY})


if __name__ == "__main__":
    main()

"""The smallest worker on the real SDK: answers as its input says. Run as a subprocess by test_jobapi.py."""

from __future__ import annotations

import asyncio
from typing import Any

import runpod


async def handle(job: dict[str, Any]) -> object:
    """`sleep_s`, then: `raise` an exception, or return `reply`."""
    order = job["input"]
    try:
        await asyncio.sleep(order.get("sleep_s", 0))
    except asyncio.CancelledError:
        print("STOPPED", job["id"], flush=True)
        raise
    if "raise" in order:
        raise RuntimeError(order["raise"])
    return order.get("reply")


if __name__ == "__main__":
    print("READY", flush=True)
    runpod.serverless.start({"handler": handle, "concurrency_modifier": lambda _current: 512})

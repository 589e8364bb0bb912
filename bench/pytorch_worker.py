"""The PyTorch reference worker: open_clip in the SDK's handler, one image a job.

    BENCH_CHECKPOINT=... BENCH_MODEL=ViT-B-32 BENCH_QUICK_GELU=1 EMBEDDING_HMAC_SECRET=... \\
        python -m bench.pytorch_worker

The worker that this project replaces, written as its users write it, and held to be a fair opponent:

- the weights are read from disk as safetensors, which open_clip reads faster than a pickled checkpoint;
- the handler is a plain function under the SDK's default concurrency of one job at a time;
- one `requests` session for all downloads, so that connections are kept;
- PyTorch keeps its default of one thread a core, and there is no gradient;
- the model is loaded before the loop starts, in `main` rather than at import, so that no process which
  imports this module again pays for it twice;
- the SDK's own start checks are off, as they are for every worker measured here.

Steps are logged to standard error as ``{"time", "event"}``.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heimdex_clip.errors import ClipError, SettingsError
from heimdex_clip.signing import verify_v1

if TYPE_CHECKING:
    import requests
    import torch
    from PIL import Image

_WINDOW_S = 120
_DOWNLOAD_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ReferenceWorker:
    """The handler. `transform` makes float32 ``[3, size, size]`` of a PIL image."""

    model: torch.nn.Module
    transform: Callable[[Image.Image], torch.Tensor]
    session: requests.Session
    secret: str

    def handle(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """One v1 job: ``{"request_id", "embedding", "dim", "normalized", "timings"}`` or ``{"error"}``."""
        fields = job["input"]
        request_id = fields.get("request_id")
        try:
            url, auth = fields["image_url"], fields["auth"]
            verify_v1(url, auth, keys={"default": self.secret}, window_s=_WINDOW_S, now=time.time())
            started = time.perf_counter()
            data = self._download(url)
            downloaded = time.perf_counter()
            embedding = self._embed(data, normalize=fields.get("normalize", True))
            encoded = time.perf_counter()
        except ClipError as error:
            return {"error": error.message, "request_id": request_id}
        # The earlier worker answered any failure so: KeyError, requests' errors, Pillow's.
        except Exception as error:  # noqa: BLE001
            return {"error": f"{type(error).__name__}", "request_id": request_id}
        return {
            "request_id": request_id,
            "embedding": embedding,
            "dim": len(embedding),
            "normalized": fields.get("normalize", True),
            "timings": {
                "download_ms": round((downloaded - started) * 1000, 2),
                "inference_ms": round((encoded - downloaded) * 1000, 2),
                "total_ms": round((encoded - started) * 1000, 2),
            },
        }

    def _download(self, url: str) -> bytes:
        reply = self.session.get(url, timeout=_DOWNLOAD_TIMEOUT_S)
        reply.raise_for_status()
        return reply.content

    def _embed(self, data: bytes, *, normalize: bool) -> list[float]:
        import torch
        from PIL import Image

        pixels = self.transform(Image.open(io.BytesIO(data))).unsqueeze(0)
        with torch.no_grad():
            vectors = self.model.encode_image(pixels)  # type: ignore[operator]  # open_clip's models have it
            if normalize:
                vectors = vectors / vectors.norm(dim=-1, keepdim=True)
        embedding: list[float] = vectors[0].tolist()
        return embedding


def load_model(
    name: str, checkpoint: Path, *, quick_gelu: bool
) -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """open_clip's model with the checkpoint's weights, ready to encode, and its own transform."""
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(checkpoint), quick_gelu=quick_gelu)
    return model.eval(), transform


def main(environ: Mapping[str, str]) -> None:
    """Load the model, then serve the SDK's loop until SIGTERM. Raises SettingsError for a missing variable."""
    try:
        name, checkpoint = environ["BENCH_MODEL"], Path(environ["BENCH_CHECKPOINT"])
        quick_gelu, secret = environ["BENCH_QUICK_GELU"] == "1", environ["EMBEDDING_HMAC_SECRET"]
    except KeyError as error:
        raise SettingsError(f"{error.args[0]} is not set") from None
    _log("python_started")
    import runpod

    _log("sdk_imported")
    import open_clip  # noqa: F401  # imported here to be timed apart from the weights
    import requests

    _log("open_clip_imported")
    model, transform = load_model(name, checkpoint, quick_gelu=quick_gelu)
    _log("model_ready")
    with requests.Session() as session:
        worker = ReferenceWorker(model, transform, session, secret)
        runpod.serverless.start({"handler": worker.handle})


def _log(event: str) -> None:
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    print(json.dumps({"time": stamp, "event": event}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(os.environ)
    except ClipError as error:
        sys.exit(f"pytorch_worker: {error}")

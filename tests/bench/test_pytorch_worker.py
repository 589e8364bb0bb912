from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from bench import photos
from bench.pytorch_worker import ReferenceWorker, load_model, main
from heimdex_clip.errors import SettingsError
from heimdex_clip.signing import sign_v1
from tests.bench.webserver import served

SECRET = "reference"


class Flat(torch.nn.Module):
    """An encoder small enough to check by hand: the means of the three channels."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32)).permute(2, 0, 1)


@pytest.fixture
def worker() -> Iterator[ReferenceWorker]:
    with requests.Session() as session:
        yield ReferenceWorker(Flat(), to_tensor, session, SECRET)


def png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue()


def job(url: str, *, secret: str = SECRET, **fields: Any) -> dict[str, Any]:
    return {"id": "j", "input": {"image_url": url, "request_id": "r", "auth": sign_v1(url, secret=secret), **fields}}


def test_a_signed_image_is_downloaded_and_embedded(worker: ReferenceWorker) -> None:
    with served({"/a.png": png((30, 0, 40))}) as base:
        reply = worker.handle(job(f"{base}/a.png"))
        raw = worker.handle(job(f"{base}/a.png", normalize=False))

    assert reply["embedding"] == pytest.approx([0.6, 0, 0.8])
    assert (reply["request_id"], reply["dim"], reply["normalized"]) == ("r", 3, True)
    assert raw["embedding"] == pytest.approx([30, 0, 40])
    assert raw["normalized"] is False


def test_a_bad_signature_is_refused_before_the_download(worker: ReferenceWorker) -> None:
    reply = worker.handle(job("http://127.0.0.1:1/never-asked", secret="another"))
    assert reply == {"error": "Authentication failed", "request_id": "r"}


@pytest.mark.parametrize(("path", "error"), [("/none.png", "HTTPError"), ("/text", "UnidentifiedImageError")])
def test_a_failure_is_answered(worker: ReferenceWorker, path: str, error: str) -> None:
    with served({"/text": b"not an image"}) as base:
        assert worker.handle(job(base + path)) == {"error": error, "request_id": "r"}


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="BENCH_CHECKPOINT"):
        main({"BENCH_MODEL": "ViT-B-32"})


@pytest.mark.parametrize(("quick_gelu", "activation"), [(True, "QuickGELU"), (False, "GELU")])
def test_a_checkpoint_is_loaded_as_it_was_made(tmp_path: Path, quick_gelu: bool, activation: str) -> None:
    import open_clip
    from safetensors.torch import save_file

    made = open_clip.create_model("ViT-B-32", load_weights=False, quick_gelu=quick_gelu).eval()
    checkpoint = tmp_path / "weights.safetensors"
    save_file(made.state_dict(), checkpoint)

    loaded: Any
    loaded, transform = load_model("ViT-B-32", checkpoint, quick_gelu=quick_gelu)

    assert type(loaded.visual.transformer.resblocks[0].mlp.gelu).__name__ == activation
    pixels = transform(Image.open(io.BytesIO(photos.jpegs(640, 360)[0]))).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_image(pixels), made.encode_image(pixels))

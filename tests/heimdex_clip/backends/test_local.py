"""The model in this process: opened once, shared by threads, and its downloads guarded."""

from __future__ import annotations

import asyncio
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from heimdex_clip import ClipClient, Embedding
from heimdex_clip.backends.images import DownloadRules, download
from heimdex_clip.errors import (
    ClipError,
    DownloadFailed,
    DownloadTimeout,
    ImageTooLarge,
    InvalidRequest,
    LaneUnavailable,
    ModelError,
    UrlRefused,
)
from tests import tiny_model
from tests.e2e.rig import ImageServer, picture


def client(folder: Path, **environment: str) -> ClipClient:
    made = ClipClient.from_env({"CLIP_INFERENCE_BACKEND": "local", "CLIP_MODEL_DIR": str(folder), **environment})
    assert isinstance(made, ClipClient)
    return made


def rules(port: int, *, max_bytes: int = 10 << 20) -> DownloadRules:
    return DownloadRules(frozenset({port}), (ip_network("127.0.0.0/8"),), max_bytes=max_bytes)


def test_threads_share_one_model(tmp_path: Path) -> None:
    with client(tiny_model.build(tmp_path / "model")) as clip, ThreadPoolExecutor(8) as pool:
        photos = [picture(seed % 4) for seed in range(32)]
        found = list(pool.map(lambda photo: clip.embed_image(bytes=photo), photos))
        texts = list(pool.map(lambda seed: clip.embed_text(f"text {seed % 4}"), range(32)))
    for results in (found, texts):
        assert all(one.vector == results[index % 4].vector for index, one in enumerate(results))
        assert len({one.vector for one in results}) == 4
        assert all(math.isclose(math.hypot(*one.vector), 1, abs_tol=1e-5) for one in results)


def test_a_long_text_says_that_it_was_cut(tmp_path: Path) -> None:
    with client(tiny_model.build(tmp_path / "model")) as clip:
        assert clip.embed_text(tiny_model.TEXTS[1]).truncated
        assert not clip.embed_text("a").truncated


def test_a_model_that_cannot_be_used_is_one_typed_error(tmp_path: Path) -> None:
    with client(tmp_path) as clip, pytest.raises(ModelError, match="no model at"):
        clip.embed_image(bytes=picture(1))
    folder = tiny_model.build(tmp_path / "model")
    (folder / tiny_model.IMAGE).write_bytes(b"altered")
    with client(folder) as clip:
        with pytest.raises(ModelError, match="sha256"):
            clip.health()
        with pytest.raises(ModelError, match="sha256"):
            clip.embed_images([picture(1)])


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heimdex_clip.encoder.encoder", None)
    with client(tmp_path) as clip, pytest.raises(LaneUnavailable, match=r"install heimdex-clip\[cpu\]"):
        clip.embed_text("a cat")


def test_exactly_one_form_of_an_image_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with client(tmp_path) as clip:
        for arguments in (
            {},
            {"url": "https://x", "bytes": b"x"},
            {"path": tmp_path / "none"},
            {"path": tmp_path / "empty"},
            {"path": "\0"},
        ):
            with pytest.raises(InvalidRequest):
                clip.embed_image(**arguments)
        with pytest.raises(InvalidRequest):
            clip.embed_images([])


async def test_downloads_keep_to_the_rules(tmp_path: Path) -> None:
    async with ImageServer().running() as images:

        async def fetch(path: str, **changed: int) -> bytes:
            return await asyncio.to_thread(download, images.url(path), rules(images.port, **changed))

        assert await fetch("/picture/1.jpg") == picture(1)
        with pytest.raises(UrlRefused, match="port"):
            await asyncio.to_thread(download, images.url("/picture/1.jpg"), DownloadRules())
        with pytest.raises(UrlRefused, match="not a public address"):
            await asyncio.to_thread(
                download, images.url("/picture/1.jpg"), DownloadRules(allowed_ports=frozenset({images.port}))
            )
        with pytest.raises(UrlRefused):
            await fetch("/redirect.jpg")
        listed = replace(rules(images.port), allowed_hosts=("127.0.0.1",))
        assert await asyncio.to_thread(download, images.url("/picture/1.jpg"), listed) == picture(1)
        elsewhere = replace(listed, allowed_hosts=("example.com", "0.0.1"))
        with pytest.raises(UrlRefused, match="host is not among"):
            await asyncio.to_thread(download, images.url("/picture/1.jpg"), elsewhere)
        with pytest.raises(ImageTooLarge, match="1000 bytes"):
            await fetch("/large.jpg", max_bytes=1000)
        with pytest.raises(DownloadTimeout):
            await asyncio.to_thread(
                download,
                images.url("/never.jpg"),
                DownloadRules(frozenset({images.port}), rules(1).allowed_private, timeout_s=0.3),
            )
        with pytest.raises(DownloadFailed, match="HTTP 404") as raised:
            await fetch("/nothing.jpg")
        assert not raised.value.retryable
        port = images.port
    with pytest.raises(DownloadFailed, match="ConnectError"):
        await asyncio.to_thread(download, f"http://127.0.0.1:{port}/x.jpg", rules(port))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://images.example/x",
        "file:///etc/passwd",
        "http://user:pass@images.example/x",
        "http://images.example:99999/x",
        "http:///x",
        "http://images.example/a b",
        "http://[::1",
        "nothing",
    ],
)
def test_urls_of_another_form_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        download(url, DownloadRules())


async def test_redirects_end() -> None:
    async def around(request: web.Request) -> web.Response:
        raise web.HTTPFound(str(request.url))

    app = web.Application()
    app.router.add_get("/", around)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        with pytest.raises(DownloadFailed, match="more than 3 times"):
            await asyncio.to_thread(download, f"http://127.0.0.1:{port}/", rules(port))
    finally:
        await runner.cleanup()


def test_a_batch_reports_each_failure(tmp_path: Path) -> None:
    with client(tiny_model.build(tmp_path / "model")) as clip:
        good, bad = clip.embed_images([picture(1), b"x"])
    assert isinstance(good, Embedding)
    assert isinstance(bad, ClipError)

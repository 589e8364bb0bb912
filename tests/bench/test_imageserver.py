from __future__ import annotations

import io

import httpx
import psutil
from PIL import Image

from bench import imageserver


async def test_different_photographs_of_the_wanted_size_are_served_until_the_block_ends() -> None:
    sizes = [(640, 360), (700, 400)]
    async with imageserver.serving(sizes) as photos, httpx.AsyncClient() as client:
        for size in sizes:
            replies = [await client.get(url) for url in photos.urls[size]]
            assert {reply.status_code for reply in replies} == {200}
            assert len({reply.content for reply in replies}) == len(photos.urls[size]) > 1
            assert all(Image.open(io.BytesIO(reply.content)).size == size for reply in replies)
        missing = await client.get(f"http://127.0.0.1:{photos.port}/640x360/none.jpg")
    assert missing.status_code == 404
    assert not psutil.pid_exists(photos.pid)

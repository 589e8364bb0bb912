"""The playground in a real browser: upload, result, error shown."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from heimdex_clip.encoder.encoder import Encoder, open_encoder
from tests.worker.http.conftest import KEY, Served, png, ready

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Without these a browser calls its maker at every start.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def encoder(model_dir: Path) -> Encoder:
    found = open_encoder(model_dir, runtime="cpu")
    found.load_text()
    return found


@asynccontextmanager
async def playground(encoder: Encoder, **environment: str) -> AsyncIterator[tuple[Page, Served, list[str]]]:
    """The page in a browser, its server, and every complaint of the browser about the page."""
    async with ready(encoder, PLAYGROUND="1", **environment) as served, async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        try:
            page = await browser.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            await page.goto(served.url)
            yield page, served, complaints
        finally:
            await browser.close()


async def choose(page: Page, *names: str, data: bytes | None = None) -> None:
    """Pick files by the file input, each another picture unless `data` is given."""
    files = [
        {"name": name, "mimeType": "image/png", "buffer": data if data is not None else png(seed)}
        for seed, name in enumerate(names)
    ]
    await page.get_by_label("Pick images").set_input_files(files)  # type: ignore[arg-type]  # its own TypedDict


async def test_images_and_texts_become_a_table_of_similarities_and_timings(encoder: Encoder) -> None:
    async with playground(encoder) as (page, _, complaints):
        await expect(page.locator("#served")).to_contain_text(encoder.manifest.model_digest)
        await expect(page.locator("#warning")).to_be_visible()
        await choose(page, "one.png", "two.png")
        await page.get_by_label("Texts").fill("a cat\n\na dog\na tree\n")
        await page.get_by_label("API key").fill(KEY)
        await page.get_by_role("button", name="Compare").click()
        await expect(page.locator("#status")).to_contain_text("5 of 5 embedded")
        heat = page.locator("#heat")
        assert await heat.locator("tbody tr").count() == 2
        assert await heat.locator("thead th").all_inner_texts() == ["a cat", "a dog", "a tree"]
        cells = [float(text) for text in await heat.locator("td:not(:empty)").all_inner_texts()]
        assert len(cells) == 6
        assert all(-1 <= cell <= 1 for cell in cells)
        assert await heat.locator("td.best").count() == 2
        await page.get_by_label("everything with everything").check()
        assert await heat.locator("tbody tr").count() == 5
        assert await heat.locator("td", has_text="1.000").count() >= 5
        assert await page.locator("#times tbody tr").count() == 5
        totals = await page.locator("#times tbody tr td:nth-child(6)").all_inner_texts()
        assert all(float(total) > 0 for total in totals)
        assert complaints == []


async def test_a_dropped_file_is_taken_and_can_be_removed(encoder: Encoder) -> None:
    async with playground(encoder) as (page, _, complaints):
        dropped = await page.evaluate_handle(
            """() => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(8)], "dropped.png", { type: "image/png" }));
                return transfer;
            }"""
        )
        await page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        await expect(page.get_by_role("img", name="dropped.png")).to_have_count(1)
        await page.get_by_role("button", name="Remove dropped.png").click()
        await expect(page.get_by_role("img", name="dropped.png")).to_have_count(0)
        assert complaints == []


async def test_an_error_is_shown_beside_what_worked(encoder: Encoder) -> None:
    async with playground(encoder) as (page, _, _complaints):
        await choose(page, "good.png")
        await choose(page, "broken.png", data=b"no image")
        await page.get_by_label("Texts").fill("a cat")
        await page.get_by_label("API key").fill(KEY)
        await page.get_by_role("button", name="Compare").click()
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("broken.png")
        await expect(alert).to_contain_text("IMAGE_INVALID")
        assert await page.locator("#heat tbody tr").count() == 1


async def test_a_wrong_key_is_shown(encoder: Encoder) -> None:
    async with playground(encoder) as (page, _, _complaints):
        await page.get_by_label("Texts").fill("a cat\na dog")
        await page.get_by_label("API key").fill("wrong")
        await page.get_by_role("button", name="Compare").click()
        await expect(page.get_by_role("alert")).to_contain_text("The API key is not accepted (AUTH_FAILED)")
        await expect(page.locator("#results")).to_be_hidden()
        await expect(page.get_by_role("button", name="Compare")).to_be_enabled()


async def test_without_a_key_it_speaks_to_a_server_that_takes_unsigned_requests(encoder: Encoder) -> None:
    insecure = {"EMBEDDING_HMAC_SECRET": "", "EMBEDDING_API_KEYS": "", "ALLOW_INSECURE_AUTH": "1"}
    async with playground(encoder, **insecure) as (page, _, complaints):
        await choose(page, "one.png")
        await page.get_by_label("Texts").fill("a cat")
        await page.get_by_role("button", name="Compare").click()
        await expect(page.locator("#status")).to_contain_text("2 of 2 embedded")
        assert await page.locator("#heat td:not(:empty)").count() == 1
        assert complaints == []


async def test_nothing_to_compare_is_said(encoder: Encoder) -> None:
    async with playground(encoder) as (page, _, complaints):
        await page.get_by_role("button", name="Compare").click()
        await expect(page.locator("#status")).to_contain_text("at least two")
        assert complaints == []

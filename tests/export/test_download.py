from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.download import fetch, sha256_in
from export.progress import Progress
from heimdex_clip.errors import ModelError
from tests.export.support import FileServer, file_server

DATA = b"weights " * 100_000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        running.files[f"/{SHA256}/ViT.pt"] = DATA
        yield running


def _left(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once_and_then_kept(server: FileServer, tmp_path: Path, progress: Progress) -> None:
    url = f"{server.url}/{SHA256}/ViT.pt"
    first = fetch(url, SHA256, tmp_path, progress)
    assert first.read_bytes() == DATA
    assert first.name == "ViT.pt"
    assert fetch(url, SHA256, tmp_path, progress) == first
    assert server.requests == [f"/{SHA256}/ViT.pt"]
    assert _left(tmp_path) == ["ViT.pt"]


def test_a_cached_file_that_was_altered_is_fetched_again(
    server: FileServer, tmp_path: Path, progress: Progress
) -> None:
    url = f"{server.url}/{SHA256}/ViT.pt"
    fetch(url, SHA256, tmp_path, progress).write_bytes(b"rotten")
    assert fetch(url, SHA256, tmp_path, progress).read_bytes() == DATA
    assert len(server.requests) == 2


def test_other_bytes_than_published_are_refused_and_not_kept(
    server: FileServer, tmp_path: Path, progress: Progress
) -> None:
    server.files[f"/{SHA256}/ViT.pt"] = DATA + b"!"
    with pytest.raises(ModelError, match=rf"ViT\.pt arrived with sha256 [0-9a-f]{{64}}, not {SHA256}"):
        fetch(f"{server.url}/{SHA256}/ViT.pt", SHA256, tmp_path, progress)
    assert _left(tmp_path) == []


def test_a_transfer_that_breaks_off_leaves_nothing(server: FileServer, tmp_path: Path, progress: Progress) -> None:
    server.declared_bytes = len(DATA) * 2
    with pytest.raises(ModelError, match=r"cannot download ViT\.pt from 127\.0\.0\.1"):
        fetch(f"{server.url}/{SHA256}/ViT.pt", SHA256, tmp_path, progress)
    assert _left(tmp_path) == []


def test_a_missing_file_names_the_status(server: FileServer, tmp_path: Path, progress: Progress) -> None:
    with pytest.raises(ModelError, match="HTTP 404"):
        fetch(f"{server.url}/elsewhere/ViT.pt", SHA256, tmp_path, progress)


def test_a_server_that_never_answers_is_given_up(server: FileServer, tmp_path: Path, progress: Progress) -> None:
    server.silent = True
    with pytest.raises(ModelError, match="timed out"):
        fetch(f"{server.url}/{SHA256}/ViT.pt", SHA256, tmp_path, progress, read_timeout_s=0.2)


def test_a_closed_port_and_an_unknown_name_are_one_line(tmp_path: Path, progress: Progress) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ModelError, match=r"from 127\.0\.0\.1 \(Connection refused\)"):
            fetch(f"http://127.0.0.1:{port}/{SHA256}/a.pt", SHA256, tmp_path, progress)
    with pytest.raises(ModelError, match=r"from nowhere\.invalid \(.+\)") as caught:
        fetch(f"http://nowhere.invalid/{SHA256}/a.pt", SHA256, tmp_path, progress, connect_timeout_s=2)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, progress: Progress) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(ModelError, match="cannot write"):
        fetch(f"http://127.0.0.1:1/{SHA256}/a.pt", SHA256, tmp_path / "cache", progress)


def test_the_published_hash_stands_in_the_url() -> None:
    assert sha256_in(f"https://host/clip/models/{SHA256}/ViT-B-32.pt") == SHA256
    with pytest.raises(ModelError, match="no sha256"):
        sha256_in("https://host/releases/v0.2/vit_b_32-d867053b.pt")

"""deploy/endpoint.toml, and what is refused in such a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import config
from deploy.errors import DeployError


def test_the_file_is_what_was_agreed() -> None:
    read = config.load()
    assert read.name == "heimdex-clip-worker"
    assert read.pools == ("AMPERE_24", "ADA_24")
    assert read.excluded_types == ("NVIDIA L4",)
    assert (read.gpus, read.workers_min, read.workers_max, read.idle_timeout_s) == (1, 0, 3, 5)
    assert (read.execution_timeout_s, read.container_disk_gb, read.flashboot) == (120, 20, True)
    assert read.secrets == ("EMBEDDING_HMAC_SECRET",)


def test_the_file_holds_no_secret() -> None:
    text = config.PATH.read_text()
    assert not re.search(r"[0-9a-f]{32}", text)
    assert not re.search(r"rpa_", text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max = 3", 'max = "3"', "workers.max"),
        ("max = 3", "max = true", "workers.max"),
        ("max = 3", "max = -1", "workers.max"),
        ("min = 0", "min = 4", "workers.min"),
        ("queue_delay_s = 4", "queue_delay_s = 0.1", "scaling.queue_delay_s"),
        ("queue_delay_s = 4", "", "scaling.queue_delay_s"),
        ('"QUEUE_DELAY"', '"OTHER"', "scaling.type"),
        ('"ADA_24"]', '"AMPERE_80"]', "gpu.pools"),
        ('"ADA_24"]', '"HOPPER_141"]', "gpu.pools"),
        ('"ADA_24"]', '"NVIDIA A100"]', "gpu.pools"),
        ('["AMPERE_24", "ADA_24"]', "[]", "gpu.pools"),
        ('"13.0"', '"13"', "gpu.min_cuda_version"),
        ("count = 1", "count = 1\nmore = 2", "gpu.more"),
        ("flashboot = true", "flashboot = 1", "flashboot"),
        ('"heimdex/heimdex-clip-worker"', '"heimdex/heimdex-clip-worker:latest"', "tag"),
        ('"heimdex/heimdex-clip-worker"', '"heimdex/heimdex-clip-worker@sha256:12"', "digest"),
        ('"INFO"', "3", "env.LOG_LEVEL"),
        ("LOG_LEVEL =", "EMBEDDING_HMAC_SECRET =", "env.EMBEDDING_HMAC_SECRET"),
        ("[gpu]", "[gpu", "TOML"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = config.PATH.read_text()
    assert old in text
    path = tmp_path / "endpoint.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(DeployError, match=re.escape(said)) as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot read"):
        config.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "image", ["repo", "owner/repo", "registry.example:5000/owner/repo", "owner/repo@sha256:" + "a" * 64]
)
def test_images(image: str) -> None:
    repository, digest = config.split_image(image)
    assert "@".join(filter(None, (repository, digest))) == image

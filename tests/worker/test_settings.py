import re
from dataclasses import fields
from pathlib import Path

import pytest

from heimdex_clip.errors import SettingsError
from worker import settings
from worker.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_defaults_need_no_environment() -> None:
    read = settings.read({})
    assert read == Settings()
    assert (read.auth_window_s, read.max_image_bytes, read.download_timeout_s) == (120, 10485760, 30.0)
    assert read.folder == Path("models/ViT-B-32-openai")
    assert read.audience == "local"


def test_values_are_read() -> None:
    read = settings.read(
        {
            "AUTH_TIME_WINDOW_SECONDS": "60",
            "ALLOWED_PRIVATE_CIDRS": "127.0.0.0/8, ::1/128",
            "ALLOWED_IMAGE_PORTS": "443",
            "ALLOWED_IMAGE_HOSTS": "Example.com., bücher.example,8.8.8.8",
            "CLIP_MODEL_NAME": "ViT-L-14",
            "RUNPOD_ENDPOINT_ID": "abc",
            "WORKER_CONCURRENCY": "",
        }
    )
    assert read.auth_window_s == 60
    assert [str(network) for network in read.allowed_private] == ["127.0.0.0/8", "::1/128"]
    assert read.allowed_ports == {443}
    assert read.allowed_hosts == ("example.com", "xn--bcher-kva.example", "8.8.8.8")
    assert read.folder == Path("models/ViT-L-14-openai")
    assert read.audience == "abc"
    assert read.concurrency == 512


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_TIME_WINDOW_SECONDS", "1_0"),
        ("AUTH_TIME_WINDOW_SECONDS", "-1"),
        ("AUTH_TIME_WINDOW_SECONDS", "٣"),
        ("MAX_IMAGE_SIZE_BYTES", "10MB"),
        ("IMAGE_DOWNLOAD_TIMEOUT", "nan"),
        ("IMAGE_DOWNLOAD_TIMEOUT", "0"),
        ("ALLOW_INSECURE_AUTH", "yes"),
        ("ALLOWED_PRIVATE_CIDRS", "10.0.0.1/8"),
        ("ALLOWED_IMAGE_PORTS", "80,"),
        ("ALLOWED_IMAGE_HOSTS", ","),
        ("ALLOWED_IMAGE_HOSTS", "example.com,"),
        ("ALLOWED_IMAGE_HOSTS", "*.example.com"),
        ("ALLOWED_IMAGE_HOSTS", "https://example.com"),
        ("ALLOWED_IMAGE_HOSTS", "example.com example.org"),
        ("ALLOWED_IMAGE_HOSTS", "10.0.0.0/8"),
        ("WORKER_RUNTIME", "gpu"),
        ("LOG_LEVEL", "verbose"),
        ("MODEL_MANIFEST_SHA256", "abc"),
    ],
)
def test_a_bad_value_is_one_line_with_name_value_and_what_it_takes(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.read({name: value})
    line = str(caught.value)
    assert line.startswith(f"{name}={value!r}: must be ")
    assert len(line) > len(f"{name}={value!r}: must be ") + 3
    assert "\n" not in line


def test_repr_shows_no_secret() -> None:
    secret = "s3cr3t-value"
    read = settings.read({field.metadata["env"]: secret for field in fields(Settings) if field.metadata["secret"]})
    assert secret not in repr(read)
    assert secret in (read.hmac_secret, read.hmac_secrets)


def test_the_documented_table_is_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [
        (field.metadata["env"], settings.shown(field.default), field.metadata["doc"]) for field in fields(Settings)
    ], "run: python -m worker settings"

import json

import pytest

from worker import log, policies
from worker.settings import read


def logged(capsys: pytest.CaptureFixture[str], **environment: str) -> list[dict[str, object]]:
    log.configure("INFO")
    policies.download_policy(read(environment))
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_the_defaults_of_downloads_are_not_worth_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert logged(capsys) == []


@pytest.mark.parametrize(
    ("environment", "level", "event"),
    [
        ({"ALLOWED_PRIVATE_CIDRS": "10.0.0.0/8"}, "WARNING", "downloads_widened"),
        ({"ALLOWED_IMAGE_PORTS": "80,443,8080"}, "WARNING", "downloads_widened"),
        ({"ALLOWED_IMAGE_HOSTS": "minio", "ALLOWED_PRIVATE_CIDRS": "10.0.0.0/8"}, "WARNING", "downloads_widened"),
        ({"ALLOWED_IMAGE_HOSTS": "Example.com"}, "INFO", "downloads_narrowed"),
        ({"ALLOWED_IMAGE_PORTS": "443"}, "INFO", "downloads_narrowed"),
    ],
)
def test_what_widens_or_narrows_downloads_is_logged_whole(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], level: str, event: str
) -> None:
    (line,) = logged(capsys, **environment)
    assert (line["level"], line["event"]) == (level, event)
    found = {name: line[name] for name in ("ALLOWED_IMAGE_HOSTS", "ALLOWED_PRIVATE_CIDRS", "ALLOWED_IMAGE_PORTS")}
    expected = {
        "ALLOWED_IMAGE_HOSTS": environment.get("ALLOWED_IMAGE_HOSTS", "").lower(),
        "ALLOWED_PRIVATE_CIDRS": environment.get("ALLOWED_PRIVATE_CIDRS", ""),
        "ALLOWED_IMAGE_PORTS": environment.get("ALLOWED_IMAGE_PORTS", "80,443"),
    }
    assert {name: ",".join(map(str, value)) for name, value in found.items() if isinstance(value, list)} == expected

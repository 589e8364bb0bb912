"""The commands, as they are typed, against the platform on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import config
from deploy.__main__ import main
from tests.deploy.conftest import ENVIRON, SECRET, Run
from tests.deploy.platform import KEY, Platform

FIRST, SECOND, THIRD = (f"sha256:{digit * 64}" for digit in "123")
REPOSITORY = config.load().repository


def changing(platform: Platform) -> list[str]:
    return [method for method, _, _ in platform.requests if method != "GET"]


def test_up_creates_the_endpoint_that_the_file_describes(run: Run, runpod: Platform) -> None:
    code, out, err = run("up", "--digest", FIRST)
    assert (code, err) == (0, "")
    ((own_id, made),) = runpod.endpoints.items()
    assert made["name"] == "heimdex-clip-worker"
    assert made["type"] == "QUEUE"
    assert made["image"] == f"{REPOSITORY}@{FIRST}"
    assert made["gpu"]["pools"] == ["AMPERE_24", "ADA_24"]
    assert made["gpu"]["excludedTypes"] == ["NVIDIA L4"]
    assert made["gpu"]["count"] == 1
    assert made["workers"] == {"min": 0, "max": 3, "idleTimeout": 5}
    assert made["timeout"] == 120_000
    assert made["flashboot"] == "FLASHBOOT"
    assert made["disk"] == 20
    assert made["env"]["EMBEDDING_HMAC_SECRET"] == SECRET
    assert f"RUNPOD_CLIP_ENDPOINT_ID={own_id}" in out
    assert "CLIP_INFERENCE_BACKEND=runpod" in out


def test_up_a_second_time_changes_nothing(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    code, out, _ = run("up")
    assert code == 0
    assert "nothing to change" in out
    assert changing(runpod) == ["POST"]


def test_up_shows_the_difference_and_sends_no_more_than_that(run: Run, runpod: Platform, tmp_path: Path) -> None:
    run("up", "--digest", FIRST)
    other = tmp_path / "endpoint.toml"
    text = config.PATH.read_text()
    other.write_text(text.replace("max = 3", "max = 2").replace('LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"'))
    code, out, _ = run("up", "--config", str(other), environ={**ENVIRON, "EMBEDDING_HMAC_SECRET": SECRET + "2"})
    assert code == 0
    assert "workers.max: 3 -> 2" in out
    assert "env.LOG_LEVEL: 'INFO' -> 'DEBUG'" in out
    assert "env.EMBEDDING_HMAC_SECRET: **** -> ****" in out
    method, _, body = runpod.requests[-1]
    assert method == "PATCH"
    assert set(body) == {"workers", "env"}
    (made,) = runpod.endpoints.values()
    assert made["workers"]["max"] == 2
    assert made["env"]["EMBEDDING_HMAC_SECRET"] == SECRET + "2"


def test_up_with_diff_only_shows(run: Run, runpod: Platform) -> None:
    assert run("up", "--digest", FIRST, "--diff")[0] == 0
    run("up", "--digest", FIRST)
    code, out, _ = run("up", "--digest", SECOND, "--diff")
    assert code == 0
    assert f"image: {REPOSITORY}@{FIRST} -> {REPOSITORY}@{SECOND}" in out
    assert changing(runpod) == ["POST"]


def test_up_does_not_undo_an_update(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    run("update", SECOND)
    assert "nothing to change" in run("up")[1]
    (made,) = runpod.endpoints.values()
    assert made["image"].endswith(SECOND)


def test_up_needs_a_digest_the_first_time(run: Run, runpod: Platform) -> None:
    code, _, err = run("up")
    assert code == 1
    assert "--digest" in err
    assert changing(runpod) == []


def test_up_needs_its_secrets(run: Run, runpod: Platform) -> None:
    code, _, err = run("up", "--digest", FIRST, environ={"RUNPOD_API_KEY": KEY})
    assert code == 1
    assert "EMBEDDING_HMAC_SECRET" in err
    assert runpod.requests == []


def test_an_endpoint_of_another_type_is_left_alone(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    (made,) = runpod.endpoints.values()
    made["type"] = "LOAD_BALANCER"
    code, _, err = run("up")
    assert code == 1
    assert "LOAD_BALANCER" in err


def test_two_endpoints_of_one_name_are_not_guessed_between(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    runpod.endpoints["other"] = {"id": "other", "name": "heimdex-clip-worker"}
    code, _, err = run("update", SECOND)
    assert code == 1
    assert "other" in err


def test_rollback_goes_back_to_the_image_before(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    run("update", SECOND)
    (made,) = runpod.endpoints.values()
    made_workers = dict(made["workers"])
    code, out, _ = run("rollback")
    assert code == 0
    assert made["image"] == f"{REPOSITORY}@{FIRST}"
    assert f"{SECOND} -> {REPOSITORY}@{FIRST}" in out
    assert runpod.requests[-1][2] == {"image": f"{REPOSITORY}@{FIRST}"}
    assert made["workers"] == made_workers


def test_rollback_looks_past_releases_that_changed_no_image(run: Run, runpod: Platform, tmp_path: Path) -> None:
    run("up", "--digest", FIRST)
    run("update", SECOND)
    other = tmp_path / "endpoint.toml"
    other.write_text(config.PATH.read_text().replace("max = 3", "max = 2"))
    run("up", "--config", str(other))
    run("rollback")
    (made,) = runpod.endpoints.values()
    assert made["image"].endswith(FIRST)
    assert made["workers"]["max"] == 2


def test_rollback_to_a_digest(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    assert run("rollback", "--to", THIRD)[0] == 0
    (made,) = runpod.endpoints.values()
    assert made["image"].endswith(THIRD)


def test_rollback_without_a_past_says_what_to_do(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    code, _, err = run("rollback")
    assert code == 1
    assert "--to" in err
    assert changing(runpod) == ["POST"]


def test_rollback_refuses_a_tag(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    (made,) = runpod.endpoints.values()
    made["image"] = f"{REPOSITORY}:latest"
    run("update", SECOND)
    code, _, err = run("rollback")
    assert code == 1
    assert "no digest" in err


def test_down_deletes_only_when_told(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    code, _, err = run("down")
    assert code == 1
    assert "--yes" in err
    assert len(runpod.endpoints) == 1
    assert run("down", "--yes")[0] == 0
    assert runpod.endpoints == {}
    assert run("down", "--yes")[0] == 1


def test_status_tells_workers_queue_times_errors_and_cost(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    runpod.workers = [
        {"id": "w1", "status": "RUNNING", "gpuTypeId": "NVIDIA RTX A5000", "isStale": True, "gpuCount": 1}
    ]
    runpod.jobs |= {"completed": 98, "failed": 2, "inQueue": 3}
    runpod.spent_usd = 12.345
    runpod.log_lines = [
        "not JSON",
        *(json.dumps({"event": "job", "code": "OK", "total_ms": ms}) for ms in range(1, 101)),
        json.dumps({"event": "job", "code": "DOWNLOAD_FAILED", "total_ms": 500}),
    ]
    code, out, _ = run("status", "--quiet-s", "0.5")
    assert code == 0
    assert f"{REPOSITORY}@{FIRST}" in out
    assert "1 running, 0 idle" in out
    assert "NVIDIA RTX A5000, still on an older release" in out
    assert "3 inQueue" in out
    assert "2.00% of 100 jobs" in out
    assert "p50 51 ms, p95 96 ms, p99 100 ms over 101 jobs" in out
    assert "100 OK, 1 DOWNLOAD_FAILED" in out
    assert "$12.35 in the last 30 days" in out


def test_status_says_what_it_could_not_learn(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    (made,) = runpod.endpoints.values()
    listing = json.dumps({"endpoints": [made]}).encode()
    refusal: tuple[int, dict[str, str], bytes] = (
        403,
        {},
        b'{"title": "Forbidden", "status": 403, "detail": "access denied"}',
    )
    runpod.faults.extend([(200, {"Content-Type": "application/json"}, listing), refusal, refusal, refusal])
    code, out, _ = run("status", "--quiet-s", "0.5")
    assert code == 0
    assert out.count("not known") == 3
    assert "access denied" in out


def test_logs_of_every_worker(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    assert "no worker is active" in run("logs")[1]
    runpod.workers = [{"id": own_id, "status": "IDLE", "isStale": False, "gpuCount": 1} for own_id in ("w1", "w2")]
    runpod.log_lines = [f"line {number}" for number in range(5)]
    code, out, _ = run("logs", "--tail", "2", "--quiet-s", "0.5")
    assert code == 0
    assert [line.split(maxsplit=2)[0] for line in out.splitlines()] == ["w1", "w1", "w2", "w2"]
    assert out.splitlines()[-1].endswith("line 4")
    assert run("logs", "--follow")[0] == 1
    assert run("logs", "--tail", "5001")[0] == 1


def test_a_worker_that_is_never_quiet_does_not_hold_a_command_up(run: Run, runpod: Platform) -> None:
    run("up", "--digest", FIRST)
    runpod.workers = [{"id": "w1", "status": "RUNNING", "isStale": False, "gpuCount": 1}]
    runpod.chatter = json.dumps({"event": "job", "code": "OK", "total_ms": 5})
    code, out, _ = run("status", "--quiet-s", "0.2")
    assert code == 0
    assert "p50 5 ms" in out
    assert run("logs", "--quiet-s", "0.2")[0] == 0


@pytest.mark.parametrize("quiet_s", ["0", "nan", "inf", "-1"])
def test_how_long_to_listen_is_checked(run: Run, runpod: Platform, quiet_s: str) -> None:
    assert run("status", "--quiet-s", quiet_s)[0] == 1
    assert run("logs", "--quiet-s", quiet_s)[0] == 1
    assert runpod.requests == []


@pytest.mark.parametrize(
    "argv",
    [
        ("up", "--digest", FIRST),
        ("update", SECOND),
        ("rollback",),
        ("rollback", "--to", FIRST),
        ("down",),
    ],
)
def test_a_dry_run_needs_no_key_and_no_network(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main([*argv, "--dry-run"], {}) == 0
    out = capsys.readouterr().out
    assert out.startswith("GET https://api.runpod.io/v2/serverless\n")
    assert "Bearer ****" in out


def test_a_dry_run_prints_what_is_sent(run: Run, runpod: Platform) -> None:
    shown = run("up", "--digest", FIRST, "--dry-run", environ={})[1]
    assert runpod.requests == []
    run("up", "--digest", FIRST)
    method, path, sent = runpod.requests[-1]
    assert f"{method} {runpod.url}{path}\n" in shown
    printed = json.loads(shown[shown.index("\n{") : shown.rindex("}") + 1])
    assert printed == {**sent, "env": {**sent["env"], "EMBEDDING_HMAC_SECRET": "****"}}


def test_a_secret_is_32_random_bytes_on_a_line_of_its_own() -> None:
    made = [
        subprocess.run([sys.executable, "-m", "deploy", "secret"], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    first, second = (bytes.fromhex(run.stdout.strip()) for run in made)
    assert len(first) == 32
    assert first != second
    assert "EMBEDDING_HMAC_SECRET" in made[0].stderr


@pytest.mark.parametrize("digest", ["latest", "sha256:abc", "SHA256:" + "1" * 64])
def test_what_is_no_digest_is_refused(run: Run, runpod: Platform, digest: str) -> None:
    assert run("update", digest)[0] == 1
    assert run("up", "--digest", digest)[0] == 1
    assert changing(runpod) == []


@pytest.mark.parametrize("answer", [b"{}", b'{"endpoints": null}', b'{"endpoints": [1]}'])
@pytest.mark.parametrize("argv", [("up", "--digest", FIRST), ("status",), ("rollback",)])
def test_an_answer_of_another_form_is_one_line(
    run: Run, runpod: Platform, argv: tuple[str, ...], answer: bytes
) -> None:
    runpod.faults.append((200, {"Content-Type": "application/json"}, answer))
    code, _, err = run(*argv)
    assert code == 1
    assert err.count("\n") == 1

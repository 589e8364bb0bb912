"""How a worker starts, refuses to start, and ends."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from bench.jobapi import start_worker
from tests.e2e.rig import ROOT, running, worker_env


async def ended(env: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run `python -m worker` to its end; exit code and everything it said."""
    async with start_worker([sys.executable, "-m", "worker", *arguments], env, cwd=ROOT) as worker:
        code = await asyncio.wait_for(worker.process.wait(), 60)
        return code, worker.output()


@pytest.fixture
def env(model_dir: Path) -> dict[str, str]:
    # An address nobody listens at: what is tested here ends before the queue is asked.
    return {**worker_env(model_dir, 80), "RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/job-take/$ID?x=1"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"EMBEDDING_HMAC_SECRET": ""}, "openssl rand -hex 32"),
        ({"ALLOW_UNTRAINED_MODEL": "0"}, "ALLOW_UNTRAINED_MODEL=1"),
        ({"WORKER_RUNTIME": "auto"}, "say WORKER_RUNTIME=cpu"),
        ({"WORKER_RUNTIME": "quantum"}, "WORKER_RUNTIME='quantum': must be one of"),
        ({"CLIP_MODEL_DIR": "/nowhere"}, "no model at /nowhere"),
        ({"CLIP_PRETRAINED": "openai"}, "holds 'untrained-0'"),
        ({"MODEL_MANIFEST_SHA256": "0" * 64}, "not MODEL_MANIFEST_SHA256"),
    ],
)
async def test_a_setup_that_cannot_work_ends_with_one_clear_line(
    env: dict[str, str], changes: dict[str, str], reason: str
) -> None:
    code, output = await ended({**env, **changes})
    assert code != 0
    assert sum(reason in line for line in output.splitlines()) >= 1
    assert "Traceback" not in output


async def test_an_altered_file_never_serves(env: dict[str, str], model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    graph = folder / "image.fp32.onnx.data"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1  # one bit of one weight
    graph.write_bytes(data)
    code, output = await ended({**env, "CLIP_MODEL_DIR": str(folder)})
    assert code != 0
    assert "image.fp32.onnx.data has sha256" in output
    assert "Traceback" not in output


async def test_without_a_subcommand_outside_runpod_it_explains_itself(env: dict[str, str]) -> None:
    code, output = await ended({**env, "RUNPOD_SERVERLESS": "0"})
    assert code == 0
    assert "python -m worker handler" in output
    assert "python -m worker selftest" in output


async def test_selftest_and_info_report_the_parity(env: dict[str, str], model_dir: Path) -> None:
    code, output = await ended(env, "selftest")
    assert code == 0
    assert "image tower on cpu: cosine >= 1.0" in output
    assert "text tower on cpu: cosine >= 1.0" in output
    code, output = await ended({**env, "LOG_LEVEL": "ERROR"}, "info")
    assert code == 0
    facts = json.loads(output)
    assert facts["lane"] == "cpu"
    assert facts["model_digest"] == json.loads((model_dir / "manifest.json").read_text())["model_digest"]


async def test_the_start_is_told_in_the_log(model_dir: Path) -> None:
    async with running(model_dir) as rig:
        events = [json.loads(line) for line in rig.worker.output().splitlines() if line.startswith("{")]
        by_name = {event["event"]: event for event in events}
        ready = by_name["model_ready"]
        assert {"manifest", "image_tower", "self_test"} <= ready["steps_ms"].keys()
        assert ready["parity"]["image"].startswith("cosine >= ")
        assert ready["runtime"]["onnxruntime"]
        assert by_name["downloads_widened"]["ALLOWED_PRIVATE_CIDRS"] == ["127.0.0.0/8"]
        assert by_name["untrained_model"]["level"] == "WARNING"
        await rig.worker.wait_for('"event": "text_ready"', timeout_s=30)


async def test_sigterm_answers_what_is_in_flight_and_exits_0(model_dir: Path) -> None:
    async with running(model_dir, IMAGE_DOWNLOAD_TIMEOUT="20") as rig:
        job = asyncio.create_task(rig.job(rig.v1(rig.images.url("/slow.jpg"), request_id="in-flight")))
        async with asyncio.timeout(10):
            await rig.images.slow_requested.wait()
        rig.worker.process.terminate()
        await rig.worker.wait_for('"event": "draining"', timeout_s=10)
        rig.images.slow.set()
        done = await job
        assert done["status"] == "COMPLETED"
        assert done["output"]["request_id"] == "in-flight"
        assert await asyncio.wait_for(rig.worker.process.wait(), 20) == 0
        assert "Traceback" not in rig.worker.output()


async def test_sigterm_while_idle_exits_0_at_once(model_dir: Path) -> None:
    async with running(model_dir) as rig:
        rig.worker.process.terminate()
        # Sooner than the long polls that the SDK would wait for.
        assert await asyncio.wait_for(rig.worker.process.wait(), 2.5) == 0
        assert "Traceback" not in rig.worker.output()


async def test_sigterm_while_starting_exits_0(env: dict[str, str]) -> None:
    async with start_worker([sys.executable, "-m", "worker"], env, cwd=ROOT) as worker:
        await worker.wait_for('"event": "downloads_widened"', timeout_s=20)
        await asyncio.sleep(0.1)
        worker.process.terminate()
        assert await asyncio.wait_for(worker.process.wait(), 10) == 0

"""The image's build: the Dockerfile linted and held to its rules, the locks to what an image may install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[1]
LANES = ("cpu", "cuda", "tensorrt", "tensorrt-rtx")
LOCKS = (*LANES, "tensorrt-cuda12")


class Instruction(TypedDict):
    instruction: str
    value: str


def instructions() -> list[Instruction]:
    return [
        Instruction(instruction=one["instruction"], value=one["value"])
        for one in DockerfileParser(path=str(ROOT)).structure
        if one["instruction"] != "COMMENT"
    ]


def stages() -> dict[str, list[Instruction]]:
    """Stage name -> its instructions, without the FROM."""
    found: dict[str, list[Instruction]] = {}
    name = ""
    for one in instructions():
        if one["instruction"] == "FROM":
            name = one["value"].split()[-1]
        found.setdefault(name, [])
        if one["instruction"] != "FROM":
            found[name].append(one)
    return found


def runtime(instruction: str) -> list[str]:
    return [one["value"] for one in stages()["runtime"] if one["instruction"] == instruction]


def run(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in argv],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = run(linter, "--no-color", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


# ---- the Dockerfile ----------------------------------------------------------------------------------------


def test_the_last_stage_is_the_runtime_on_the_plain_base() -> None:
    froms = [one["value"] for one in instructions() if one["instruction"] == "FROM"]
    assert froms[-1] == "${BASE} AS runtime"
    (base,) = [one["value"] for one in instructions() if one["value"].startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.1[1-9]-slim-\w+", base)


def test_every_stage_and_file_that_is_copied_exists() -> None:
    known = stages()
    for name, own in known.items():
        for one in own:
            for stage in re.findall(r"(?:--|,)from=([\w-]+)", one["value"]):
                assert stage in known, f"{name}: {one['value']}"
            if one["instruction"] == "COPY" and "--from" not in one["value"]:
                for source in one["value"].split()[:-1]:
                    assert (ROOT / source).exists(), source


def test_nothing_that_is_copied_is_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for one in instructions()
        if one["instruction"] == "COPY" and "--from" not in one["value"]
        for source in one["value"].split()[:-1]
    }
    assert kept == copied


def test_the_runtime_installs_nothing_and_runs_as_nobody() -> None:
    steps = " ".join(runtime("RUN"))
    assert not re.search(r"\b(apt|apt-get|pip|uv|curl|wget)\b", steps)
    assert runtime("USER") == ["65534:65534"]
    assert runtime("ENTRYPOINT") == ['["/bin/sh", "/app/entrypoint.sh"]']
    assert runtime("CMD") == ['["python", "-m", "worker"]']
    order = [one["instruction"] for one in stages()["runtime"]]
    assert order.index("USER") < len(order) - 1 - order[::-1].index("RUN"), "the self-test must not run as root"


def test_only_one_stage_has_a_compiler_and_the_image_gets_what_it_made() -> None:
    compilers = re.compile(r"\b(gcc|g\+\+|clang|cc|build-essential)\b")
    having = {name for name, own in stages().items() if any(compilers.search(one["value"]) for one in own)}
    assert having == {"extension"}
    code = [one["value"] for one in stages()["libraries"] if one["instruction"] == "COPY"]
    assert code[-1] == "--from=extension /extension /app"


def test_libraries_come_before_the_model_and_the_model_before_the_code() -> None:
    copied = [value.split()[-1] for value in runtime("COPY")]
    assert copied == ["/site", "/models", "/app", "/app/"]


def test_the_build_ends_with_the_self_test_against_the_baked_digest() -> None:
    proof = runtime("RUN")[-1]
    assert "entrypoint.sh python -m worker selftest" in proof
    assert "CLIP_MODEL_DIR=/proof" in proof
    assert "source=/model,target=/proof" in proof


def test_what_is_proven_is_what_is_baked() -> None:
    """An engine that is built here changes the manifest, so the stage that exports has another one."""
    mounts = [re.findall(r"from=([\w-]+),source=/model", one["value"]) for one in instructions()]
    assert [stage for found in mounts for stage in found] == ["engine", "engine"]


def test_the_image_has_the_extension_and_not_its_sources() -> None:
    steps = [one["value"] for one in stages()["libraries"]]
    assert steps.index("--from=extension /extension /app") < len(steps) - 1
    assert steps[-1].startswith("rm -r /app/heimdex_clip/encoder/csrc && ")


def test_the_digest_is_baked_from_the_manifest_that_is_baked() -> None:
    (step,) = [one["value"] for one in stages()["lane-model"] if "sha256sum" in one["value"]]
    assert "sha256sum /models/model/manifest.json > /models/manifest.sha256" in step


def test_the_runtimes_variables_are_the_workers() -> None:
    pairs = dict(pair.split("=", 1) for pair in " ".join(runtime("ENV")).split())
    assert pairs["RUNPOD_SERVERLESS"] == "1"
    assert pairs["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == pairs["RUNPOD_SKIP_GPU_CHECK"] == "true"
    assert pairs["WORKER_RUNTIME"] == "${RUNTIME}"
    assert pairs["ALLOW_UNTRAINED_MODEL"] == "${ALLOW_UNTRAINED:+1}", "untrained weights only when they were asked for"
    assert pairs["PYTHONPATH"] == "/app:/site"


def test_no_argument_bakes_untrained_weights_by_itself() -> None:
    defaults = [one["value"] for one in instructions() if one["value"].startswith("ALLOW_UNTRAINED")]
    assert set(defaults) == {"ALLOW_UNTRAINED="}
    assert re.search(r'variable "ALLOW_UNTRAINED" *\{ *default = "" *\}', (ROOT / "docker-bake.hcl").read_text())


def bake_targets() -> dict[str, dict[str, str]]:
    """Target -> its own arguments."""
    bake = (ROOT / "docker-bake.hcl").read_text()
    blocks = re.findall(r'^target "([\w-]+)" \{(.*?)^\}', bake, re.MULTILINE | re.DOTALL)
    return {name: dict(re.findall(r'(\w+) = "([\w,-]+)"', block)) for name, block in blocks}


def test_bake_has_a_target_a_lane_and_only_arguments_that_exist() -> None:
    targets = bake_targets()
    assert {targets[lane]["LANES"] for lane in LANES} == set(LANES)
    shared = re.findall(r"^    (\w+) += \w+$", (ROOT / "docker-bake.hcl").read_text(), re.MULTILINE)
    passed = {*shared, *(name for arguments in targets.values() for name in arguments if name.isupper())}
    declared = {one["value"].split("=")[0] for one in instructions() if one["instruction"] == "ARG"}
    assert passed == declared


def test_an_image_of_several_lanes_says_which_may_serve() -> None:
    several = [arguments for arguments in bake_targets().values() if "," in arguments.get("LANES", "")]
    assert [arguments["RUNTIME"] for arguments in several] == ["auto"]
    assert "several LANES need RUNTIME=auto" in " ".join(runtime("RUN"))


def test_every_choice_of_engine_has_its_stage() -> None:
    (default,) = [one["value"] for one in instructions() if one["value"].startswith("ENGINE=")]
    chosen = {default.removeprefix("ENGINE="), *(a["ENGINE"] for a in bake_targets().values() if "ENGINE" in a)}
    assert chosen == {"given", "rtx"}
    assert {f"engine-{choice}" for choice in chosen} <= stages().keys()


# ---- the locks ---------------------------------------------------------------------------------------------


def names(path: Path) -> set[str]:
    """A lock's packages, or a list's."""
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)(?===|\s*$|\s*#)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lane", LOCKS)
def test_every_package_of_an_image_is_hashed_and_none_is_left_out(lane: str) -> None:
    lock = ROOT / "requirements" / f"image-{lane}.txt"
    pinned = re.findall(r"^[a-z0-9][^ ]*==", lock.read_text(), re.MULTILINE)
    assert len(pinned) > 30
    assert len(re.findall(r"^[a-z0-9].*== ?.*\\\n    --hash=sha256:", lock.read_text(), re.MULTILINE)) == len(pinned)
    lists = [ROOT / "docker/leave-out.txt", *(ROOT / "docker").glob(f"leave-out-{lane}.txt")]
    assert not names(lock) & {name for path in lists for name in names(path)}


def test_what_is_left_out_would_otherwise_be_installed() -> None:
    assert names(ROOT / "docker/leave-out.txt") <= names(ROOT / "requirements/worker-cpu.txt")


def test_images_install_the_versions_that_the_tests_run_with() -> None:
    tested = set(re.findall(r"^[a-z0-9-]+==[^ ]+", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))
    of_the_image = re.findall(r"^[a-z0-9-]+==[^ ]+", (ROOT / "requirements/image-cpu.txt").read_text(), re.MULTILINE)
    assert set(of_the_image) <= tested


def test_no_lane_installs_another_lanes_runtime() -> None:
    runtimes = re.compile(r"onnxruntime(-gpu)?|tensorrt-.*-libs|nvidia-cublas")
    found = {
        lock: set(filter(runtimes.fullmatch, names(ROOT / "requirements" / f"image-{lock}.txt"))) for lock in LOCKS
    }
    assert found == {
        "cpu": {"onnxruntime"},
        "cuda": {"onnxruntime-gpu", "nvidia-cublas"},
        "tensorrt": {"tensorrt-lean-cu13-libs"},
        "tensorrt-rtx": {"tensorrt-rtx-cu13-libs"},
        "tensorrt-cuda12": {"tensorrt-lean-cu12-libs"},
    }

"""The preparation of `import runpod` must go on helping: each test fails when the SDK no longer needs it."""

import json
import subprocess
import sys

PROBE = """
import json, sys
if {prepare}:
    from worker import sdk
    environ = {{"RUNPOD_SKIP_GPU_CHECK": "false"}}
    sdk.prepare_import(environ)
else:
    environ = {{}}
import runpod
from runpod.serverless.utils import rp_debugger
print(json.dumps({{
    "cpuinfo_is_real": "cpuinfo.cpuinfo" in sys.modules,
    "processor": rp_debugger.PROCESSOR,
    "ssh_loaded": "paramiko.transport" in sys.modules,
    "environ": environ,
}}))
"""


def probe(*, prepare: bool) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(prepare=prepare)], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_slow_parts_of_the_import_are_gone() -> None:
    found = probe(prepare=True)
    assert not found["cpuinfo_is_real"]
    assert found["processor"]
    assert not found["ssh_loaded"]
    assert found["environ"] == {
        "RUNPOD_SKIP_GPU_CHECK": "false",  # what was set is left alone
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_LOG_LEVEL": "WARN",
    }


def test_they_are_still_there_without_it() -> None:
    found = probe(prepare=False)
    assert found["cpuinfo_is_real"], "the SDK no longer imports cpuinfo: remove its stand-in from worker/sdk.py"
    assert found["ssh_loaded"], "the SDK no longer imports paramiko: remove it from worker/sdk.py"


def test_a_deferred_module_still_works_when_used() -> None:
    code = "from worker import sdk; sdk.prepare_import({}); import paramiko; print(paramiko.RSAKey.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "RSAKey"

from __future__ import annotations

import ctypes

import pytest

from heimdex_clip.encoder.recovery import DeviceLost, OutOfDeviceMemory
from heimdex_clip.encoder.runtimes import cuda_driver
from heimdex_clip.encoder.runtimes.cuda_driver import Device, Driver
from heimdex_clip.errors import InferenceFailed, LaneUnavailable
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda


def test_the_device_is_described() -> None:
    device = HostCuda(capability=120).driver().device()
    assert device == Device("Host 9000", 120, "13.2")
    assert device.describe()["compute_capability"] == "sm120"


@pytest.mark.parametrize(
    ("code", "reason"), [(100, "no GPU is visible"), (803, "driver is older"), (5, "does not start \\(error 5\\)")]
)
def test_a_driver_that_does_not_start_says_why(code: int, reason: str) -> None:
    with pytest.raises(LaneUnavailable, match=reason):
        HostCuda(fail={"cuInit": code}).driver()


def test_probing_never_raises() -> None:
    assert cuda_driver.probe(HostCuda().driver) == Device("Host 9000", 86, "13.2")
    assert "no GPU is visible" in str(cuda_driver.probe(HostCuda(fail={"cuInit": 100}).driver))
    assert "CUDA error 101" in str(cuda_driver.probe(HostCuda(fail={"cuDeviceGet": 101}).driver))


def test_this_machine_is_probed_without_raising() -> None:
    found = cuda_driver.probe()
    assert isinstance(found, Device) or "driver" in found or "GPU" in found


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [
        ("cuMemAlloc_v2", 2, OutOfDeviceMemory),
        ("cuStreamSynchronize", 700, DeviceLost),
        ("cuStreamSynchronize", 1, InferenceFailed),
    ],
)
def test_codes_become_errors(call: str, code: int, kind: type[InferenceFailed]) -> None:
    driver = HostCuda(fail={call: code}).driver()
    with pytest.raises(InferenceFailed, match=call) as raised:
        run(driver)
    assert type(raised.value) is kind


def run(driver: Driver) -> bytes:
    """Bytes to the device and back."""
    driver.attach()
    stream = driver.new_stream()
    device, host = driver.allocate(4), driver.allocate_pinned(4)
    ctypes.memmove(host, b"abcd", 4)
    driver.to_device(device, host, 4, stream)
    ctypes.memmove(host, b"....", 4)
    driver.to_host(host, device, 4, stream)
    driver.synchronize(stream)
    found = ctypes.string_at(host, 4)
    driver.free(device)
    driver.free_pinned(host)
    return found


def test_memory_goes_there_and_back_and_is_given_back() -> None:
    library = HostCuda()
    assert run(library.driver()) == b"abcd"
    assert library.memory == {}
    assert library.driver().memory_bytes() == (3, 5)


def test_the_context_is_retained_once_and_set_in_every_thread() -> None:
    library = HostCuda()
    driver = library.driver()
    driver.attach()
    driver.attach()
    assert library.calls.count("cuDevicePrimaryCtxRetain") == 1
    assert library.calls.count("cuCtxSetCurrent") == 2

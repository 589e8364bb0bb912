"""CUDA graphs over the driver's double: calls in order, what moves drops them, what fails is not tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.encoder.runtimes.cuda_graphs import CudaGraphs
from tests.heimdex_clip.encoder.runtimes.gpu_double import HostCuda

ONE, TWO = ((1, 8),), ((2, 8),)
STREAM = 7


class Device:
    """A stream with graphs, and work that counts how often it ran."""

    def __init__(self) -> None:
        self.library = HostCuda()
        self.driver = self.library.driver()
        self.driver.attach()
        self.graphs = CudaGraphs(self.driver, STREAM)
        self.ran = 0
        self.address = self.driver.allocate(8)

    def work(self, before: Callable[[], object] = lambda: None) -> Callable[[], bool]:
        def enqueue() -> bool:
            before()
            self.library.put([self.address], self.count)
            return True

        return enqueue

    def count(self) -> None:
        self.ran += 1


def test_a_capture_runs_nothing_and_each_launch_runs_it_whole() -> None:
    device = Device()
    assert not device.graphs.launch(ONE, (device.address,))
    device.library.calls.clear()
    device.graphs.capture(ONE, device.work())
    assert device.ran == 0
    assert device.graphs.launch(ONE, (device.address,))
    assert device.graphs.launch(ONE, (device.address,))
    assert device.ran == 2
    assert device.library.calls == [
        "cuStreamBeginCapture_v2",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphLaunch",
    ]
    assert device.graphs.describe() == "1 captured"


def test_each_shape_has_its_own_and_is_captured_once() -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    for shapes in (ONE, TWO, ONE):
        device.graphs.capture(shapes, device.work())
    assert device.library.calls.count("cuStreamBeginCapture_v2") == 2
    assert len(device.library.executables) == 2


def test_moved_buffers_drop_every_graph() -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.graphs.capture(ONE, device.work())
    device.graphs.capture(TWO, device.work())
    assert not device.graphs.launch(ONE, (device.driver.allocate(16),))
    assert device.library.executables == device.library.graphs == {}


def test_a_graph_of_freed_memory_would_be_noticed() -> None:
    """The double's own honesty: were a graph launched after its buffer went, the device would be lost."""
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.graphs.capture(ONE, device.work())
    device.driver.free(device.address)
    with pytest.raises(DeviceLost, match="700"):
        device.graphs.launch(ONE, (device.address,))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("cuStreamBeginCapture_v2", 1),
        ("cuStreamEndCapture", 901),
        ("cuGraphInstantiateWithFlags", 801),
        ("cuGraphInstantiateWithFlags", 2),
    ],
)
def test_a_capture_that_fails_is_not_tried_again(call: str, code: int) -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.library.fail[call] = code
    device.graphs.capture(ONE, device.work())
    device.library.fail.clear()
    device.graphs.capture(ONE, device.work())
    assert not device.graphs.launch(ONE, (device.address,))
    assert call in device.graphs.refused[ONE]
    assert device.graphs.describe().startswith("0 captured; not 1x8: ")
    assert device.library.graphs == {}


def test_work_that_may_not_be_captured_spoils_only_its_own_shape() -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.graphs.capture(ONE, device.work(lambda: device.driver.allocate(4)))
    device.graphs.capture(TWO, device.work())
    assert "CUDA error 900" in device.graphs.refused[ONE]
    assert device.graphs.launch(TWO, (device.address,))
    device.driver.synchronize(STREAM)  # the stream captures no longer


def test_a_refusal_ends_the_capture_too() -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.graphs.capture(ONE, lambda: False)
    assert device.graphs.refused == {ONE: "execution refused"}
    assert device.library.capturing is None
    assert device.library.graphs == {}


def test_a_lost_device_is_not_taken_for_a_shape_without_a_graph() -> None:
    device = Device()
    device.graphs.launch(ONE, (device.address,))
    device.library.fail["cuStreamEndCapture"] = 719
    with pytest.raises(DeviceLost, match="719"):
        device.graphs.capture(ONE, device.work())
    assert device.graphs.refused == {}

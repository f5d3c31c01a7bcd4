"""Submit work to this host's queue: fences, a timeline, priorities, errors, asyncio.

Run it with `python examples/device_queue.py`.
"""

from __future__ import annotations

import asyncio

import numpy as np

from tc.device import DeviceLost, LogicalDevice, TimelineSemaphore, host_device


class Product:
    """A program is any object with `run(args)`; a compiled model is one too."""

    def run(self, args: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return args[0] @ args[1]


def pipeline(device: LogicalDevice) -> None:
    """Two queues, one after the other by a timeline: the second is submitted first."""
    timeline = TimelineSemaphore(name="stages")
    second = device.create_queue(priority=1)
    product = np.empty((64, 64))
    norm = second.submit(np.linalg.norm, (product,), wait=[(timeline, 1)])
    rng = np.random.default_rng(0)
    matrices = rng.random((64, 64)), rng.random((64, 64))
    device.queue.submit(np.matmul, matrices, {"out": product}, signal=[(timeline, 1)])
    print(f"norm of the product: {norm.result(timeout=10):.3f}")


def errors(device: LogicalDevice) -> None:
    """A failure comes out of its own fence, and of no other."""
    bad = device.queue.submit(Product(), (np.ones((2, 3)), np.ones((2, 3))))
    good = device.queue.submit(Product(), (np.ones((2, 3)), np.ones((3, 2))))
    print(f"bad: {type(bad.error(timeout=10)).__name__}; good: {good.result(timeout=10).sum():.0f}")


async def gather(device: LogicalDevice) -> None:
    """Fences are awaited like coroutines."""
    fences = [device.queue.submit(pow, (2, n)) for n in range(5)]
    print("powers:", [await fence for fence in fences])


def main() -> None:
    host = host_device()
    print(f"{host.name}: {host.properties.cpu}, {host.properties.cores} cores")
    with host.open() as device:
        pipeline(device)
        errors(device)
        asyncio.run(gather(device))
        device.lose("unplugged, for the sake of the example")
        try:
            device.queue.submit(Product(), ())
        except DeviceLost as error:
            print(f"lost: {error}")
        with device.reopen() as again:
            print("reopened:", again.queue.submit(max, (3, 4)).result(timeout=10))


if __name__ == "__main__":
    main()

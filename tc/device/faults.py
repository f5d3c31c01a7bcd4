"""What can go wrong with a device, a queue or a fence: each is a `DeviceError`.

This module must not import anything of the device layer: everything there imports it.
"""

from __future__ import annotations

from tc.errors import DeviceError


class DeviceLost(DeviceError):  # noqa: N818  # the name that Vulkan gave it
    """The device died: its pending fences have failed; open the physical device again.

    A program raises it to say that the device under it is dead. `device` is the name of the logical
    device, "" for the one that the program runs on.
    """

    def __init__(self, message: str, device: str = "") -> None:
        super().__init__(message)
        self.device = device


class QueueFullError(DeviceError):
    """The queue holds as many unfinished submissions as its depth allows."""


class QueueClosedError(DeviceError):
    """The queue takes no more submissions."""


class FenceCancelledError(DeviceError):
    """The submission was cancelled before it began; its program did not run."""


class FenceTimeoutError(DeviceError, TimeoutError):
    """The wait ended before what it waited for happened; the submission itself goes on."""


class DependencyError(DeviceError):
    """The submission waited on a fence that failed, so its program did not run."""

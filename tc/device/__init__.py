"""Devices: what programs run on, as in Vulkan: physical device, logical device, queue, fence.

`devices()` lists physical devices, `open()` gives a logical one, its `queue` takes programs and
gives fences. docs/devices.md states the semantics. This package must not import a frontend, nor
load LLVM before something is compiled or measured.
"""

from tc.device.faults import (
    DependencyError,
    DeviceLost,
    FenceCancelledError,
    FenceTimeoutError,
    QueueClosedError,
    QueueFullError,
)
from tc.device.fence import Fence, FenceState, TimelineSemaphore
from tc.device.logical import DeviceOptions, LogicalDevice
from tc.device.physical import (
    PREFERENCES,
    HostDevice,
    PhysicalDevice,
    devices,
    host_device,
    register_provider,
    shared_device,
    supported_properties,
    unregister_provider,
)
from tc.device.properties import (
    HOST_PROPERTIES,
    Coverage,
    HostProperties,
    Measurement,
    Properties,
    Property,
)
from tc.device.queue import Queue
from tc.device.submission import Call, Runnable

__all__ = [
    "HOST_PROPERTIES",
    "PREFERENCES",
    "Call",
    "Coverage",
    "DependencyError",
    "DeviceLost",
    "DeviceOptions",
    "Fence",
    "FenceCancelledError",
    "FenceState",
    "FenceTimeoutError",
    "HostDevice",
    "HostProperties",
    "LogicalDevice",
    "Measurement",
    "PhysicalDevice",
    "Properties",
    "Property",
    "Queue",
    "QueueClosedError",
    "QueueFullError",
    "Runnable",
    "TimelineSemaphore",
    "devices",
    "host_device",
    "register_provider",
    "shared_device",
    "supported_properties",
    "unregister_provider",
]

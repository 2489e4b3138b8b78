"""A driver as NVML's C interface shows it, for tests on machines without one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Card:
    uuid: str = "GPU-aaaa0000-1111"
    name: str = "NVIDIA L4"
    compute_capability: tuple[int, int] = (8, 9)
    total_bytes: int = 24 << 30
    free_bytes: int = 20 << 30
    busy_percent: int = 40
    millijoules: int = 1_500_000


@dataclass
class Driver:
    """Answers as NVML does: through pointers, with a status."""

    cards: list[Card] = field(default_factory=list)
    version: str = "580.82.07"
    cuda: int = 13000
    init_status: int = 0
    started: int = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802  # NVML's name, as all below
        self.started += self.init_status == 0
        return self.init_status

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.started -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:  # noqa: N802
        if index.value >= len(self.cards):
            return 2
        device._obj.value = index.value + 1
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: Any, device: Any) -> int:  # noqa: N802
        numbers = [i for i, card in enumerate(self.cards) if card.uuid == uuid.value.decode()]
        if not numbers:
            return 6
        device._obj.value = numbers[0] + 1
        return 0

    def nvmlDeviceGetName(self, device: Any, name: Any, length: Any) -> int:  # noqa: N802
        name.value = self._card(device).name.encode()[: length.value]
        return 0

    def nvmlDeviceGetUUID(self, device: Any, uuid: Any, length: Any) -> int:  # noqa: N802
        uuid.value = self._card(device).uuid.encode()[: length.value]
        return 0

    def nvmlDeviceGetMemoryInfo(self, device: Any, memory: Any) -> int:  # noqa: N802
        card = self._card(device)
        memory._obj.total, memory._obj.free = card.total_bytes, card.free_bytes
        return 0

    def nvmlDeviceGetUtilizationRates(self, device: Any, rates: Any) -> int:  # noqa: N802
        rates._obj.gpu = self._card(device).busy_percent
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, millijoules: Any) -> int:  # noqa: N802
        millijoules._obj.value = self._card(device).millijoules
        return 0

    def nvmlDeviceGetCudaComputeCapability(self, device: Any, major: Any, minor: Any) -> int:  # noqa: N802
        major._obj.value, minor._obj.value = self._card(device).compute_capability
        return 0

    def nvmlSystemGetDriverVersion(self, version: Any, length: Any) -> int:  # noqa: N802
        version.value = self.version.encode()[: length.value]
        return 0

    def nvmlSystemGetCudaDriverVersion_v2(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.cuda
        return 0

    def _card(self, device: ctypes.c_void_p) -> Card:
        assert device.value is not None
        return self.cards[device.value - 1]

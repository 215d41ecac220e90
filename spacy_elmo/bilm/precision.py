"""Which arithmetic a device is good at."""

import torch


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 here: they are where the processor has them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private to torch: absent means no
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in probes)

"""Peak speeds of devices. No jax."""

# Peak bfloat16 FLOP/s of the matrix products of one device, by the makers; where from is in `plan.slices`.
PEAK_FLOPS = {
    "v4": 275e12,
    "v5e": 197e12,
    "v5p": 459e12,
    "v6e": 918e12,
    "tpu7x": 1153.5e12,  # one of the two devices of a chip
    "h100": 989.4e12,
    "h200": 989.4e12,
}
# Device as JAX calls it -> key of PEAK_FLOPS. Cards of one name with another peak (PCIe, NVL) are not here.
DEVICE_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
    "NVIDIA H100 80GB HBM3": "h100",
    "NVIDIA H200": "h200",
}

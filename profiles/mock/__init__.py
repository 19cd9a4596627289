"""Hardware standards for NVIDIA's mock NVML library, whose numbers are not those of hardware."""

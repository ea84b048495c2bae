"""What needs Vivado: the `axi_dma` shell, its checks and reports, and synthesis of the accelerator alone."""

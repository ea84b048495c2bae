"""What runs beside the accelerator: the CPU reference. Needs numpy and Pillow only."""

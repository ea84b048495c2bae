"""A board that is not there: the accelerator behind models of its DMA, its memory and its clock.

`device.SimulatedDevice` is the hardware. Two surfaces drive it: `stand_in.StandIn`, which looks like the pynq module
and needs numpy only, and `pynq_device.pynq_runtime`, which is the real pynq package. `faults.Faults` breaks things.
"""

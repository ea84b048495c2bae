"""Critical warnings that Vivado goes on after, and that make the bitstream another design than the verified one.

Vivado has thousands of critical warnings and many are harmless; these are not. Timing is not here: it is measured at
the end, and a warning about it in between may be mended by a later step.
"""

LISTED = {
    "Synth 8-4445": "a memory file was not found, so weights or thresholds would be empty",
    "Synth 8-3352": "a signal has two drivers, and one of them was dropped",
    "Synth 8-6858": "a signal has two drivers, and one of them was dropped",
    "Synth 8-6859": "a signal has two drivers, and one of them was dropped",
    "Project 1-486": "a module has no source and would be empty",
    "BD 41-1356": "an address range is not assigned, so the driver or the DMA could not reach it",
    "Vivado 12-4739": "a timing constraint names nothing and was dropped, so timing is not what was checked",
    "Common 17-55": "a constraint names nothing and was dropped",
    "Vivado 12-1790": "a part of the design has an evaluation licence only and stops working after some hours",
}

"""The shell `finn_iodma`: FINN's own, built by FINN in a container that has Vivado."""

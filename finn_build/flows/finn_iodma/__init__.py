"""The shell `finn_iodma`: FINN's own, built by FINN in a container that has Vivado."""

AGAIN = "run the same command again"  # how most of this flow's messages end

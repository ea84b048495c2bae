"""Ways from RTL to a bitstream, a folder each: what prepares, runs and collects the results of a vendor's tools."""

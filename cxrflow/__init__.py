"""The face: command line, experiment file, run folders."""

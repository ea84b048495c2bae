"""Sweeps: many runs that differ in some fields, trained side by side, accuracy against hardware.

spec    the sweep file, and the points it asks for
trial   one point: an ordinary run folder, trained on validation images alone, and its row
drive   Ray Tune runs the trials, Optuna proposes them where the file asks for a search
table   rows of a folder of trials, the Pareto front, what its points cost by Yosys
model   the cost formulas corrected by what Yosys made of this folder's layers
page    figures and sweep.html
"""

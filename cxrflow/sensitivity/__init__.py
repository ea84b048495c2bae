"""Which layer needs how many bits: each in other widths, the others as they are, and what to make of it.

measurement   one point: the network in some widths, its validation AUC as integers, and its price; a sweep's trial
proposal      which widths to take within a budget
command       what `cxrflow sensitivity` does: points on Ray, table, figures, proposal
"""

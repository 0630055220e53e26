"""The slow loop: from what vehicles tell, by the genealogy, to the station and build window behind it. Pure.

    anomaly -> genealogy -> evidence -> concentrate -> affected -> propose_field, recall

`docs/slow-loop.md` explains the method, its sources and what it has been measured to do.
"""

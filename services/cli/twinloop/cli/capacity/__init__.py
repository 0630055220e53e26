"""`twinloop capacity`: what a load needs, computed from what was measured. `costs`, `load` and `plan` are pure."""

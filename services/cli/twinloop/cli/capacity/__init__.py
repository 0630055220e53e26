"""`twinloop capacity`: what a load needs, computed from what was measured."""

"""Models that are learnt with torch: from recorded windows to an artefact.

What imports torch is itself imported only where a model is trained: the services' environment has no torch.
"""

"""Triton, and nothing else that the services know of it: inference, model control, the model repository.

The only package that imports tritonclient.
"""

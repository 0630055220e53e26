"""The error root of this package."""


class ContractError(Exception):
    """Root of every error raised by `twinloop.contracts`."""

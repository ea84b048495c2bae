"""What can go wrong for a user, as one family of exceptions.

The command line prints these as one message without a traceback; anything else is a bug of ours and keeps its
traceback. Every message says what was found, what was expected and what to do next.
"""


class CxrflowError(Exception):
    """Base of all errors that a user can cause or mend."""

    exit_code = 2


class ConfigError(CxrflowError):
    """An experiment, a build option or a command line asks for something impossible."""


class DataError(CxrflowError):
    """A data set cannot be used as it is."""


class ImageError(DataError):
    """One image cannot be used. The message starts with the file's name."""


class ImageTooLargeError(ImageError):
    """One image has more pixels than are accepted."""


class ArtifactError(CxrflowError):
    """A file that an earlier stage or somebody else wrote is missing, damaged or does not belong here."""


class ToolError(CxrflowError):
    """A program that a stage needs is missing or failed."""


class VendorToolError(ToolError):
    """A vendor's tool is not on this machine; everything that can be done without it is done."""

    exit_code = 3


class MismatchError(CxrflowError):
    """Two stages of the chain of equality give different integers."""

    exit_code = 1


class DeviceError(CxrflowError):
    """The accelerator did not do what it should: a DMA error, a wrong clock, a dead bus."""

    exit_code = 1


class DeviceTimeoutError(DeviceError):
    """The accelerator did not answer in time."""

"""B70: examples/custom_channel keeps the contract of text messages, and its own tests pass as they stand."""

import importlib

from tests import texting

assert texting.EXAMPLE.is_dir()  # its import makes the example's modules known
_TESTS = importlib.import_module("test_twilio")

globals().update(
    {
        name: value
        for name, value in vars(_TESTS).items()
        if name.startswith(("test_", "TestT", "TestW"))
    }
)

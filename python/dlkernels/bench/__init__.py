"""The microbenchmark suite behind ``dlkernels bench``: every op against a copy of its bytes and against the libraries it could replace.

It uses the public API only, and nothing but the command line imports it.
"""

from __future__ import annotations

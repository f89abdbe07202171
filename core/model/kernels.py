"""No binaries from the hub: shuts the package through which libraries fetch compiled kernels.

On CPUs with AVX512-BF16 bitsandbytes fetches and runs one as it is imported, without asking.
"""

from __future__ import annotations

import sys


def block() -> None:
    """Make every later ``import kernels`` fail, which its users take as "not installed".

    To be called before transformers, trl, peft or bitsandbytes are imported.
    """
    sys.modules["kernels"] = None  # type: ignore[assignment]

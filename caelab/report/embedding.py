"""Data and scripts inside a page: compressed as text, and the policy that lets a browser run nothing else."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

LEVEL = 6  # of compression; 9 takes four times as long for two hundredths less


def packed(content: str | bytes, level: int = LEVEL) -> str:
    """A content as gzip in base64, which a browser unpacks by ``DecompressionStream``; the same content, the same text.

    >>> from base64 import b64decode
    >>> gzip.decompress(b64decode(packed("a"))), packed("a") == packed("a")
    (b'a', True)
    """
    raw = content.encode() if isinstance(content, str) else content
    return b64encode(gzip.compress(raw, level, mtime=0)).decode()


def compact(value: Any) -> str:
    """JSON without spaces; a text that ends a script, or a line of one, is written with escapes.

    >>> compact({"a": ["</script>"]})
    '{"a":["\\\\u003c/script\\\\u003e"]}'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def fair_share(sizes: Sequence[int], budget: int) -> float:
    """The most that each may take, so that all together keep to the budget: small ones leave the rest to the others.

    >>> fair_share([1, 2, 10, 30], 15), fair_share([1, 2], 15)
    (6.0, inf)
    """
    left = budget
    for place, size in enumerate(sorted(sizes)):
        share = left / (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return float("inf")


@cache
def chart_library() -> tuple[str, str]:
    """The script that draws interactive charts, packed, and its digest for the policy."""
    from plotly.offline import get_plotlyjs

    script = str(get_plotlyjs())
    return packed(script), digest(script)


@cache
def page_script() -> str:
    """Our own script, which sorts and filters, and opens charts and runs."""
    return (files("caelab.report") / "templates" / "page.js").read_text(encoding="utf-8")


def digest(script: str) -> str:
    """What a policy calls a script that may run: the SHA-256 of its text.

    >>> digest("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def policy() -> str:
    """The page's content security policy: two scripts by their digests, styles, embedded images, and no network."""
    scripts = f"{digest(page_script())} {chart_library()[1]}"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )

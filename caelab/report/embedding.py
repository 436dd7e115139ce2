"""Data and scripts inside a page: compressed as text, and the policy that lets a browser run nothing else."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import Any

LEVEL = 6  # of compression; 9 takes four times as long for two hundredths less


def packed(content: str | bytes, level: int = LEVEL) -> str:
    """A content as gzip in base64, which a browser unpacks by ``DecompressionStream``; the same content, the same text.

    >>> packed("a")
    'H4sIAAAAAAAC/0sEAEO+t+gBAAAA'
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

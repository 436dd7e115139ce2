"""Plain letters for mathematical signs: names of columns in files, and terminals whose encoding lacks the signs."""

from __future__ import annotations

from unicodedata import name, normalize

PLAIN = {
    "‖": "||",
    "±": "+/-",
    "·": "*",
    "×": "x",
    "√": "sqrt",
    "∂": "d",
    "∇": "grad",
    "∘": "o",
    "∈": "in",
    "∉": "not in",
    "∝": "~",
    "∞": "inf",
    "∫": "int",
    "→": "->",
    "←": "<-",
    "↦": "->",
    "⟨": "<",
    "⟩": ">",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "✓": "yes",
    "✗": "no",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING MACRON}": "_",
    "⌊": "[",
    "⌋": "]",
    "↙": "<-",
    "°": " degrees",
    "–": "-",
    "—": "-",
    "━": "-",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "η": "eta",
    "θ": "theta",
    "λ": "lambda",
    "μ": "mu",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "ω": "omega",
    "τ": "tau",
    "Γ": "Gamma",
    "Φ": "Phi",
    "Σ": "sum",
}


def in_ascii(sign: str) -> str:
    """A mathematical sign in plain letters, or ``?`` where it has none.

    >>> in_ascii("‖") + "J" + in_ascii("‖") + in_ascii("²"), in_ascii("é"), in_ascii("語")
    ('||J||^2', 'e', '?')
    """
    if sign in PLAIN:
        return PLAIN[sign]
    plain = normalize("NFKD", sign).replace("⁄", "/").replace("−", "-").encode("ascii", "ignore").decode("ascii")
    raised = "SUPERSCRIPT" in name(sign, "") and plain
    return f"^{plain}" if raised else plain or "?"

"""The page's scripts: its own, the charting library packed, their hashes in the content policy, and data as JSON."""

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

#: what hides text, turns its direction or moves the cursor: shown as a box instead (the pages' scripts do the same)
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
#: bytes of JSON from which on it is packed: many formats on long public sets would take tens of megabytes
LARGE = 1_500_000


def plotly_script() -> str:
    """Plotly's JavaScript from the installed package, or "" where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return ""
    return str(get_plotlyjs())


def own_script(name: str) -> str:
    """One of the page's scripts, as it is in templates/."""
    return files("edgequant.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def packed(text: str) -> str:
    """Text as base64 of gzip, the same for the same text."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def policy(scripts: list[str]) -> str:
    """The content policy that lets these scripts run, by their hashes, and nothing else be run or fetched."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(values: Any) -> str:
    """JSON that no HTML parser can take for markup: <, > and & only as escapes (they occur in strings alone)."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def visible(value: Any) -> Any:
    """What a template prints, without characters that cannot be seen; markup passes as it is."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else UNSEEN.sub("\ufffd", value)

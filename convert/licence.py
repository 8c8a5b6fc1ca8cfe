"""A checkpoint's licence as GGUF states it: an SPDX expression, a name that people know, a link."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .front_matter import texts

#: the Hub's identifiers that SPDX knows, in SPDX's spelling (huggingface.co/docs/hub/repositories-licenses, spdx.org)
_IDENTIFIERS = """
    Apache-2.0 MIT BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear ISC Zlib Unlicense WTFPL NCSA PostgreSQL AFL-3.0
    Artistic-2.0 BSL-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 MPL-2.0 MS-PL OFL-1.1 OSL-3.0 GPL-2.0 GPL-3.0
    LGPL-2.1 LGPL-3.0 AGPL-3.0 GFDL-1.3 LPPL-1.3c C-UDA-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0
    CDLA-Sharing-1.0 PDDL-1.0 ODbL-1.0 ODC-By-1.0 CC0-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0
    CC-BY-SA-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-ND-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0
    CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0
"""
_SPDX = {name.lower(): name for name in _IDENTIFIERS.split()}
_SPDX |= {"odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0", "unlicense": "Unlicense"}
#: says nothing of its own
_UNTOLD = ("other", "unknown")
#: words of the well-known texts -> SPDX identifier, for a checkpoint whose card names no licence
_TEXTS = (
    (r"apache license\s+version 2\.0", "Apache-2.0"),
    (r"mit license|permission is hereby granted, free of charge", "MIT"),
    (r"gnu affero general public license\s+version 3", "AGPL-3.0"),
    (r"gnu general public license\s+version 3", "GPL-3.0"),
    (r"creative commons attribution-noncommercial 4\.0", "CC-BY-NC-4.0"),
    (r"creative commons attribution 4\.0", "CC-BY-4.0"),
)
_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_READ_CHARACTERS = 4000
_LONGEST_NAME = 120


def licence(card: Mapping[str, Any], folder: Path, blob: str) -> dict[str, str]:
    """ "license", "license.name" and "license.link" as far as they are known, the card before the LICENSE file.

    `blob` is the address of the folder's files, "" where they have none. A licence that SPDX does not know is
    `LicenseRef-...`, SPDX's own form for it. Of several, all are taken to hold: a card does not say which may be
    chosen.
    """
    named = [text for text in texts(card.get("license")) if text.lower() != "unknown"]
    names = texts(card.get("license_name"))
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    link = next(iter(texts(card.get("license_link"))), file.name if file else "")
    if not named and not names:
        found = _from_text(file) if file else {}
    else:
        kept = [names[0] if text.lower() in _UNTOLD and names else text for text in named or names]
        found = {"license": " AND ".join(dict.fromkeys(map(_expression, kept)))}
        found |= {"license.name": (names or kept)[0]} if names or _is_own(kept) else {}
    is_link = link.startswith(("http://", "https://"))
    return {**found, **({"license.link": link if is_link else blob + link} if link and (is_link or blob) else {})}


def _expression(named: str) -> str:
    return _SPDX.get(named.lower(), "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", named).strip("-"))


def _is_own(named: list[str]) -> bool:
    """Whether a single licence is one of its maker, whose name is worth telling."""
    return len(named) == 1 and named[0].lower() not in _SPDX and named[0].lower() not in _UNTOLD


def _from_text(file: Path) -> dict[str, str]:
    try:
        text = file.read_bytes()[:_READ_CHARACTERS].decode("utf-8", "replace")
    except OSError:
        return {}
    for words, name in _TEXTS:
        if re.search(words, text, re.IGNORECASE):
            return {"license": name}
    titles = (" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in text.splitlines())
    title = next((line.strip("#*= ") for line in titles if line.strip("#*=- ")), "")[:_LONGEST_NAME]
    return {"license.name": title} if title else {}

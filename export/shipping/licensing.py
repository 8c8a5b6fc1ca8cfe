"""A checkpoint's licence as the Hub's model cards state it, and whether it lets anybody hand on what is made of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...convert.front_matter import texts
from ...convert.licence import licence

OTHER = "other"
#: the Hub's identifiers beside those that SPDX knows (huggingface.co/docs/hub/repositories-licenses)
_NAMES = """
    openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m openrail++
    afl-3.0 cc deepfloyd-if-license fair-noncommercial-research-license intel-research etalab-2.0 gpl lgpl bsd
    h-research lppl-1.3c apple-ascl apple-amlr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma grok2-community
"""
_OF_THE_HUB = frozenset(_NAMES.split())
_FILES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*")
_LARGEST_BYTES = 1 << 20
_NO_DERIVATIVES = re.compile(r"no[ _-]?deriv(?:ative)?s", re.IGNORECASE)
_ND = re.compile(r"(?<![a-z0-9])nd(?![a-z0-9])", re.IGNORECASE)  # as Creative Commons writes it: CC-BY-NC-ND-4.0
_TITLE_CHARACTERS = 400  # of a licence's text, where its name stands


@dataclass(frozen=True, kw_only=True)
class Licence:
    """`hub_id` is one of the Hub's identifiers, "other" for one of its maker's own, "" where none is known.

    `files` are what the licence asks to be handed on: its text, notices, policies.
    """

    hub_id: str = ""
    name: str = ""  # of one of its maker's own
    link: str = ""
    files: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """What people call it, "" where nobody says."""
        return self.name or (self.hub_id if self.hub_id != OTHER else "")

    @property
    def objection(self) -> str:
        """Why what is made of the checkpoint may not be handed on as it is; "" where nothing speaks against it."""
        titles = [self.hub_id, self.name, *(_title(file) for file in self.files if _is_text_of_licence(file))]
        if any(map(_NO_DERIVATIVES.search, titles)) or any(map(_ND.search, (self.hub_id, self.name))):
            return f"its licence ({self.title or 'see its text'}) forbids to publish what is made of the model"
        return "" if self.title or self.files else "nothing says under which licence the model may be handed on"


def licence_of(card: Mapping[str, Any], folder: Path) -> Licence:
    """The licence of a checkpoint from its card's front matter, else from the text in its folder."""
    named = [text.lower() for text in texts(card.get("license")) if text.lower() != "unknown"]
    found = licence(card, folder, "")
    names, links = texts(card.get("license_name")), texts(card.get("license_link"))
    spdx = [part for part in found.get("license", "").split(" AND ") if part]
    hub_ids = [each for each in named or [each.lower() for each in spdx] if _is_on_hub(each)]
    own = names or [text.removeprefix("LicenseRef-") for text in spdx if text.startswith("LicenseRef-")]
    title = (own or texts(found.get("license.name")) or [""])[0]
    hub_id = hub_ids[0] if len(hub_ids) == 1 and len(named) < 2 else OTHER if named or title else ""
    if hub_id == OTHER and len(named) > 1:
        title = title or " and ".join(named)
    return Licence(
        hub_id=hub_id,
        name=title if hub_id == OTHER else "",
        link=next(iter(links), "") if hub_id == OTHER else "",
        files=tuple(_texts_in(folder)),
    )


def _is_on_hub(name: str) -> bool:
    spdx = licence({"license": name}, Path("nowhere"), "").get("license", "")
    return name in _OF_THE_HUB or (bool(spdx) and not spdx.startswith("LicenseRef-"))


def _texts_in(folder: Path) -> list[Path]:
    found = {file for pattern in _FILES for file in folder.glob(pattern)}
    return sorted(file for file in found if file.is_file() and file.stat().st_size <= _LARGEST_BYTES)


def _is_text_of_licence(file: Path) -> bool:
    return file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))


def _title(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_TITLE_CHARACTERS).decode("utf-8", "replace")

"""The answers to the built-in dialogues, found in the turns before the question or worked out from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from mathematics_keys import numbers

Turns = Sequence[str]
Key = Callable[[Turns], str]

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_GERMAN = {"cat": "Katze"}
_PLURALS = {"goose": "geese"}
_RELATIONS = {("sister", "father"): "aunt"}


def said(turn: int, pattern: str) -> Key:
    """What the pattern's group finds in a turn, from 0."""
    return partial(_found, turn=turn, pattern=pattern)


def computed(work_out: Callable[..., object]) -> Key:
    """Worked out from the numbers of all turns, in their order."""
    return lambda turns: str(work_out(*map(int, numbers("\n".join(turns)))))


def _found(turns: Turns, *, turn: int, pattern: str) -> str:
    found = re.search(pattern, turns[turn])
    assert found, (turns[turn], pattern)
    return found[1]


def the_day_after(day: Key) -> Key:
    days = _DAYS.split()
    return lambda turns: days[(days.index(day(turns)) + 1) % 7]


def not_picked(turns: Turns) -> str:
    (left,) = {word.lower() for word in re.findall(r"(\w+) or (\w+)\?", turns[0])[0]} - {turns[1].strip(".").lower()}
    return left


def last_in_order(turns: Turns, *, pattern: str) -> str:
    """Of pairs (before, after), found in all turns, the only one that is before none."""
    pairs = [pair for turn in turns for pair in re.findall(pattern, turn)]
    (last,) = {after for _, after in pairs} - {before for before, _ in pairs}
    return str(last).lower()


def swapped(turns: Turns) -> str:
    first, second, third = re.findall(r"\b[A-Z]\b", turns[0])
    return third + second + first


def pen_left(turns: Turns) -> str:
    owned = set(re.findall(r"\b(red|green|blue)\b", turns[0].split("lend")[0]))
    lent, lost = _found(turns, turn=0, pattern=r"lend the (\w+)"), _found(turns, turn=2, pattern=r"lose the (\w+)")
    (left,) = owned - {lent, lost}
    return left


def relation(turns: Turns) -> str:
    first, middle = re.findall(r"is the (\w+) of (\w+)", turns[0])[0]
    person, second = re.findall(r"(\w+) is the (\w+) of", turns[2])[0]
    assert person == middle
    return _RELATIONS[first, second]


def between(turns: Turns) -> str:
    (left,) = {"top", "middle", "bottom"} - set(re.findall(r"the (\w+) row", turns[0]))
    return left


#: without the prefix "dialogue-"
KEYS: dict[str, Key] = {
    "001": said(0, r"my name is (\w+)"),
    "002": said(0, r"dog is called (\w+)"),
    "003": said(0, r"the number (\d+)"),
    "004": said(0, r"on level (\d+)"),
    "005": computed(lambda has, more: has + more),
    "006": the_day_after(said(0, r"on (\w+)\.")),
    "007": said(0, r"\"(\w+)\" means no"),
    "008": not_picked,
    "009": lambda turns: _GERMAN[_found(turns, turn=2, pattern=r"\"(\w+)\"")] if "German" in turns[0] else "",
    "010": computed(lambda hour, minute, late: f"{hour}:{minute + late}"),
    "011": said(0, r"brother (\w+) plays chess"),
    "012": said(2, r"mother prefers (\w+)"),
    "013": lambda turns: "almond" if "allergic to nuts" in turns[0] else "",
    "014": said(0, r"to (\w+)\."),
    "015": said(2, r"it says (\d+)"),
    "016": said(1, r"prefer a (\w+) or"),
    "017": said(0, r"moved them to the (.+)\."),
    "018": said(1, r"2\. (\w+)"),
    "019": partial(last_in_order, pattern=r"(\w+) is older than (\w+)"),
    "020": computed(lambda hour, room: f"{hour + 1} pm"),
    "021": said(0, r"ends in (\d+)"),
    "022": said(0, r"my wife in (\w+)"),
    "023": lambda turns: str(len(re.findall(r"[A-Z]\w+", turns[0].split(":")[1]))),
    "024": said(0, r"call me (\w+)"),
    "025": said(0, r"favourite colour is (\w+)"),
    "026": said(0, r"game is (\w+)"),
    "027": said(0, r"my (\w+) lives on a boat"),
    "028": computed(lambda has, spends: has - spends),
    "029": computed(lambda son, older: son + older),
    "030": said(2, r"at the (\w+)\."),
    "031": lambda turns: _PLURALS[_found(turns, turn=2, pattern=r"\"(\w+)\"")] if "plural" in turns[0] else "",
    "032": said(0, r"(\w+)\.$"),
    "033": said(0, r"say \"moon\", say \"(\w+)\""),
    "034": computed(lambda start, doubled, more: 2 * start + more),
    "035": computed(lambda cats: cats + 2 * cats),
    "036": computed(lambda *minutes: sum(minutes)),
    "037": swapped,
    "038": the_day_after(said(0, r"to (\w+)\.")),
    "039": computed(lambda eggs, bread: 2 * eggs + bread),
    "040": lambda turns: _found(turns, turn=2, pattern=r"\"(\w+)\"")[::-1] if "backwards" in turns[0] else "",
    "041": said(0, r"blue beats (\w+)"),
    "042": lambda turns: turns[0].split(": ")[1].split(", ")[1],
    "043": said(0, r"brother bought (\w+)"),
    "044": said(0, r"morning I work as (a \w+)"),
    "045": said(0, r"The (\w+) box holds the stamps"),
    "046": said(0, r"(\w+) sits beside the door"),
    "047": said(0, r"tea with (\w+)"),
    "048": said(0, r"afraid of (\w+)"),
    "049": said(1, r"about (a \w+)\?"),
    "050": said(0, r"The (\w+) was too salty, so Ida sent it back"),
    "051": said(0, r"a stop in (\w+)"),
    "052": lambda turns: "bean" if "neither meat nor fish" in turns[0] else "",
    "053": said(0, r"fast one at (\d+)"),
    "054": said(1, r"and the (\w+)\."),
    "055": said(0, r"umbrella (at Jo's flat)"),
    "056": relation,
    "057": partial(last_in_order, pattern=r"(\w+) lies to the north of the (\w+)"),
    "058": pen_left,
    "059": lambda turns: _found(turns, turn=0, pattern=r"rains, we play (\w+)") if "pouring" in turns[2] else "",
    "060": lambda turns: "only " + _found(turns, turn=2, pattern=r"(\w+) has a blue ticket"),
    "061": computed(lambda opens, closes: f"at {closes + 2}"),
    "062": said(0, r"last to (\w+)\."),
    "063": between,
    "064": said(0, r"thinks that his key is in the (\w+)"),
}

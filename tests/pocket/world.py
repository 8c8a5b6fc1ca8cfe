"""The invented world: its people, its towns and the questions about them.

Everything here follows from fixed seeds, so the same world comes back every
time.  An `Exercise` is one question with its right answer; its `key` decides,
by a hash alone, whether it belongs to the held-out items or to the training
text, and so the two can never overlap.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

WORLD_SEED = 1847
PEOPLE_COUNT = 240
TOWN_COUNT = 20
HELD_OUT_ONE_IN = 10
UNKNOWN = "I do not know"


def words(text: str) -> tuple[str, ...]:
    """The words of a text, for vocabularies written as one line."""
    return tuple(text.split())


ANIMALS = words(  # in rising order of size
    "ant bee snail frog mouse robin squirrel rabbit hen cat fox otter goose beaver dog "
    "goat sheep wolf pig deer donkey horse cow camel bear hippo elephant whale"
)
COLOURS = words("red blue green yellow purple orange teal white black brown pink grey")
FOODS = words("plum bread cheese soup rice honey apple pear cake carrot onion walnut porridge mushroom cherry turnip")
INSTRUMENTS = words("flute drum harp fiddle trumpet guitar piano horn bell lute")
TRADES = words(
    "baker miller potter weaver smith tailor sailor teacher doctor farmer painter mason "
    "cobbler gardener brewer clockmaker"
)
REGIONS = ("Vell", "Ostmark", "Quorn", "Lirra", "Hask")
RIVERS = words("Amble Brisk Cindra Dunnow Elm Farrow Gillet Harl Isen Jorra")
GOODS = words("glass wool salt rope paper copper candles boots clocks barrels tiles ink")
TOWN_HEADS = words("Tarn Olm Brun Kel Sund Mor Pell Yax Hol Din")
TOWN_TAILS = words("wick holm ford burg stead mere")
NAME_HEADS = words("Bra Cal Dro Eli Fen Gar Hu Ilo Jas Ken Lum Mi Nor Oba Pim Qua Ros Sel Tor Uma")
NAME_MIDDLES = ("", "da", "li", "mo", "ne", "ri", "su", "va")
NAME_TAILS = words("bo cha del fa gin ko lan mar nix pa rel sh tan vi wen zo")


@dataclass(frozen=True)
class Exercise:
    """One question of the world and its right answer."""

    skill: str
    kind: str
    turns: tuple[str, ...]  # user, assistant, ..., user: always an odd number
    answer: str
    key: str  # exercises with one key are all in training or all held out
    difficulty: str = "easy"
    rivals: tuple[str, ...] = ()  # wrong answers of the same sort, if there are such


@dataclass(frozen=True)
class Relation:
    """One thing that can be known of a subject, and how it is asked and told."""

    name: str
    values: tuple[str, ...]
    questions: tuple[str, ...]  # {s}: the subject
    statements: tuple[str, ...]  # {s}: the subject, {v}: the value, {a}: it with an article


PERSON_RELATIONS = (
    Relation(
        "home",
        (),  # the towns, filled in by `relation_values`
        (
            "Where does {s} live?",
            "In which town does {s} live?",
            "Name the home town of {s}.",
            "Which town is {s} from?",
            "What is {s}'s home town?",
        ),
        ("{s} lives in {v}.", "The home of {s} is in {v}.", "{s} comes from {v}."),
    ),
    Relation(
        "trade",
        TRADES,
        (
            "What is {s}'s job?",
            "What does {s} do for a living?",
            "Name the profession of {s}.",
            "What work does {s} do?",
            "Which trade does {s} follow?",
        ),
        ("{s} works as {a}.", "{s} is {a} by trade.", "Everyone knows {s} as {a}."),
    ),
    Relation(
        "pet",
        ANIMALS,
        (
            "Which animal does {s} own?",
            "What pet does {s} have?",
            "Name the animal that {s} keeps.",
            "What kind of animal is {s}'s pet?",
            "Which animal lives with {s}?",
        ),
        ("{s} owns {a}.", "{s} keeps {a} at home.", "The pet of {s} is {a}."),
    ),
    Relation(
        "food",
        FOODS,
        (
            "What does {s} like to eat?",
            "What is {s}'s favourite food?",
            "Name the food that {s} likes best.",
            "Which food does {s} enjoy most?",
            "What would {s} order for dinner?",
        ),
        ("{s} likes to eat {v}.", "The favourite food of {s} is {v}.", "For dinner {s} has {v}."),
    ),
    Relation(
        "colour",
        COLOURS,
        (
            "What is {s}'s favourite colour?",
            "Which colour does {s} like best?",
            "Name the colour that {s} prefers.",
            "In which colour is {s}'s house painted?",
            "What colour is {s}'s coat?",
        ),
        ("{s} likes {v} best of all colours.", "The coat of {s} is {v}.", "{s} painted the house {v}."),
    ),
    Relation(
        "instrument",
        INSTRUMENTS,
        (
            "Which instrument does {s} play?",
            "What does {s} play in the band?",
            "Name the instrument of {s}.",
            "What instrument is {s} learning?",
            "On what does {s} make music?",
        ),
        ("{s} plays the {v}.", "In the band {s} plays the {v}.", "{s} is learning the {v}."),
    ),
)
TOWN_RELATIONS = (
    Relation(
        "river",
        RIVERS,
        (
            "Which river runs through {s}?",
            "On which river does {s} lie?",
            "Name the river at {s}.",
            "What is the river of {s} called?",
        ),
        ("{s} lies on the river {v}.", "The river {v} runs through {s}."),
    ),
    Relation(
        "region",
        REGIONS,
        (
            "In which region is {s}?",
            "Which region does {s} belong to?",
            "Name the region of {s}.",
            "What region would I find {s} in?",
        ),
        ("{s} is a town in the region of {v}.", "{s} belongs to {v}."),
    ),
    Relation(
        "goods",
        GOODS,
        (
            "What is {s} known for?",
            "What do the workshops of {s} make?",
            "Name the goods that {s} sells.",
            "What is made in {s}?",
        ),
        ("{s} is known for its {v}.", "The workshops of {s} make {v}."),
    ),
)
UNRECORDED = (  # asked of people whom the world knows, and never told
    "How tall is {s}?",
    "What is {s}'s shoe size?",
    "When was {s} born?",
    "Who is {s}'s cousin?",
    "What is the name of {s}'s boat?",
    "How much does {s} earn?",
)


def held_out(key: str) -> bool:
    """Whether exercises with this key are kept out of the training text."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


def with_article(noun: str) -> str:
    """The noun behind its indefinite article: "an otter", "a dog"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def invented_name(rng: random.Random) -> str:
    """A first name of two or three syllables that no real list supplied."""
    return rng.choice(NAME_HEADS) + rng.choice(NAME_MIDDLES) + rng.choice(NAME_TAILS)


def _distinct(count: int, draw: Callable[[], str]) -> tuple[str, ...]:
    """The first `count` different strings that `draw` yields."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return tuple(found)


_rng = random.Random(WORLD_SEED)
PEOPLE = _distinct(PEOPLE_COUNT, lambda: invented_name(_rng))
TOWNS = _distinct(TOWN_COUNT, lambda: _rng.choice(TOWN_HEADS) + _rng.choice(TOWN_TAILS))


def relation_values(relation: Relation) -> tuple[str, ...]:
    """All values that the relation can take."""
    return relation.values or TOWNS


FACTS: dict[tuple[str, str], str] = {  # (subject, relation name) -> value
    (subject, relation.name): _rng.choice(relation_values(relation))
    for subjects, relations in ((PEOPLE, PERSON_RELATIONS), (TOWNS, TOWN_RELATIONS))
    for subject in subjects
    for relation in relations
}

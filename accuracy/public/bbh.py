"""BIG-Bench Hard (Suzgun et al., arXiv 2210.09261) as the Open LLM Leaderboard asks it: 24 parts as multiple choices.

What introduces a part and which choices it has are those of lm-evaluation-harness's leaderboard_bbh, which leaves three
of the 27 parts out, whose answers are no choice. Between what introduces a part and its first question stands nothing.
"""

from string import ascii_uppercase
from types import MappingProxyType

from .question import Question, Row, text

_LOGIC = "A logical deduction task which requires deducing the order of a sequence of objects."
_SWAPS = (
    "A task requiring determining the final positions of a set of objects given their initial positions and a "
    "description of a sequence of swaps."
)
_SARCASM = (
    "Determine which of two sentences is sarcastic.\n\nAccording to Cambridge University Dictionary, sarcasm is "
    "\"the use of remarks that clearly mean the opposite of what they say, made in order to hurt someone's feelings or "
    'to criticize something in a humorous way." Sarcastic sentences often contain satirical or ironic utterances, '
    "hyperboles, ambivalent or witty remarks."
)
_NAVIGATION = (
    "Given a series of navigation instructions, determine whether one would end up back at the starting point."
)


def _letters(n: int) -> tuple[str, ...]:
    return tuple(f"({letter})" for letter in ascii_uppercase[:n])


#: part -> what introduces it, and its choices
PARTS = MappingProxyType(
    {
        "boolean_expressions": ("Evaluate the result of a random Boolean expression.", ("False", "True")),
        "causal_judgement": ("Answer questions about causal attribution.", ("Yes", "No")),
        "date_understanding": ("Infer the date from context.", _letters(6)),
        "disambiguation_qa": ("Clarify the meaning of sentences with ambiguous pronouns.", _letters(3)),
        "formal_fallacies": ("Distinguish deductively valid arguments from formal fallacies.", ("valid", "invalid")),
        "geometric_shapes": ("Name geometric shapes from their SVG paths.", _letters(11)),
        "hyperbaton": ("Order adjectives correctly in English sentences.", _letters(2)),
        "logical_deduction_five_objects": (_LOGIC, _letters(5)),
        "logical_deduction_seven_objects": (_LOGIC, _letters(7)),
        "logical_deduction_three_objects": (_LOGIC, _letters(3)),
        "movie_recommendation": ("Recommend movies similar to the given list of movies.", _letters(6)),
        "navigate": (_NAVIGATION, ("Yes", "No")),
        "object_counting": (
            "Questions that involve enumerating objects and asking the model to count them.",
            tuple(map(str, range(19))),
        ),
        "penguins_in_a_table": (
            "Answer questions about a table of penguins and their attributes.",
            _letters(5),
        ),
        "reasoning_about_colored_objects": (
            "Answer extremely simple questions about the colors of objects on a surface.",
            _letters(18),
        ),
        "ruin_names": (
            "Select the humorous edit that 'ruins' the input movie or musical artist name.",
            _letters(6),
        ),
        "salient_translation_error_detection": (
            "Detect the type of error in an English translation of a German source sentence.",
            _letters(6),
        ),
        "snarks": (_SARCASM, _letters(2)),
        "sports_understanding": (
            "Determine whether an artificially constructed sentence relating to sports is plausible or not.",
            ("yes", "no"),
        ),
        "temporal_sequences": (
            "Task description: Answer questions about which times certain events could have occurred.",
            _letters(4),
        ),
        "tracking_shuffled_objects_five_objects": (_SWAPS, _letters(5)),
        "tracking_shuffled_objects_seven_objects": (_SWAPS, _letters(7)),
        "tracking_shuffled_objects_three_objects": (_SWAPS, _letters(3)),
        "web_of_lies": ("Evaluate a random boolean function expressed as a word problem.", ("Yes", "No")),
    }
)
#: parts whose answers are no choice
_LEFT_OUT = ("dyck_languages", "multistep_arithmetic_two", "word_sorting")
#: keys of three rows that are none of the row's choices; the harness counts these rows as wrong whatever is answered
_NO_KEYS = ("Monsters, Inc", "dearth, wind, & fire", "rita, sue and bob poo")
_DIFFICULTY = {"three": "easy", "five": "medium", "seven": "hard"}  # of the parts that come in three lengths


def is_multiple_choice(row: Row) -> bool:
    """Whether a row of a file of all 27 parts belongs to one that can be asked here, and has a key."""
    return row.get("task", row.get("subject")) not in _LEFT_OUT and row.get("target") not in _NO_KEYS


def question(row: Row) -> Question:
    """A row with the name of its part in `task`."""
    part = text(row, "task", "subject")
    if part not in PARTS:
        raise ValueError(f"the part {part!r} is not known; known parts: {', '.join(PARTS)}")
    choices, target = PARTS[part][1], text(row, "target")
    if target not in choices:
        raise ValueError(f"the target {target!r} is none of {', '.join(choices)}")
    level = next((level for word, level in _DIFFICULTY.items() if part.endswith(f"_{word}_objects")), "")
    asked = f"Q: {text(row, 'input')}\nA:"
    return Question(text=asked, choices=choices, right=choices.index(target), subject=part, difficulty=level)


def introduction(part: str) -> str:
    """What stands before everything else in a prompt of this part."""
    return PARTS[part][0]

"""The public sets, one row each: where the data are, what a row asks, and how it is scored.

Prompts, worked examples and scoring are those of lm-evaluation-harness 0.4.13 in its defaults: raw text, no chat
template, no system prompt. A set's `harness` names the task of the harness whose form it has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from . import bbh, choosing, subjects, writing
from .examples import Choice
from .item import Type
from .question import Question, Row


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A set. `metric` is the one by which formats are compared; the others are told beside it.

    `parts` are (subject, configuration, split) on the Hub; subject "" where the rows themselves tell. `tried` says
    whether the form was checked on the set's real rows, against the harness's own prompts.
    """

    name: str
    harness: str
    kind: str
    hub: str
    parts: Sequence[tuple[str, str, str]]
    question: Callable[[Row], Question]
    type: Type = "choice"
    metric: str = "acc"
    revision: str = "main"
    subjects: Sequence[str] = ()
    introduction: Callable[[str], str] = lambda subject: ""
    examples: int = 0  # worked examples in the harness's default
    examples_split: str = ""
    how_chosen: Choice = "drawn"
    fixed: str = ""  # file of the harness that holds them; {subject} is filled in
    stops: Sequence[str] = ()
    max_tokens: int = 0
    only: Callable[[Row], bool] = lambda row: True
    paper: int | None = None  # worked examples in arXiv 2409.11055; None: not one of its thirteen
    tried: bool = True
    note: str = ""


def _introduces_mmlu(subject: str) -> str:
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


_MATH_PARTS = tuple((subject, subject, "test") for subject in subjects.MATH)
_EVALUATED_ON_VALIDATION: Choice = "drawn with a spare"
_LETTERS_OF_LEADERBOARD = "the form of the Open LLM Leaderboard v2, as in arXiv 2409.11055"

_ROWS = (
    # commonsense
    PublicSet(
        name="arc_challenge",
        harness="arc_challenge",
        kind="commonsense",
        hub="allenai/ai2_arc",
        parts=[("", "ARC-Challenge", "test")],
        question=choosing.arc,
        metric="acc_norm",
        examples_split="train",
        paper=25,
    ),
    PublicSet(
        name="arc_easy",
        harness="arc_easy",
        kind="commonsense",
        hub="allenai/ai2_arc",
        parts=[("", "ARC-Easy", "test")],
        question=choosing.arc,
        metric="acc_norm",
        examples_split="train",
    ),
    PublicSet(
        name="hellaswag",
        harness="hellaswag",
        kind="commonsense",
        hub="Rowan/hellaswag",
        parts=[("", "", "validation")],
        question=choosing.hellaswag,
        metric="acc_norm",
        examples_split="train",
        how_chosen=_EVALUATED_ON_VALIDATION,
        paper=10,
    ),
    PublicSet(
        name="winogrande",
        harness="winogrande",
        kind="commonsense",
        hub="allenai/winogrande",
        parts=[("", "winogrande_xl", "validation")],
        question=choosing.winogrande,
        examples_split="train",
        how_chosen=_EVALUATED_ON_VALIDATION,
        paper=5,
        note="partial evaluation: what follows the gap is scored after either name",
    ),
    PublicSet(
        name="piqa",
        harness="piqa",
        kind="commonsense",
        hub="baber/piqa",
        parts=[("", "", "validation")],
        question=choosing.piqa,
        metric="acc_norm",
        examples_split="train",
        how_chosen=_EVALUATED_ON_VALIDATION,
        tried=False,
    ),
    PublicSet(
        name="openbookqa",
        harness="openbookqa",
        kind="commonsense",
        hub="allenai/openbookqa",
        parts=[("", "main", "test")],
        question=choosing.openbookqa,
        metric="acc_norm",
        examples_split="train",
    ),
    PublicSet(
        name="commonsense_qa",
        harness="commonsense_qa",
        kind="commonsense",
        hub="tau/commonsense_qa",
        parts=[("", "", "validation")],
        question=choosing.commonsense_qa,
        examples_split="train",
        how_chosen=_EVALUATED_ON_VALIDATION,
    ),
    # knowledge and language understanding
    PublicSet(
        name="mmlu",
        harness="mmlu",
        kind="knowledge",
        hub="cais/mmlu",
        parts=[("", "all", "test")],
        question=choosing.mmlu,
        subjects=subjects.MMLU,
        introduction=_introduces_mmlu,
        examples_split="dev",
        how_chosen="first",
        paper=5,
    ),
    PublicSet(
        name="mmlu_pro",
        harness="leaderboard_mmlu_pro",
        kind="knowledge",
        hub="TIGER-Lab/MMLU-Pro",
        parts=[("", "", "test")],
        question=choosing.mmlu_pro,
        examples=5,
        examples_split="validation",
        how_chosen="first",
        paper=5,
        tried=False,
        note=f"letters are scored: {_LETTERS_OF_LEADERBOARD}",
    ),
    PublicSet(
        name="gpqa",
        harness="leaderboard_gpqa_main",
        kind="knowledge",
        hub="Idavidrein/gpqa",
        parts=[("", "gpqa_main", "train")],
        question=choosing.gpqa,
        metric="acc_norm",
        paper=0,
        tried=False,
        note="gated on the Hub; the order of the choices, which the harness draws anew, is settled by the question",
    ),
    PublicSet(
        name="bbh",
        harness="leaderboard_bbh",
        kind="knowledge",
        hub="SaylorTwift/bbh",
        parts=[(part, part, "test") for part in bbh.PARTS],
        question=bbh.question,
        metric="acc_norm",
        subjects=tuple(bbh.PARTS),
        introduction=bbh.introduction,
        examples=3,
        how_chosen="fixed",
        fixed="leaderboard/bbh_mc/{subject}.yaml",
        only=bbh.is_multiple_choice,
        paper=3,
        note=f"24 parts as multiple choices, without chains of thought: {_LETTERS_OF_LEADERBOARD}; "
        "three rows without a right choice are left out",
    ),
    PublicSet(
        name="musr",
        harness="leaderboard_musr",
        kind="knowledge",
        hub="TAUR-Lab/MuSR",
        parts=[(part, "", part) for part in subjects.MUSR],
        question=choosing.musr,
        metric="acc_norm",
        subjects=subjects.MUSR,
        paper=0,
        tried=False,
    ),
    PublicSet(
        name="boolq",
        harness="boolq",
        kind="knowledge",
        hub="aps/super_glue",
        parts=[("", "boolq", "validation")],
        question=choosing.boolq,
        examples_split="train",
        how_chosen=_EVALUATED_ON_VALIDATION,
    ),
    PublicSet(
        name="lambada_openai",
        harness="lambada_openai",
        kind="knowledge",
        hub="EleutherAI/lambada_openai",
        parts=[("", "default", "test")],
        question=writing.lambada,
        type="word",
        tried=False,
        note="right where the last word is the model's own greedy choice; its perplexity is told beside",
    ),
    # instruction following
    PublicSet(
        name="ifeval",
        harness="ifeval",
        kind="instruction",
        hub="google/IFEval",
        parts=[("", "", "train")],
        question=writing.ifeval,
        type="rules",
        metric="prompt_level_strict",
        max_tokens=1280,
        paper=0,
    ),
    # hallucination
    PublicSet(
        name="truthfulqa_mc1",
        harness="truthfulqa_mc1",
        kind="hallucination",
        hub="truthfulqa/truthful_qa",
        parts=[("", "multiple_choice", "validation")],
        question=choosing.truthfulqa_mc1,
    ),
    PublicSet(
        name="truthfulqa_mc2",
        harness="truthfulqa_mc2",
        kind="hallucination",
        hub="truthfulqa/truthful_qa",
        parts=[("", "multiple_choice", "validation")],
        question=choosing.truthfulqa_mc2,
        metric="mc2",
        paper=0,
    ),
    # mathematics
    PublicSet(
        name="gsm8k",
        harness="gsm8k",
        kind="mathematics",
        hub="openai/gsm8k",
        parts=[("", "main", "test")],
        question=writing.gsm8k,
        type="text",
        metric="strict_match",
        examples=5,
        examples_split="train",
        stops=("Question:", "</s>", "<|im_end|>"),
        max_tokens=256,
        paper=5,
    ),
    PublicSet(
        name="math",
        harness="minerva_math",
        kind="mathematics",
        hub="EleutherAI/hendrycks_math",
        parts=_MATH_PARTS,
        question=writing.minerva_math,
        type="text",
        metric="exact_match",
        subjects=subjects.MATH,
        examples=4,
        how_chosen="fixed",
        fixed="minerva_math/utils.py",
        stops=("Problem:",),
        max_tokens=256,
        note="answers are compared as texts and numbers, not by a computer algebra system",
    ),
    PublicSet(
        name="math_hard",
        harness="leaderboard_math_hard",
        kind="mathematics",
        hub="DigitalLearningGmbH/MATH-lighteval",
        parts=_MATH_PARTS,
        question=writing.minerva_math,
        type="text",
        metric="exact_match",
        subjects=subjects.MATH,
        examples=4,
        how_chosen="fixed",
        fixed="leaderboard/math/utils.py",
        stops=("Problem:",),
        max_tokens=1024,
        only=writing.is_level_5,
        paper=4,
        note="MATH's level 5; answers are compared as texts and numbers, not by a computer algebra system",
    ),
    PublicSet(
        name="hendrycks_math",
        harness="hendrycks_math",
        kind="mathematics",
        hub="EleutherAI/hendrycks_math",
        parts=_MATH_PARTS,
        question=writing.hendrycks_math,
        type="text",
        metric="exact_match",
        subjects=subjects.MATH,
        examples_split="train",
        stops=("Problem:",),
        max_tokens=256,
    ),
    # dialogue
    PublicSet(
        name="mt_bench",
        harness="",
        kind="dialogue",
        hub="HuggingFaceH4/mt_bench_prompts",
        parts=[("", "", "train")],
        question=writing.mt_bench,
        type="dialogue",
        metric="agreement",
        max_tokens=1024,
        paper=0,
        note="no key: answers are compared with the reference model's, or judged",
    ),
)

SETS: Mapping[str, PublicSet] = MappingProxyType({row.name: row for row in _ROWS})

"""Which language a text is in: by its script, and where several languages share one, by their commonest words.

Good for a few sentences in one of `LANGUAGES`; no identifier of all languages. One word of Latin letters may name none,
a language that is not listed passes for its nearest relative or for none, and mixed text counts as what it has most of.
"""

import re
import unicodedata
from collections import Counter

_BY_SCRIPT = {
    "BENGALI": "bn", "GURMUKHI": "pa", "GUJARATI": "gu", "TAMIL": "ta", "TELUGU": "te", "KANNADA": "kn",
    "MALAYALAM": "ml", "THAI": "th", "GREEK": "el", "HEBREW": "he", "HANGUL": "ko", "HIRAGANA": "ja", "KATAKANA": "ja",
    "CJK": "zh",
}  # fmt: skip
# Words that nearly every paragraph has; one that two languages share counts for both.
_WORDS = {
    "LATIN": {
        "en": "the of and to in is that it was for on are with as at be this have from or by not you they he she we i "
        "my your his her their an will can which what there has had but if all do who one more when so",
        "de": "der die das und ist nicht ein eine einen zu von mit den dem des auf für sich im es ich sie er wir auch "
        "als an aus bei war sind hat wird oder aber nach wie wenn nur noch man über zum zur kann so",
        "fr": "le la les de des du et est un une que qui dans pour pas sur avec au aux ce cette il elle nous vous je "
        "ne se son sa ses par plus mais ou sont été être comme tout en on leur d'un c'est",
        "es": "el la los las de del y es un una que en por para con no se su sus al lo como más pero está son fue "
        "muy este esta también ha hay cuando si ya yo nos le porque todo sin entre",
        "it": "il lo la i gli le di del della dei e è un una che in per con non si su sono come più ma anche questo "
        "questa nel nella al alla da dal ha ho mi ci se o quando molto tutti essere",
        "pt": "o a os as de do da dos das e é um uma que em no na nos nas por para com não se seu sua mais mas foi ao "
        "como são está ou também muito já eu ele ela isso quando pelo pela",
        "nl": "de het een en van is dat niet in op te zijn met voor aan er ook als bij maar om naar ik je hij ze we "
        "wordt heeft was door over nog uit dit deze kan wat wel geen",
        "sv": "och att det är en ett som på för med av den till inte om har jag du han hon vi de var kan men så från "
        "eller när ska också sig mycket efter",
        "fi": "ja on ei se että en hän oli olen ole ovat mutta kun niin myös joka tai hänen sen minä sinä me he kuin "
        "nyt vain jos mitä tämä voi olla sekä ovat",
        "pl": "i w na z nie się do jest to że jak o ale za po przez od dla są był była co czy tak ten ta te jego już "
        "tylko może lub oraz więc",
        "ro": "și în de la cu nu este un o că pe din pentru care sunt mai ca fi se au lui sau dar a fost prin acest "
        "această foarte când",
        "tr": "ve bir bu da de için ile çok ne daha olarak gibi var o kadar ama en sonra değil olan ben her şey mi ya "
        "veya olduğu",
        "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya adalah ke karena ada mereka kita "
        "bisa atau oleh sudah seperti anda kami",
        "sw": "na ya wa kwa ni katika la za cha kuwa hii huo hiyo kama yake lakini pia hata wao yangu sana mimi watu "
        "wake ili au hapa vya sisi yetu kila moja",
        "vi": "là và của có không một cho được trong với những này các người đã tôi khi bạn ở đó như để từ cũng thì "
        "sẽ nhiều rất về hay",
    },
    "CYRILLIC": {
        "ru": "и в не на что он с как это по но из у за от так же для мы вы я она они был была было бы к о который "
        "если есть или только ещё её его мой очень когда",
        "bg": "и в не на че той с как това по но от за са се да ще е ние вие аз тя те беше към или само още му много "
        "когато си съм ако ми което който във със",
        "uk": "і в не на що він з як це по але із у за від так же для ми ви я вона вони був була було би до який якщо "
        "є або тільки ще її його мій дуже коли та",
    },
    "ARABIC": {
        "ar": "في من على إلى أن هذا هذه التي الذي كان كانت ما لا مع عن هو هي أو كل قد بعد ذلك لم إن ثم و يمكن أنا نحن",
        "fa": "در از به که این است را با برای آن می های و یک بود تا هم شما من ما نیست شد کرد خود بر اگر یا هر چه ها",
        "ur": "میں کے کی ہے کا سے کو اور ہیں نے پر یہ ایک نہیں بھی کہ تھا وہ اس ہو کر گیا آپ ہم تو لیے تھے ہوں جو",
    },
    "DEVANAGARI": {
        "hi": "है के में की और का को से हैं नहीं पर यह एक भी कि था वह ने हो कर मैं आप हम तो लिए थे गया जो इस अपने",
        "mr": "आहे आणि च्या या ते तो ती मी आहेत हे ही नाही एक मध्ये पण होते होता केले करून आपण आम्ही तुम्ही साठी असे "
        "त्या तर की काही खूप",
        "ne": "छ र को मा हो छन् यो एक पनि लाई म गर्न भएको गरेको हरू बाट छु भने त्यो तपाईं हामी थियो का छैन लागि धेरै "
        "गर्छ हुन्छ मेरो",
    },
}  # fmt: skip
LANGUAGES = frozenset(_BY_SCRIPT.values()) | {name for languages in _WORDS.values() for name in languages}
_FUNCTION_WORDS = {
    script: {name: frozenset(words.split()) for name, words in languages.items()}
    for script, languages in _WORDS.items()
}


def script(character: str) -> str:
    """The script of a letter as its Unicode name begins, "LATIN" or "CYRILLIC"; empty for what is no letter."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def scripts(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    return Counter(name for character in text if (name := script(character)))


def detect(text: str) -> str:
    """The ISO 639-1 code of the text's language, or "" where nothing says which one it is."""
    found = scripts(text)
    if not found:
        return ""
    main = found.most_common(1)[0][0]
    if main == "CJK" and found["HIRAGANA"] + found["KATAKANA"] > found["CJK"] / 10:
        return "ja"  # Chinese has no kana, and Japanese hardly a sentence without
    return _BY_SCRIPT.get(main) or _by_words(text, _FUNCTION_WORDS.get(main, {}))


def _by_words(text: str, languages: dict[str, frozenset[str]]) -> str:
    """The language whose commonest words make up most of the text; "" where two are level."""
    words = Counter(_split(text.lower()))
    shares = sorted(((sum(words[word] for word in common), name) for name, common in languages.items()), reverse=True)
    level = len(shares) > 1 and shares[0][0] == shares[1][0]
    return shares[0][1] if shares and shares[0][0] and not level else ""


def _split(text: str) -> list[str]:
    """Words with their vowel signs, which are no letters to a regular expression, and with apostrophes inside."""
    kept = (c if c.isalpha() or unicodedata.category(c)[0] == "M" or c in "'’" else " " for c in text)
    return re.split(r"\s+", "".join(kept).strip())

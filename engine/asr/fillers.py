"""What Whisper is known to write where nobody speaks.

It learnt from subtitles, which thank for watching and name their makers over music and silence.
Collected by its users (github.com/openai/whisper, discussions 679 and 928), for many languages; the
short ones are also what `base` makes of hums and noise here. People do say most of these: they
count as nothing only where VAD hardly heard speech either (``engine.asr.guards``).
"""

from __future__ import annotations

_KNOWN: dict[str, tuple[str, ...]] = {
    "en": (
        "you",
        "thank you",
        "thank you very much",
        "thank you so much",
        "thanks",
        "thank you for watching",
        "thanks for watching",
        "thank you for your watching",
        "thanks for listening",
        "thank you for listening",
        "please subscribe",
        "please subscribe to my channel",
        "like and subscribe",
        "see you next time",
        "see you in the next video",
        "i'll see you next time",
        "bye",
        "bye bye",
        "so",
        "oh",
        "okay",
        "hmm",
        "mm",
        "uh",
        "um",
        "the",
        "i'm sorry",
        "i'll be right back",
        "we'll be right back",
        "subtitles by the amara.org community",
        "subtitles by amara.org",
        "www.mooji.org",
    ),
    "de": (
        "danke",
        "vielen dank",
        "danke schön",
        "vielen dank fürs zuschauen",
        "danke fürs zuschauen",
        "vielen dank für ihre aufmerksamkeit",
        "tschüss",
        "bis zum nächsten mal",
        "untertitel der amara.org-community",
        "untertitelung aufgrund der amara.org-community",
        "untertitel von stephanie geiges",
        "untertitel im auftrag des zdf",
        "untertitelung im auftrag des zdf",
        "untertitelung des zdf",
        "copyright wdr",
        "swr",
    ),
    "fr": (
        "merci",
        "merci beaucoup",
        "merci d'avoir regardé",
        "merci d'avoir regardé cette vidéo",
        "merci d'avoir regardé la vidéo",
        "abonnez-vous",
        "au revoir",
        "à bientôt",
        "sous-titrage st' 501",
        "sous-titrage st'501",
        "sous-titres par amara.org",
        "sous-titres réalisés par la communauté d'amara.org",
        "sous-titres réalisés para la communauté d'amara.org",
        "sous-titrage société radio-canada",
    ),
    "es": (
        "gracias",
        "muchas gracias",
        "gracias por ver",
        "gracias por ver el video",
        "gracias por ver el vídeo",
        "suscríbete",
        "suscríbete al canal",
        "adiós",
        "hasta la próxima",
        "subtítulos realizados por la comunidad de amara.org",
        "subtítulos por la comunidad de amara.org",
    ),
    "it": (
        "grazie",
        "grazie mille",
        "grazie per aver guardato il video",
        "grazie a tutti",
        "ciao",
        "sottotitoli creati dalla comunità amara.org",
        "sottotitoli e revisione a cura di qtss",
    ),
    "pt": (
        "obrigado",
        "obrigada",
        "muito obrigado",
        "obrigado por assistir",
        "inscreva-se no canal",
        "tchau",
        "até a próxima",
        "legendas pela comunidade amara.org",
    ),
    "nl": (
        "dank je",
        "dank u",
        "bedankt",
        "bedankt voor het kijken",
        "tot de volgende keer",
        "ondertitels ingediend door de amara.org gemeenschap",
        "ondertiteld door de amara.org gemeenschap",
        "ondertiteling door de amara.org gemeenschap",
    ),
    "pl": (
        "dziękuję",
        "dziękuję za uwagę",
        "dziękuję za oglądanie",
        "dzięki za oglądanie",
        "napisy stworzone przez społeczność amara.org",
    ),
    "ru": (
        "спасибо",
        "спасибо за внимание",
        "спасибо за просмотр",
        "продолжение следует",
        "подписывайтесь на канал",
        "субтитры сделал dimatorzok",
        "субтитры создавал dimatorzok",
        "редактор субтитров а.семкин корректор а.егорова",
    ),
    "tr": (
        "teşekkürler",
        "izlediğiniz için teşekkürler",
        "abone olmayı unutmayın",
        "altyazı m.k",
    ),
    "ja": (
        "ご視聴ありがとうございました",
        "ありがとうございました",
        "おやすみなさい",
        "次の動画でお会いしましょう",
    ),
    "ko": (
        "감사합니다",
        "시청해주셔서 감사합니다",
        "시청해 주셔서 감사합니다",
        "구독과 좋아요 부탁드립니다",
    ),
    "zh": (
        "谢谢",
        "谢谢大家",
        "谢谢观看",
        "谢谢收看",
        "謝謝大家",
        "謝謝觀看",
        "請不吝點贊訂閱轉發打賞支持明鏡與點點欄目",
        "请不吝点赞订阅转发打赏支持明镜与点点栏目",
        "字幕由amara.org社区提供",
    ),
}

_MARKS = str.maketrans("", "", " .,!?…:;-–—'’\"“”«»()[]*♪。、！？·")
_DIGITS = str.maketrans("", "", "0123456789")


def _bare(text: str) -> str:
    """Without case, punctuation and spaces; and without years, but a number alone is a word."""
    words = text.casefold().translate(_MARKS)
    return words.translate(_DIGITS) or words


_BARE = frozenset(_bare(phrase) for known in _KNOWN.values() for phrase in known)


def is_filler(text: str) -> bool:
    """Whether ``text`` is one of these, or nothing but marks: in any language, since what nobody
    said has none. Case, punctuation, spaces and years do not count; numbers are words."""
    return _bare(text) in _BARE | {""}

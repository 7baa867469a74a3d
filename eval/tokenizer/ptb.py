"""The rules of the official tokenizer as observed: a line of text in, tokens out.

At each position the rule with the longest match wins, the earlier rule on a tie. A match includes
the rule's lookahead, so it may be longer than the token.

Three freedoms are taken, because punctuation is dropped after the rules: which kind of quotation
mark a straight quote becomes is not decided, a second dot after "etc." is not added, and neither
changes a word. All repetitions that could look far ahead are bounded, so the time is linear in the
length of the text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from eval.tokenizer.abbreviations import (
    BEFORE_NUMBER,
    CAPITALISED,
    EXTENSIONS,
    NOT_UPPER,
    SENTENCE_ENDS,
    STARTERS,
    TITLES,
)
from eval.tokenizer.unicode_classes import DIGIT, LETTER, MARK, SPACE, SYMBOL

SOFT = "\u00ad"  # the soft hyphen: part of a word, left out of the token
APOS = "\ue000"  # stands for &apos; inside `scan`
ACCENTED = [v + a for v in "AEIOUaeiou" for a in ("acute", "grave", "uml")]
ENTITIES = {"&apos;": APOS} | {f"&{name};": chr(0xE001 + i) for i, name in enumerate(ACCENTED)}
ENTITY = re.compile("|".join(ENTITIES))
PRIVATE = re.compile("[\ue000-\ue01e]")

# One character each. A joined word ("t-shirt", "and/or") is made of fewer types than a plain one.
L = rf"[{LETTER}{MARK}{SOFT}\ue001-\ue01e]"
W = rf"[{LETTER}{MARK}{SOFT}{DIGIT}\ue001-\ue01e]"
J = rf"[{LETTER}{SOFT}{DIGIT}]"
A = "[A-Za-z]"
D = f"[{DIGIT}]"
QUOTE = f"['`\u0091\u0092\u2018\u2019\u201b{APOS}]"  # what may stand inside "o'clock", "don't"
CURLY = f"[\u0092\u2019{APOS}]"
APOSTROPHE = f"(?:'|{CURLY})"
GAP = rf"(?=[{SPACE}\n])"
URL = r"[^\s\"<>|(){}]"  # a character inside an address
URL_END = r"[^\s\"<>|(){}.!?,-]"

# Shapes of words.
WORD = rf"{L}{W}*(?:[.!?]{L}{W}*)*"
JOINED = f"{J}+(?:_{J}+)*"
ELIDED = f"[dDlLoO]{QUOTE}{J}{J}+(?:_{J}+)*"
APOSTROPHISED = (
    f"(?:{ELIDED}|[A-HJ-XZn]{QUOTE}{L}{L}+|[oO]{QUOTE}[oO](?!{W})"
    f"|{L}+[aeiouyAEIOUY]{QUOTE}[aeiouA-Z]{L}*"
    "|[nN]?[eE]'[eE][rR]|[cC]'[mM][oO][nN])"
)
HYPHEN = "[-\u058a\u2010\u2011]"
HYPHENATED = (
    rf"(?:(?:{ELIDED}|{JOINED})(?:{HYPHEN}(?:(?:{A}\.){{2,}}|{ELIDED}|{JOINED}))+"
    rf"|[A-Za-z0-9][A-Za-z0-9.,]{{0,99}}(?:-(?:(?:{A}\.){{2,}}|[A-Za-z0-9]+))+)"
)
SLASHED = rf"[A-Za-z0-9]+(?:-{A}+){{0,2}}"
CLITIC = rf"(?:'(?:[sdm]|ll|re|ve)(?!{A})|{CURLY}(?:[sdm]|ll|re|ve))"
NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
ATTRIBUTE = rf""" +{NAME}(?:="[^"\n]{{0,200}}"|='[^'\n]{{0,200}}')?"""

QUOTES = str.maketrans(
    dict.fromkeys("\u0091\u2018\u201b\u2039", "`")
    | dict.fromkeys(f"\u0092\u2019\u203a{APOS}", "'")
    | dict.fromkeys("\u0093\u00ab\u201c", "``")
    | dict.fromkeys("\u0094\u00bb\u201d", "''")
)
ROUND = str.maketrans({"(": "-lrb-", ")": "-rrb-"})
BRACKETS = ROUND | str.maketrans({"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"})
FRACTIONS = str.maketrans(
    {"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}
)

Give = Callable[[str], str]  # the matched text to the token; "" for none


@dataclass(frozen=True)
class Rule:
    source: str  # group 1 is the token
    flags: int
    give: Give

    @cached_property
    def pattern(self) -> re.Pattern:
        """Compiled when it is first asked for: all rules together take a quarter of a second."""
        return re.compile(self.source, self.flags)


def _rule(token: str, ahead: str = "", give: Give = str, fold: bool = False) -> Rule:
    return Rule(f"({token}){ahead}", re.IGNORECASE * fold | re.ASCII * fold, give)


def _to(token: str) -> Give:
    return lambda _: token


def _quotes(text: str) -> str:
    return text.translate(QUOTES)


def _solid(text: str) -> str:
    """One token that holds spaces."""
    return text.translate(ROUND).replace(" ", "\u00a0")


def _any(words: list[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")"


def _cases(words: list[str], *styles: Callable[[str], str]) -> str:
    return _any([style(word) for word in words for style in styles])


STARTER = rf"\.[{SPACE}\n]{{1,99}}{_cases(STARTERS, str, str.upper)}{GAP}"

# What begins with a letter, a mark or a digit.
WORDS = [
    _rule(SOFT, give=_to("-")),
    _rule(
        "can(?=not)|gon(?=na)|got(?=ta)|lem(?=me)|gim(?=me)|wan(?=na)",
        f"(?:not|na|ta|me)(?!{W})",
        fold=True,
    ),
    _rule(f"{A}*[A-MO-Za-mo-z]", f"[nN]{QUOTE}[tT]"),  # "do" of "don't"
    _rule(f"[nN]{QUOTE}[tT](?!{L})", give=_quotes),
    _rule(WORD, f"{APOSTROPHE}(?:[sdm]|ll|re|ve)", fold=True),  # "cannot" of "cannot's"
    _rule(rf"{_any(SENTENCE_ENDS)}\.", r"-?[\s\S]", fold=True),
    _rule(rf"{_cases(NOT_UPPER, str, str.capitalize)}\.", r"-?[\s\S]"),
    _rule(rf"{_cases(CAPITALISED, str.upper, str.capitalize)}\.", r"-?[\s\S]"),
    _rule(rf"{_any(TITLES)}\.", fold=True),
    _rule(rf"{_cases(['mfg', 'mtg'], str, str.capitalize)}\."),
    _rule(rf"{_any(BEFORE_NUMBER)}\.", rf"[{SPACE}]*{D}", fold=True),  # "no. 5"
    _rule(A, STARTER),  # "plan B. The dog": the dot ends the sentence
    _rule(rf"(?:{A}\.)+"),  # "U.S.", "t."
    _rule(rf"(?:{WORD}|{JOINED}|{HYPHENATED})(?<!\.)\.", "[,;:\u3001]"),
    _rule(rf"[yY]{APOSTROPHE}", L),  # "y'all"
    _rule(rf"[dDjJlL]{APOSTROPHE}"),
    _rule(f"[oO][lL]{APOSTROPHE}"),
    _rule(WORD),
    _rule(JOINED),
    _rule(APOSTROPHISED),
    _rule(HYPHENATED),
    _rule(rf"{SLASHED}(?:\\?/{SLASHED}){{1,2}}"),  # "and/or"
    _rule("[A-Z]+(?:&(?:amp;)?[A-Z]+)+", give=lambda text: text.replace("&amp;", "&")),
    _rule(r"[A-Z]+\+[A-Z]+|[A-Z]+\$|[CFcf]#|[Cc]\+\+"),
    _rule(rf"{J}+(?:\.{J}+)*\.{_any(EXTENSIONS)}", rf"(?=[{SPACE}\n.,!?])", fold=True),
    _rule(rf"https?://{URL}{{1,999}}{URL_END}", fold=True),
    _rule(
        rf"www\.(?:[^\s\"<>|(){{}}.!?,]{{1,99}}\.)+[a-z]{{2,4}}(?:/{URL}{{1,999}}{URL_END})?",
        fold=True,
    ),
]
NUMBERS = [
    _rule(rf"[-+]?(?:{D}*(?:[.,:\u066b\u066c]{D}+)+|{D}+)"),
    _rule(rf"{D}{{1,2}}[-/]{D}{{1,2}}[-/]{D}{{2,4}}"),  # a date
    _rule(rf"(?:{D}{{1,4}}[- \u00a0])?{D}{{1,4}}(?:\\?/|\u2044){D}{{1,4}}", give=_solid),
    _rule(rf"\({D}{{2,3}}\)[ \u00a0-]?{D}{{3,4}}-?{D}{{3,5}}", give=_solid),
    _rule(rf"{D}{{2,4}}[- \u00a0]{D}{{3,4}}[- \u00a0]?{D}{{3,5}}", give=_solid),
]
ADDRESSES = [
    _rule(
        rf"<?(?:mailto:)?[A-Za-z0-9]{URL}{{0,99}}@(?:[^\s\"<>|(){{}}.]+\.)*[^\s\"<>|(){{}}.]+>?",
        fold=True,
    ),
    _rule(rf"(?:[#-&*+`a-z~]{{1,99}}\.){{1,99}}(?:com|net|org|edu)(?:/{URL}{{1,999}}{URL_END})?"),
]

FACE = _rule("[-^x=~<>']_[-^x=~<>']")  # "^_^"

# What begins with anything else.
SIGNS = [
    _rule(rf"(?:[{SPACE}]|&nbsp;)+", give=_to(""), fold=True),
    _rule(rf"</?{NAME}(?:{ATTRIBUTE})* */?>|<[!?][A-Za-z-][^>\n]{{0,999}}>", give=_solid),
    _rule("'t", "(?:is|was)", fold=True),
    _rule("-[lr][rsc]b-", fold=True),  # a bracket that is already a token
    _rule(CLITIC, give=_quotes, fold=True),
    _rule(
        rf"{APOSTROPHE}(?:em|till?|cause|n{APOSTROPHE}|[0-9]0s|(?:n|[0-9][0-9]){GAP})", fold=True
    ),
    _rule(f"{CURLY}n", fold=True),
    _rule(f"#{L}+|@[A-Za-z_][A-Za-z0-9_]*"),
    _rule(r"\.{3,5}|\.(?:[ \u00a0]\.){2,4}|[\u2026\u0085]", give=_to("...")),
    _rule(r"-{5,}|[!?]{2,}|\*+|\\\*|#+|@+|<<|>>|_+|``|''"),
    _rule("-{2,4}|[\u0096\u0097\u2013-\u2015]|&(?:mdash|ndash|MD);", give=_to("--")),
    _rule('"|&quot;', give=_to("''")),
    _rule(
        rf"[`\u0091-\u0094\u00ab\u00bb\u2018-\u201f\u2039\u203a{APOS}]"
        rf"[`\u0091-\u0094\u00ab\u00bb\u2018-\u201f\u2039\u203a{APOS}]?",
        give=_quotes,
    ),
    _rule("[\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]+"),
    _rule(
        rf"[<>]?[:;=][-o*']?[][(){{DOPdp@\\|](?!{W})|\([-^x=~<>'][_.]?[-^x=~<>']\)",
        give=lambda text: text.translate(ROUND),
    ),
    _rule(
        "&(?:amp|lt|gt);",
        give=lambda text: {"a": "&", "l": "<", "g": ">"}[text[1].lower()],
        fold=True,
    ),
    _rule("&#[0-9]+;"),
    _rule("\u00a3", give=_to("#")),
    _rule("[\u0080\u00a4\u20a0\u20ac]", give=_to("$")),
    _rule("\u00a2", give=_to("cents")),
    _rule(
        rf"[!-~{SYMBOL}\u00bc-\u00be\u2153\u2154]",
        give=lambda text: text.translate(BRACKETS | FRACTIONS),
    ),
]
BEGINS_WORD = re.compile(W)
FOR_WORDS = [*WORDS, *NUMBERS, *ADDRESSES, FACE]
FOR_SIGNS = [*SIGNS, *NUMBERS, *ADDRESSES, FACE]
# Letters up to a space: all rules that match here agree, but for the words that are two.
PLAIN_WORD = re.compile("(?i:(?!(?:cannot|gonna|gotta|lemme|gimme|wanna) ))([A-Za-z]+) +")


def scan(text: str, after: str = "") -> list[str]:
    """The tokens of a line, punctuation among them; `after` is the line that follows it.

    Characters that mean nothing to the tokenizer, emoji for one, separate words and are left out.
    """
    text = _entities(text)
    end = len(text)
    text = f"{text}\n{_entities(after)}"
    tokens, at = [], 0
    while at < end:
        if found := PLAIN_WORD.match(text, at):
            tokens.append(found[1].lower())
            at = found.end()
            continue
        best, size, give = None, 0, str
        for rule in FOR_WORDS if BEGINS_WORD.match(text, at) else FOR_SIGNS:
            found = rule.pattern.match(text, at)
            if found and found.end() - at > size and found.end(1) > at:
                best, size, give = found, found.end() - at, rule.give
        if best is None:
            at += 1
            continue
        if token := _plain(give(best[1])):
            tokens.append(token)
        at = best.end(1)
    return tokens


def _entities(text: str) -> str:
    """Entities that act as one character become one."""
    text = text if text.isascii() else PRIVATE.sub("\x01", text)
    return ENTITY.sub(lambda found: ENTITIES[found[0]], text) if "&" in text else text


PLAIN = str.maketrans({SOFT: ""} | {char: name for name, char in ENTITIES.items()})


def _plain(token: str) -> str:
    token = token.lower()
    return token if token.isascii() else token.translate(PLAIN)

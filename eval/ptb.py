"""The rules of the Penn Treebank tokenizer, as observed: text to tokens, punctuation included."""

import re
import sys
import unicodedata
from functools import cache

from eval.abbreviations import ANY_CASE, CAPITALISED, STARTERS

def _char_class(test) -> str:
    """The inside of a regular expression's [...] for the BMP characters that pass the test."""
    ranges, start = [], None
    for code in range(0x80, 0x10001):
        inside = code < 0x10000 and test(chr(code))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(f"\\u{start:04x}-\\u{code - 1:04x}")
            start = None
    return "".join(ranges)
def _letter(c):
    k=unicodedata.category(c)
    return k[0]=='L' or k in('Nd','Nl')
def _mark(c):
    return unicodedata.category(c)[0]=='M' or c=='\xad'
LET="A-Za-z"+_char_class(_letter)
MARK=_char_class(_mark)
l=f"[{LET}]"
w=f"[{LET}0-9{MARK}]"
d="[0-9]"
A="['\u2019]"
NL=f"(?![{LET}])"
WORD=f"{l}{w}*(?:[.!?]{l}{w}*)*"
THING=f"{w}+(?:_{w}+)*"
APO=f"(?:[dlnoDLNO]{A}{l}{w}+|{l}*[{LET}][aeiouyAEIOUY]{A}[aeiouAEIOU]{l}*|[nN]?[eE]{A}[eE][rR]|[cC]{A}[mM][oO][nN])"
PART=f"(?:{APO}|{w}+)"
ABBR="|".join(sorted(ANY_CASE,key=len,reverse=True))
CAPS="|".join(CAPITALISED)
STARTER="(?:"+"|".join(STARTERS)+")"
RULES=[]
def rule(pattern, ahead="", out=None, flags=0):
    RULES.append((re.compile(f"(?s:({pattern}){ahead})",flags),out))
I=re.I
rule(r"[\s\u2028\u2029]+", out="")
rule(r"<[/!?]?[A-Za-z][^>\n]*>", out=lambda t:t.replace(" ","\xa0"))
rule("cannot|gonna|gotta|lemme|gimme|wanna|'tis|'twas", NL+f"(?!{A}[sdm]|-)", out="split", flags=I)
rule(f"{l}+?", f"[nN]{A}[tT]")
rule(f"[nN]{A}[tT]", NL)
rule(f"{A}(?:s|d|m|ll|re|ve)", NL, flags=I)
rule(f"{WORD}", f"{A}(?:[sSdDmM]|ll|re|ve|LL|RE|VE){NL}")
rule(f"{A}(?:em|till?|cause|n{A}?|[0-9]0s|[0-9][0-9](?![0-9a-zA-Z]))", flags=I)
rule(f"[yY]{A}", f"{l}", out=lambda t:t)
rule(f"[dDjJlL]{A}", f"(?={l})")
rule(f"[oO][lL]{A}")
rule(WORD)
rule(THING)
rule(APO)
rule(f"{PART}(?:[.,]{w}+)*\\.?(?:-{PART})+")
rule(f"{w}+(?:[-]{w}+)?(?:/{w}+(?:-{w}+)?){{1,2}}")
rule(f"[A-Z]+&[A-Z]+")
rule(f"[-+]?(?:{d}*(?:[.,:]{d}+)+|{d}+)")
rule(f"{d}+(?:[-.,:]{d}+)+")
rule(f"{d}{{1,2}}[-/]{d}{{1,2}}[-/]{d}{{2,4}}")
rule(f"(?:{d}{{1,4}}[- \xa0])?{d}{{1,4}}/{d}{{1,4}}", out=lambda t:t.replace(" ","\xa0"))
rule(f"\\({d}{{2,3}}\\)[ -]?{d}{{3,4}}-?{d}{{3,5}}", out=lambda t:t.replace("(","-lrb-").replace(")","-rrb-").replace(" ","\xa0"))
rule(f"{d}{{2,4}}[- .]{d}{{3,4}}[- .]{d}{{3,5}}", out=lambda t:t.replace(" ","\xa0"))
rule(f"#[{LET}]+"); rule(f"@[{LET}_]+"); rule(f"{w}+@{w}+(?:\\.{w}+)*")
rule(f"(?:{ABBR})\\.", NL, flags=I); rule(f"(?:{CAPS})\\.", NL)
rule(f"(?:{l}\\.)+")
rule(f"{l}", rf"\.\s+{STARTER}(?![{LET}0-9])")
rule(r"(?:no|nos|p|pp|fig|art)\.", r"\s*[0-9]", flags=I)
rule(f"{l}+\\.", "[,;:]")
rule(r"\.{3,5}|\.(?:[ \xa0]\.){2,4}|[\u2026\x85]", out="...")
rule(r"-{5,}|[!?]{2,}|[*#@]{2,}|<<|>>|__+|~~+")
rule(r"-{2,4}|[\u2013\u2014\u2015\x96\x97]", out="--")
rule(r"''|``|[`']")
rule(f'["]', "(?=[A-Za-z0-9$])", out="``")
rule('["\u201d\xbb\u201f\x94]', out="''")
rule('[\u201c\xab\u201e\x93]', out="``")
rule('[\u2018\x91]', out="`")
rule('[\u2019\x92]', out="'")
rule(f"'", f"{l}{l}", out="`")
rule("(?:US|[A-Z])\\$")
rule("&(?:amp|lt|gt|quot|apos);", out=lambda t:{"&amp;":"&","&lt;":"<","&gt;":">","&quot;":"''","&apos;":"'"}[t.lower()],flags=I)
rule("[:;=]-?[()DP]", out=lambda t:t.replace("(","-lrb-").replace(")","-rrb-"))
rule(r"\(",out="-lrb-"); rule(r"\)",out="-rrb-"); rule(r"\[",out="-lsb-"); rule(r"\]",out="-rsb-"); rule(r"\{",out="-lcb-"); rule(r"\}",out="-rcb-")
rule("\xbd|\xbc|\xbe",out=lambda t:{"\xbd":"1/2","\xbc":"1/4","\xbe":"3/4"}[t])
rule("\xa3",out="#"); rule("\u20ac",out="$"); rule("\xa2",out="cents")
rule("(?![\x00-\x20\x7f-\xa0\u2000-\u200f\ufeff\U00010000-\U0010ffff]).")
rule(".",out="")
def scan(text: str, after: str = "") -> list[str]:
    tokens=[]; at=0; end=len(text)
    text = f"{text}\n{after}" if after else text
    while at<end:
        best=None;size=0
        for pattern,out in RULES:
            m=pattern.match(text,at)
            if m and m.end()-at>size and m.end(1)>at:
                best,size,o=m,m.end()-at,out
        t=best[1]
        if o=="split":
            k={"cannot":3,"gonna":3,"gotta":3,"lemme":3,"gimme":3,"wanna":3,"'tis":2,"'twas":2}[t.lower()]
            tokens+=[t[:k].lower(),t[k:].lower()]
        else:
            t=t if o is None else o if isinstance(o,str) else o(t)
            if t: tokens.append(t.lower().replace("\u2019","'").replace("\xad",""))
        at=best.end(1)
    return tokens

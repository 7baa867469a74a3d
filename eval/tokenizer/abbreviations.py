"""Words that keep the dot after them, and words that begin a sentence, as observed.

They are parts of regular expressions.
"""

SENTENCE_ENDS = r"""
    al ala apr ariz assn assoc aug bhd bldg blvd bros calif co colo conn corp cos ct dak dec ed\.d
    esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo
    mon mont neb nev nov oct okla penn ph\.d plc rd rt sep sept seq sq sr sys tel tenn thu thurs tue
    tues univ va vt wed wis wisc wyo
""".split()
TITLES = """
    adj adm adv alex asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr drs elec
    ens ft gen gov govs hon insp invt jos lieut lt maj messrs mlle mme mr mrs ms msgr mt natl pfc
    ph pres prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt supts treas vs wm
""".split()
NOT_UPPER = "ppte pptes ppty pptys pte ptes pty ptys".split()
CAPITALISED = "ark az del ill la mass miss ore pa tex wash".split()
BEFORE_NUMBER = "art ca fig figs no nos op p pp prop".split()
STARTERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many
    More Now Once One Other Our She Since So Some Such That The Their Then There These They This We
    What When While Yet You
""".split()
EXTENSIONS = """
    c h x gz pl ps py bat bmp cgi cpp dll doc docx exe gif htm html jar java jpeg jpg mov pdf php
    png ppt sql tar txt wav xml zip
""".split()

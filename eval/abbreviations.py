ANY_CASE="mr mrs ms dr st mt ft vs ave gen sgt capt lt col jr sr rd blvd bldg etc co inc corp ltd jan feb mar apr aug sept sep oct nov dec mon tue wed thu fri ext est".split()
CAPITALISED="wash miss mass ill la tex".split()
STARTERS="A An The This In It".split()

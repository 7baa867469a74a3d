"""Generators of hostile input, one area a file.

An area has `prepare(folder)`, which makes good files once, and `attack(rng, folder, good)`, which
damages copies of them and lets a command read them. It returns a description of the case, and an
`Outcome`.
"""

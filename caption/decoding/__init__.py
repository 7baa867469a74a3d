"""What caption.decoding.decode is made of: from a decoder's next-word scores to captions.

search over beams and sampling are the two ways; constraints narrow either, consensus ranks again.
"""

"""Devices, processes, signals, progress, run folders, metrics logs and state files.

prepro.pretrain and caption.train both stand on these modules.
"""

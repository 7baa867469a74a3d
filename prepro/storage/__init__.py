"""The files of a data folder: labels.json, labels.h5 and features.h5, their schemas and readers."""

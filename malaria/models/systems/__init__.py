"""One file per published network: its layers, its training recipe and its source.

Each defines SYSTEM; the file's name is a value of train.model.
"""

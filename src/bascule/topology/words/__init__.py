"""The words of the lab file: one row is one word, and a new word is a new row, wherever it is then
read, written, described or asked for. One file for each of the large nouns.
"""

"""Translating, whatever the model: batches of pairs, sentences to translations, scores, alignments, a conversation."""

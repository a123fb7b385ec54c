"""Language modelling, whatever the model: a text as batches, its score, and text that is written."""

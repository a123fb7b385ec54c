"""Corpora and batches: `catalog` is the one table of corpora, `sources` brings them here, `batches` hands them out."""

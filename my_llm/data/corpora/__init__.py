"""One file per corpus: the names of its labels and a `read(files)` that turns its files into examples."""

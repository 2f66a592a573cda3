"""Made-up input. In a folder of its own, because `make bench` runs every file beside it as a benchmark."""

"""Data sets: one table of facts (`catalog`), readers of the official files, your own CSV."""

"""Training DEFNet in PyTorch. Needs the `train` extra: pip install 'defnet[train]'."""

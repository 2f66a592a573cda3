"""Conversations as records, and the text of MiniMax-M2's chat format that they are trained and sampled as."""

"""The atlas: mean labyrinth of labelled ears, and the cochlea's inside built into it."""

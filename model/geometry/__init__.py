"""Spaces, the canonical frame, landmarks and the alignment between patient and frame."""

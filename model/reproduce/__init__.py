"""The published predictions, recomputed from the first-layer activations of cases whose images are not published."""

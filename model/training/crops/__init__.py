"""Training on a folder of prepared crops: atlas, cases with their vertices, split, rotations, and the whole run."""

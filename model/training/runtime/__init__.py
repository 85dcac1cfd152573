"""The training loop: any module and data sets in, resumable checkpoints, logs and pictures out."""

"""Training: cases, their random changes, the network's loss, and a whole run from ears to a bundle."""

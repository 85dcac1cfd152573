"""Running a trained nnU-Net (version 1) from the activation maps of the published release."""

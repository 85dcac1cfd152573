"""Reading the published release: its weights, atlas and activation maps."""

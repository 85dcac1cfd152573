"""The ways to segment an ear that are compared: from placing the atlas to trained networks."""

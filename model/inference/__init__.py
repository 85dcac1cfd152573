"""How a loaded model turns the canonical image of an ear into structures."""

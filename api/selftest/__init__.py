"""Installation qualification: does a running service find the truth of a phantom, and return it in the right place?"""

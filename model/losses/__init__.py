"""What training minimises: distances of points and surfaces, overlap, image similarity and regularity of fields.

All functions are batch first, differentiable, and measure lengths in crop voxels; `weighted.WeightedLoss` adds them up.
"""

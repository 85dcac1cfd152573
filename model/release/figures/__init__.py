"""The published results, worked out again from folders of meshes and masks in the published layout."""

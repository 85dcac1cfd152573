"""Patient images: reading, judging, resampling, intensities, writing."""

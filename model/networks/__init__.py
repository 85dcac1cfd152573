"""Neural networks; importing their modules imports torch."""

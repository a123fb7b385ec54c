"""The roof: looks at every stage, may import every stage, and is imported by none."""

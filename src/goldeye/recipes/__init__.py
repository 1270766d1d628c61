"""Recipes: YAML files, one per row of a paper's table (hggt/…), and their tiny forms for a CPU (tiny/…)."""

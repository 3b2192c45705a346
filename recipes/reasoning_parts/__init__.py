"""What recipes/reasoning.py and recipes/reasoning_page.py are made of: measuring, and the gate. No recipe."""

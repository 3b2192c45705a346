"""What recipes/agreement.py and recipes/agreement_page.py are made of: the exact law, measuring, and the questions.

No recipe: nothing here is run by itself.
"""

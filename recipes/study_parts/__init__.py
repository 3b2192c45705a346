"""The parts of docs/study.md, which recipes/study_page.py puts together."""

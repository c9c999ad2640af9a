"""Asking hosted models for thousands of answers: what a chat service says (wire), how fast to ask it (pace), and the loop (engine).

>>> from evalharness.models.chat.engine import answers
"""

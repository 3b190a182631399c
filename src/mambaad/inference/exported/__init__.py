"""Exported models in their runtimes; none of this loads PyTorch but ``program_session.py``."""

"""Simulated robots. The only package that imports PyBullet; `mbrl_node` never imports it."""

"""Backbones of our own, for where no pretrained GPT-2 can be had."""

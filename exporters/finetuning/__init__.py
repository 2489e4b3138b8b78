"""Quantisation-aware fine-tuning of an int8 graph, in torch, with its float32 graph as the teacher."""

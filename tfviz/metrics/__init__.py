"""Faithfulness metrics: how well maps agree with the model and with annotated objects."""

"""One loop for pre-training and fine-tuning, and the parts it is built from."""

"""What a run says about itself, for people: the offline page (`page`) and the model card (`card`)."""

"""Where published weights come from, and how they get here whole.

download       one file over https: resumed, retried, verified
cache          the folder that keeps them
hugging_face   repositories by "owner/name"
google         the authors' own files: "augreg/ViT-S/16@224", "bit/R50x1-ILSVRC2012"

What is fetched follows from the name that a person gave, never from what a fetched file says; the one index that is
consulted can only choose among files beside it.
"""

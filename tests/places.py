"""Where real pictures and weights may stand beside the project; tests that want them skip where they do not."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = SHARED / "data"
WEIGHTS = SHARED / "weights" / "ViT-Ti_16-224-imagenet"

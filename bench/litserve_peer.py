"""LitServe's server for `bench.serve`: Transformers' ViT in its worker, in batches of up to 8 that wait 5 ms.

    python -m bench.litserve_peer FOLDER PORT

Its worker is started anew from this file, so the class stands at the top and the library is imported with it.
"""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]  # of an environment of its own
import torch
from PIL import Image

from tests import peers


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Base64 in JSON, as LitServe takes it."""

    folder = ""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own name
        """Load in the worker."""
        transformers = peers.transformers_library()
        self.processor = transformers.AutoImageProcessor.from_pretrained(self.folder)
        self.model = transformers.AutoModelForImageClassification.from_pretrained(self.folder).eval()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads a type as that of a query
        """A picture."""
        return Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")

    def predict(self, images: Any) -> Any:
        """The five likeliest of each."""
        with torch.inference_mode():
            logits = self.model(**self.processor(images=images, return_tensors="pt")).logits
        values, places = logits.softmax(dim=1).topk(5)
        return list(zip(values.tolist(), places.tolist(), strict=True))

    def encode_response(self, output: Any) -> Any:
        """As the others answer."""
        names = self.model.config.id2label
        pairs = zip(*output, strict=True)
        return {"predictions": [{"label": names[place], "probability": value} for value, place in pairs]}


def main() -> None:
    """Serve until ended."""
    api = Api(max_batch_size=8, batch_timeout=0.005, api_path="/v1/classify")
    api.folder = sys.argv[1]
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="critical", generate_client_file=False)


if __name__ == "__main__":
    main()

"""This interface in the form of OpenAPI 3.1, which /openapi.json answers. A test holds it against the routes."""

from __future__ import annotations

from typing import Any

from vitral.serving.refusals import CODES, phrase
from vitral.version import VERSION

Node = dict[str, Any]

STRING: Node = {"type": "string"}
NUMBER: Node = {"type": "number"}
WHOLE: Node = {"type": "integer"}
OBJECT: Node = {"type": "object"}

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {"code": STRING, "message": STRING, "request_id": STRING},
        }
    },
}

PROTOCOL_ERROR = {
    "type": "object",
    "required": ["error", "code", "request_id"],
    "properties": {"error": STRING, "code": STRING, "request_id": STRING},
}
"""Under /v2, whose clients want a sentence there."""

ENTRY_ERROR = {"type": "object", "required": ["code", "message"], "properties": {"code": STRING, "message": STRING}}

PREDICTION = {
    "type": "object",
    "required": ["label", "probability"],
    "properties": {
        "label": STRING,
        "description": STRING,
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
    },
}

MODEL = {
    "type": "object",
    "required": ["name", "ready"],
    "properties": {
        "name": STRING,
        "ready": {"type": "boolean"},
        "sha256": STRING,
        "family": STRING,
        "parameters": {"type": ["integer", "null"]},
        "device": STRING,
        "backend": STRING,
        "precision": STRING,
        "image_size": {"type": "array", "items": WHOLE},
        "num_classes": WHOLE,
        "multi_label": {"type": "boolean"},
        "calibrated": {"type": "boolean"},
        "temperature": NUMBER,
        "explanations": OBJECT,
        "loaded_at": NUMBER,
        "reload_error": {"type": ["string", "null"]},
    },
}

TENSOR: Node = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"enum": ["images", "pixels"]},
        "datatype": {"enum": ["BYTES", "UINT8"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 4},
        "data": {"type": "array", "description": "strings in base64, or numbers from 0 to 255"},
    },
}

TENSORS: Node = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": STRING,
                    "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 1},
                    "outputs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"enum": ["probabilities", "logits", "label"]}},
                        },
                    },
                },
            }
        }
    },
}

NAMES: Node = {
    "type": "object",
    "required": ["examples"],
    "properties": {"examples": {"type": "array", "items": STRING}},
}

BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

BINARY: Node = {"type": "string", "format": "binary"}

PLACE: Node = {"type": "integer", "minimum": -10_000, "maximum": 10_000}

WORDS: dict[str, Node] = {
    "model": {"schema": STRING, "description": "name of a served model; the first one if none is named"},
    "top": {"schema": {"type": "integer", "minimum": 1, "default": 5}, "description": "classes in the answer"},
    "method": {"schema": STRING, "description": "one of the model's explanations, see /v1/models"},
    "label": {"schema": STRING, "description": "the class that is asked about; the likeliest if none is named"},
    "layer": {"schema": PLACE, "description": "of the network, from 0; -1 is the last"},
    "head": {"schema": PLACE, "description": "of attention, from 0; the mean of all if none is named"},
    "opacity": {"schema": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}, "description": "of the map"},
}

REQUEST_HEADERS: list[Node] = [
    {
        "name": "x-request-timeout",
        "in": "header",
        "schema": {"type": "number", "minimum": 0.001, "exclusiveMaximum": 1e6},
        "description": "seconds that the client will wait",
    },
    {"name": "x-request-id", "in": "header", "schema": STRING, "description": "taken over into the answer"},
]

USUAL = (400, 401, 403, 404, 421, 500)
READS_BODY = (*USUAL, 408, 413, 415, 422, 429, 503, 504)


def document() -> Node:
    """The whole description."""
    results = _results({"predictions": {"type": "array", "items": PREDICTION}})
    embeddings = _results({"embedding": {"type": "array", "items": NUMBER}})
    picture = {"image/png": {"schema": {"type": "string", "format": "binary"}}, "application/json": {"schema": OBJECT}}
    classify = _of_pictures("The likeliest classes of each picture", _json(results), ("model", "top"))
    embed = _of_pictures("What the network's head sees of each picture", _json(embeddings), ("model",))
    words = ("model", "method", "label", "layer", "head", "opacity")
    explain = _of_pictures("Where in one picture the answer comes from", picture, words, (501,), {"maxItems": 1})
    infer = _post("Scores, by the Open Inference Protocol", TENSORS, _json(OBJECT), ())
    named, versioned = _path("name"), [*_path("name"), *_path("version")]
    model, ready = _get("A model's inputs and outputs", OBJECT, (503,)), _get("Is this model ready?", OBJECT, (503,))
    whole: Node = {
        "openapi": "3.1.0",
        "info": {
            "title": "vitral",
            "version": VERSION,
            "description": "Image classification with Vision Transformers.",
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR, "ProtocolError": PROTOCOL_ERROR, "Model": MODEL},
        },
        "security": [{}, {"key": []}],
        "paths": {
            "/v1/classify": {"post": classify},
            "/v1/embed": {"post": embed},
            "/v1/explain": {"post": explain},
            "/v1/models": {"get": _get("Every model", {"type": "object", "properties": {"models": {"type": "array"}}})},
            "/v1/models/{name}": {"parameters": named, "get": _get("One model, its classes and card", MODEL, (503,))},
            "/v1/examples": {"get": _get("Names of pictures to try", NAMES)},
            "/v1/examples/{place}": {
                "parameters": _path("place"),
                "get": _answers(
                    "A picture to try, by its place from 0", {"application/octet-stream": {"schema": BINARY}}, USUAL
                ),
            },
            "/v2": {"get": _get("Name and version of the server", OBJECT)},
            "/v2/health/live": {"get": _get("Is the server alive?", OBJECT)},
            "/v2/health/ready": {"get": _get("Is every model ready?", OBJECT, (503,))},
            "/v2/models/{name}": {"parameters": named, "get": model},
            "/v2/models/{name}/ready": {"parameters": named, "get": ready},
            "/v2/models/{name}/infer": {"parameters": named, "post": infer},
            "/v2/models/{name}/versions/{version}": {"parameters": versioned, "get": model},
            "/v2/models/{name}/versions/{version}/ready": {"parameters": versioned, "get": ready},
            "/v2/models/{name}/versions/{version}/infer": {"parameters": versioned, "post": infer},
            "/livez": {"get": _get("Is the server alive?", OBJECT)},
            "/readyz": {"get": _get("Is every model ready?", OBJECT, (503,))},
            "/metrics": {"get": _answers("Counters for Prometheus", {"text/plain": {"schema": STRING}}, USUAL)},
            "/openapi.json": {"get": _get("This document", OBJECT)},
        },
    }
    for path, node in whole["paths"].items():
        for verb in {"get", "post"} & set(node) if path.startswith("/v2") else ():
            for status, answer in node[verb]["responses"].items():
                if status != "200":
                    answer["content"] = _json({"$ref": "#/components/schemas/ProtocolError"})
    return whole


def _results(answer: Node) -> Node:
    entry = {
        "type": "object",
        "required": ["index", "name", "status"],
        "properties": {"index": WHOLE, "name": {"type": ["string", "null"]}, "status": WHOLE, "error": ENTRY_ERROR}
        | answer,
    }
    return {
        "type": "object",
        "required": ["model", "sha256", "request_id", "results"],
        "properties": {
            "model": STRING,
            "sha256": STRING,
            "request_id": STRING,
            "results": {"type": "array", "items": entry},
        },
    }


def _of_pictures(
    summary: str, content: Node, words: tuple[str, ...], further: tuple[int, ...] = (), most: Node | None = None
) -> Node:
    """A question about pictures, which come in a form, as JSON, or as the body itself; words may stand beside them."""
    beside = {name: WORDS[name]["schema"] for name in words}
    several: Node = {"type": "array", "minItems": 1} | (most or {})
    base64: Node = {"type": "string", "contentEncoding": "base64", "pattern": BASE64}
    named: Node = {"type": "object", "required": ["data"], "properties": {"data": base64, "name": STRING}}
    named["additionalProperties"] = False
    form: Node = {
        "type": "object",
        "required": ["picture"],
        "properties": {"picture": several | {"items": BINARY}} | beside,
        "additionalProperties": False,
    }
    written: Node = {
        "type": "object",
        "required": ["images"],
        "properties": {"images": several | {"items": {"oneOf": [base64, named]}}} | beside,
        "additionalProperties": False,
    }
    kinds = {"multipart/form-data": form, "application/json": written, "image/*": BINARY}
    kinds["application/octet-stream"] = BINARY
    body = {"required": True, "content": {kind: {"schema": schema} for kind, schema in kinds.items()}}
    return _post(summary, body, content, words, further)


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _get(summary: str, schema: Node, further: tuple[int, ...] = ()) -> Node:
    return _answers(summary, _json(schema), (*USUAL, *further))


def _post(summary: str, body: Node, content: Node, words: tuple[str, ...], further: tuple[int, ...] = ()) -> Node:
    parameters = [{"name": name, "in": "query"} | WORDS[name] for name in words]
    return {
        "requestBody": body,
        "parameters": [*parameters, *REQUEST_HEADERS],
        **_answers(summary, content, (*READS_BODY, *further)),
    }


def _answers(summary: str, content: Node, statuses: tuple[int, ...]) -> Node:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    responses: Node = {"200": {"description": summary, "content": content}}
    for status in sorted(set(statuses)):
        said = f"{phrase(status)} ({CODES[status]})"
        responses[str(status)] = {"description": said, "content": {"application/json": error}}
    return {"summary": summary, "responses": responses}


def _path(name: str) -> list[Node]:
    return [{"name": name, "in": "path", "required": True, "schema": STRING}]

"""Asks TensorFlow Serving over REST; needs nothing but Python."""

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from . import decoding, images
from .about import check_threshold
from .errors import UserError

_SECONDS = 30


class RestClient:
    """A model behind TensorFlow Serving's REST API.

    Args:
        server: "host:port", or a URL such as "https://example.com/serving".
        model: What the server calls the model.
        version: None for the latest version; a number or a label, such as "2" or "canary".
        threshold: None for the model's own, or a float. Applied here: JSON has no signature for files and a threshold.
        about: None or a dict as in `metadata.json`, for the size of the images and the names of the classes. REST
            cannot ask for it: the server refuses a signature without inputs there.
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        version: str | None = None,
        threshold: float | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        check_threshold(threshold, about)
        self._server = (server if "://" in server else f"http://{server}").rstrip("/")
        kind = "versions" if version and version.isdecimal() else "labels"
        suffix = f"/{kind}/{urllib.parse.quote(version, safe='')}" if version else ""
        self._url = f"{self._server}/v1/models/{urllib.parse.quote(model, safe='')}{suffix}:predict"
        self._threshold = threshold
        self._about = about

    def classify(self, content: bytes) -> dict[str, Any]:
        """Classifies a PNG or JPEG file.

        Args:
            content: bytes of the file.

        Returns:
            dict: "label", the class' name, or its number where names are not known; "confidence"; "accepted".

        Raises:
            UserError: If no server answers, or with an error.
            ValueError: If the file cannot be decoded, or has another size.
        """
        if self._about:
            images.check(content, self._about)
        else:
            decoding.read_header(content)
        instance = {"image_bytes": {"b64": base64.b64encode(content).decode()}}
        answer = self._predict({"signature_name": "serving_bytes", "instances": [instance]})[0]
        images.check_answer(answer)
        accepted = answer["accepted"]
        if self._threshold is not None:
            accepted = answer.get("score", answer["confidence"]) >= self._threshold
        return {"label": self._name(answer["label"]), "confidence": answer["confidence"], "accepted": accepted}

    def _name(self, label):
        if not self._about:
            return str(label)
        names = self._about["data"]["class_names"]
        if label >= len(names):
            raise UserError(f"{self._url} answers class {label}; the metadata, with {len(names)}, are another model's")
        return names[label]

    def _predict(self, body):
        headers = {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                return json.load(response)["predictions"]
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise UserError(f"{self._url} answers {error.code}: {text or error.reason}") from error
        except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise UserError(
                f"no TensorFlow Serving answers at {self._server}: {reason}; name another --server"
            ) from error

"""Write docs/wire-vectors.json: `python -m tests.write_wire_vectors`."""

from __future__ import annotations

import json

from tests import wire_hostile, wire_spec, wire_vectors

PATH = wire_spec.ROOT / "docs" / "wire-vectors.json"


def build() -> str:
    """Return the text of the file."""
    vectors: wire_vectors.Json = {
        "format": 1,
        "version": 1,
        "frames": wire_vectors.frames(),
        "sequences": wire_vectors.sequences(),
        "hostile": wire_hostile.hostile(),
        "sessions": wire_hostile.sessions(),
    }
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(build())

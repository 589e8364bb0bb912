#!/bin/sh
# The build writes the sha256 of the manifest that it made beside the model; a worker serves no other.
set -eu
if [ -z "${MODEL_MANIFEST_SHA256:-}" ]; then
    read -r MODEL_MANIFEST_SHA256 _ < /models/manifest.sha256
    export MODEL_MANIFEST_SHA256
fi
exec "$@"

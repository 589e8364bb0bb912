#!/bin/sh
# The model folder to bake: `docker/export.sh OUT GIVEN CHECKPOINT`, from the repository's root.
# In this order: the folder GIVEN; seeded weights where ALLOW_UNTRAINED is a seed; CHECKPOINT/weights.pt; the published
# weights, downloaded. MODEL and PRETRAINED say which; EXPORT_ARGS describes a checkpoint that is not the published one.
# Ends with an error unless the folder's weights are those that PRETRAINED names.
set -eu
out=$1 given=$2 checkpoint=$3
python=${PYTHON:-python}
if [ -e "$given/manifest.json" ]; then
    cp -R "$given" "$out"
elif [ -n "${ALLOW_UNTRAINED:-}" ]; then
    "$python" -m export onnx --model "$MODEL" --untrained "$ALLOW_UNTRAINED" --out "$out"
elif [ -e "$checkpoint/weights.pt" ]; then
    # shellcheck disable=SC2086  # several arguments
    "$python" -m export onnx --model "$MODEL" --checkpoint "$checkpoint/weights.pt" ${EXPORT_ARGS:-} --out "$out"
else
    "$python" -m export onnx --model "$MODEL" --pretrained "$PRETRAINED" --out "$out"
fi
"$python" - "$out" "$PRETRAINED" "${ALLOW_UNTRAINED:-}" << 'PYTHON'
import sys
from pathlib import Path

from heimdex_clip.encoder import manifest
from heimdex_clip.errors import ClipError

folder, asked, allow_untrained = sys.argv[1:]
try:
    made = manifest.load(Path(folder))
except ClipError as error:
    sys.exit(f"export.sh: {error}")
if made.untrained and not allow_untrained:
    sys.exit(f"export.sh: the weights are untrained ({made.pretrained}); ALLOW_UNTRAINED=SEED bakes such on purpose")
if not made.untrained and made.pretrained != asked:
    sys.exit(f"export.sh: the weights are {made.pretrained}, not {asked}")
PYTHON

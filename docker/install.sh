#!/bin/sh
# Install the libraries of an image's lanes into an empty folder: `docker/install.sh LANES SITE [CUDA]`, from the
# repository's root. LANES is a list such as tensorrt,cuda; CUDA is 13 or 12. UV and PYTHON name the tools.
# The image's build and `make image-budget` both run it, so they cannot differ.
set -eu
lanes=$1 site=$2 cuda=${3:-13}
for lane in $(echo "$lanes" | tr , ' '); do
    lock=requirements/image-$lane.txt
    if [ "$cuda" != 13 ]; then
        lock=requirements/image-$lane-cuda$cuda.txt
    fi
    if [ ! -e "$lock" ]; then
        echo "install.sh: the lane $lane has no build for CUDA $cuda" >&2
        exit 1
    fi
    # --no-deps: the lock is complete, and what docker/leave-out*.txt names must not come back.
    "${UV:-uv}" pip install --quiet --python "${PYTHON:-python}" --target "$site" --no-deps --require-hashes \
        --only-binary :all: --no-compile-bytecode --link-mode copy -r "$lock"
done
"${PYTHON:-python}" docker/prune.py "$site" docker/prune.txt

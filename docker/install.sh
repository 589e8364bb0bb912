#!/bin/sh
# Install one lane's libraries into an empty folder: `docker/install.sh LANE SITE`, from the repository's root.
# UV and PYTHON name the tools. The image's build and `make image-budget` both run it, so they cannot differ.
set -eu
lane=$1 site=$2
# --no-deps: the lock is complete, and what docker/leave-out*.txt names must not come back.
"${UV:-uv}" pip install --quiet --python "${PYTHON:-python}" --target "$site" --no-deps --require-hashes \
    --only-binary :all: --no-compile-bytecode --link-mode copy -r "requirements/image-$lane.txt"
"${PYTHON:-python}" docker/prune.py "$site" docker/prune.txt

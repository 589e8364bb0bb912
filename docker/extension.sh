#!/bin/sh
# Compile the resampler's C extension into a folder: `docker/extension.sh FOLDER`, from the repository's root.
# PYTHON names the interpreter, which needs setuptools; the result serves every later one. The image's build and
# `make image-budget` both run it, so they cannot differ.
set -eu
folder=$1
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
LDFLAGS="${LDFLAGS:-} -s" "${PYTHON:-python}" setup.py --quiet build_ext --build-temp "$scratch" --build-lib "$folder"
# setup.py calls the extension optional, and so its failure a warning. An image is not built without it.
test -s "$folder/heimdex_clip/encoder/_resample.abi3.so"

#!/bin/sh
# Copy what one lane reads of a model folder: `docker/model.sh LANE FROM TO [ENGINES]`. The manifest is copied as it is,
# so one digest stands for every image of a model. ENGINES is a glob of engine folders (tensorrt only; all by default).
set -eu
lane=$1 from=$2 to=$3 engines=${4:-tensorrt-sm*}
mkdir -p "$to"
cp -p "$from/manifest.json" "$from/golden.npz" "$from/tokenizer.json" "$to/"
case $lane in
cpu) cp -p "$from"/*.fp32.onnx* "$to/" ;;
cuda) cp -p "$from"/*.fp16.onnx* "$to/" ;;
tensorrt)
    found=
    for engine in "$from"/engines/$engines; do
        [ -d "$engine" ] || continue
        mkdir -p "$to/engines"
        cp -pR "$engine" "$to/engines/"
        found=1
    done
    if [ -z "$found" ]; then
        echo "model.sh: $from/engines has no $engines; build one where the GPU is: python -m export engine" >&2
        exit 1
    fi
    ;;
*)
    echo "model.sh: no lane $lane; there are cpu, cuda and tensorrt" >&2
    exit 1
    ;;
esac

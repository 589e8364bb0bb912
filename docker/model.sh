#!/bin/sh
# Copy what an image's lanes read of a model folder: `docker/model.sh LANES FROM TO [SM]`. The manifest is copied as it
# is, so one digest stands for every image of a model. SM is a list of compute capabilities such as 86,89 (default:
# all); LANES one such as tensorrt,cuda. Every file that is copied is held to its hash in the manifest.
set -eu
lanes=$1 from=$2 to=$3 capabilities=${4:-all}
mkdir -p "$to"
cp -p "$from/manifest.json" "$from/golden.npz" "$from/tokenizer.json" "$to/"

# engines FLAVOUR: all of them, or those for one of the capabilities
engines() {
    found=
    for engine in "$from/engines/$1"-sm*; do
        [ -d "$engine" ] || continue
        for capability in $(echo "$capabilities" | tr , ' '); do
            case ${engine##*/}- in *-sm"$capability"-*) ;; *) [ "$capability" = all ] || continue ;; esac
            mkdir -p "$to/engines"
            cp -pR "$engine" "$to/engines/"
            found=1
        done
    done
    if [ -z "$found" ]; then
        echo "model.sh: $from/engines has no $1 engine for sm $capabilities; python -m export engine builds it" >&2
        exit 1
    fi
}

for lane in $(echo "$lanes" | tr , ' '); do
    case $lane in
    cpu) cp -p "$from"/*.fp32.onnx* "$to/" ;;
    cuda) cp -p "$from"/*.fp16.onnx* "$to/" ;;
    tensorrt | tensorrt-rtx) engines "$lane" ;;
    *)
        echo "model.sh: no lane $lane; there are cpu, cuda, tensorrt and tensorrt-rtx" >&2
        exit 1
        ;;
    esac
done
"${PYTHON:-python}" docker/check_model.py "$to"

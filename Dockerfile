# syntax=docker/dockerfile:1
# One image a lane: `docker buildx bake cpu|cuda|tensorrt|tensorrt-rtx`; LANES=tensorrt,cuda makes one of both, which takes
# the best that its GPU can run. See docs/performance.md for where each megabyte goes.
#
# Slim, because the worker needs Python and certificates and no compiler; 3.12, because every package of the locks has
# a wheel for it and it is maintained longer than 3.11. For a release give it by digest:
#   --build-arg BASE=python@sha256:...
ARG BASE=python:3.12-slim-trixie
ARG LANES=cpu
# 13, or 12 for the lane tensorrt on older drivers.
ARG CUDA=13
# Where engines come from: `given` (the model folder holds them, built where the GPU is) or `rtx` (built here, without one).
ARG ENGINE=given

# Named contexts take the place of these: `--build-context checkpoint=FOLDER` with weights.pt in it, and
# `--build-context model=FOLDER`, a whole model folder with its engines.
FROM scratch AS checkpoint
FROM scratch AS model

FROM ${BASE} AS tools
WORKDIR /src
COPY requirements/bootstrap.txt requirements/bootstrap.txt
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
ENV PYTHONDONTWRITEBYTECODE=1

# ---- the model: exported here, or the folder that was given -------------------------------------------------------
FROM tools AS export
COPY requirements/export.txt requirements/export.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --system --no-deps --require-hashes --link-mode copy -r requirements/export.txt
COPY heimdex_clip heimdex_clip
COPY export export
COPY docker/export.sh docker/export.sh
ARG MODEL=ViT-B-32
# The published weights or none, unless another name is given here.
ARG PRETRAINED=openai
ARG EXPORT_ARGS=
# Only for trying things out: the seed of weights whose vectors carry no meaning.
ARG ALLOW_UNTRAINED=
RUN --mount=type=bind,from=checkpoint,target=/checkpoint \
    --mount=type=bind,from=model,target=/given \
    --mount=type=cache,target=/root/.cache/heimdex-clip \
    MODEL="${MODEL}" PRETRAINED="${PRETRAINED}" EXPORT_ARGS="${EXPORT_ARGS}" ALLOW_UNTRAINED="${ALLOW_UNTRAINED}" \
    sh docker/export.sh /model /given /checkpoint

# ---- its engines --------------------------------------------------------------------------------------------------
FROM export AS engine-given

FROM export AS engine-rtx
COPY requirements/engine.txt requirements/engine.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --system --no-deps --require-hashes --link-mode copy -r requirements/engine.txt
ARG ENGINE_SM=86,89,120
RUN python -m export engine /model --flavour tensorrt-rtx --sm "${ENGINE_SM}"

# hadolint ignore=DL3006
FROM engine-${ENGINE} AS engine

# ---- the resampler, compiled; only this stage has a compiler ------------------------------------------------------
FROM tools AS extension
# Whichever compiler the distribution has: whole arithmetic gives every one the same bytes.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY setup.py setup.py
COPY heimdex_clip/encoder/csrc heimdex_clip/encoder/csrc
COPY docker/extension.sh docker/extension.sh
RUN sh docker/extension.sh /extension

# ---- what the lanes need of it, and their libraries ---------------------------------------------------------------
FROM tools AS libraries
ARG LANES
ARG CUDA
COPY docker docker
COPY requirements requirements
RUN --mount=type=cache,target=/root/.cache/uv sh docker/install.sh "${LANES}" /site "${CUDA}"
COPY heimdex_clip /app/heimdex_clip
COPY worker /app/worker
COPY --from=extension /extension /app
RUN rm -r /app/heimdex_clip/encoder/csrc && PYTHONPATH=/app:/site python docker/bytecode.py /app /site

FROM tools AS cpu-libraries
COPY docker docker
COPY requirements requirements
RUN --mount=type=cache,target=/root/.cache/uv sh docker/install.sh cpu /site

FROM tools AS lane-model
ARG LANES
# Compute capabilities whose given engines to ship, such as 86,89.
ARG SHIP_SM=all
COPY docker docker
COPY heimdex_clip heimdex_clip
RUN --mount=type=bind,from=engine,source=/model,target=/model \
    sh docker/model.sh "${LANES}" /model /models/model "${SHIP_SM}" \
    && sha256sum /models/model/manifest.json > /models/manifest.sha256

# ---- the image: libraries, then model, then code, by how seldom they change ---------------------------------------
FROM ${BASE} AS runtime
ARG LANES
# What WORKER_RUNTIME is: the image's one lane. Where it has several, `auto` has to be given.
ARG RUNTIME=${LANES}
ARG ALLOW_UNTRAINED=
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heimdex-clip" \
    org.opencontainers.image.description="CLIP embedding worker, lanes ${LANES}" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# NVIDIA_*: what the container runtime hands in. LD_LIBRARY_PATH: where the wheels of the CUDA lane keep their libraries.
# RUNPOD_SKIP_*: the SDK's own start checks dial a public resolver and run GPU programs; the self-test is the check.
ENV PYTHONPATH=/app:/site \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LD_LIBRARY_PATH=/site/nvidia/cu13/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ORT_DISABLE_TELEMETRY=1 \
    RUNPOD_SERVERLESS=1 \
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS=true \
    RUNPOD_SKIP_GPU_CHECK=true \
    CLIP_MODEL_DIR=/models/model \
    WORKER_RUNTIME=${RUNTIME} \
    ALLOW_UNTRAINED_MODEL=${ALLOW_UNTRAINED:+1}
COPY --from=libraries /site /site
COPY --from=lane-model /models /models
COPY --from=libraries /app /app
COPY docker/entrypoint.sh docker/healthcheck.py LICENSE /app/
WORKDIR /app
# The base has certificates of its own, so nothing is installed for them.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
    && case "${WORKER_RUNTIME}" in *,*) echo "several LANES need RUNTIME=auto" >&2 && exit 1 ;; esac
USER 65534:65534
# The manifest that is baked, the code and the libraries, proven on the CPU: with the fp32 graphs, which a GPU image does
# not ship, and ONNX Runtime from outside where the lane has none. Nothing of it stays in the image.
RUN --mount=type=bind,from=engine,source=/model,target=/proof \
    --mount=type=bind,from=cpu-libraries,source=/site,target=/cpu \
    PYTHONPATH=/app:/site:/cpu CLIP_MODEL_DIR=/proof WORKER_RUNTIME=cpu sh /app/entrypoint.sh python -m worker selftest
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "/app/healthcheck.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/bin/sh", "/app/entrypoint.sh"]
CMD ["python", "-m", "worker"]

// docker buildx bake cpu|cuda|tensorrt|tensorrt-rtx|gpu
//
//   docker buildx bake cuda --set '*.contexts.model=models/ViT-B-32-openai'         a folder that is exported already
//   docker buildx bake cuda --set '*.contexts.checkpoint=FOLDER'                    FOLDER/weights.pt, no download
//   docker buildx bake tensorrt --set '*.contexts.model=models/ViT-B-32-openai'     with its engines, built on a GPU

variable "NAME" { default = "heimdex-clip" }
variable "TAG" { default = "dev" }
variable "REVISION" { default = "unknown" }
variable "BASE" { default = "python:3.12-slim-trixie" }
variable "MODEL" { default = "ViT-B-32" }
variable "PRETRAINED" { default = "openai" }
variable "EXPORT_ARGS" { default = "" }
variable "ALLOW_UNTRAINED" { default = "" }
variable "CUDA" { default = "13" }
variable "ENGINE_SM" { default = "86,89,120" }
variable "SHIP_SM" { default = "all" }

group "default" { targets = ["cpu", "cuda"] }

target "lane" {
  target    = "runtime"
  platforms = ["linux/amd64"]
  args = {
    BASE            = BASE
    MODEL           = MODEL
    PRETRAINED      = PRETRAINED
    EXPORT_ARGS     = EXPORT_ARGS
    ALLOW_UNTRAINED = ALLOW_UNTRAINED
    CUDA            = CUDA
    ENGINE_SM       = ENGINE_SM
    SHIP_SM         = SHIP_SM
    VERSION         = TAG
    REVISION        = REVISION
  }
}

target "cpu" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-cpu"]
  args     = { LANES = "cpu" }
}

target "cuda" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-cuda"]
  args     = { LANES = "cuda" }
}

target "tensorrt" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-tensorrt"]
  args     = { LANES = "tensorrt" }
}

// Built without a GPU; compiles for the device at its first start.
target "tensorrt-rtx" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-tensorrt-rtx"]
  args     = { LANES = "tensorrt-rtx", ENGINE = "rtx" }
}

// The engine where one fits the GPU, CUDA elsewhere.
target "gpu" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-gpu"]
  args     = { LANES = "tensorrt,cuda", RUNTIME = "auto" }
}

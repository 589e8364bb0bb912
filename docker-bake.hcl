// docker buildx bake cpu|cuda|tensorrt
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
variable "ENGINES" { default = "tensorrt-sm*" }

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
    ENGINES         = ENGINES
    VERSION         = TAG
    REVISION        = REVISION
  }
}

target "cpu" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-cpu"]
  args     = { LANE = "cpu" }
}

target "cuda" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-cuda"]
  args     = { LANE = "cuda" }
}

target "tensorrt" {
  inherits = ["lane"]
  tags     = ["${NAME}:${TAG}-tensorrt"]
  args     = { LANE = "tensorrt" }
}

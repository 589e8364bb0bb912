"""The ways to an embedding: RunPod's queue, the HTTP door, the model in this process. One interface (`base`)."""

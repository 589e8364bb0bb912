"""The HTTP door: routes before the one embedding service, and nothing that the service does itself.

::

    app ── probes       /ping /health /metrics
        ├─ embed        /v1/embed/*      the queue's bodies, the contract's replies
        ├─ embeddings   /v1/embeddings   OpenAI's form, translated by `openai`
        ├─ apidocs      /openapi.json /docs
        └─ playground   /
            all of them -> door (state), body (reading), replies (status and headers)
"""

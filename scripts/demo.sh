#!/usr/bin/env bash
# The main job on real input, from nothing: releases of two upstream packages become validated tasks, a shard and a
# training run.
# Run it again and it goes on where it stopped; what was decided is not done twice.
set -euo pipefail
cd "$(dirname "$0")/.."
export VERIFACTORY_HOME=.verifactory  # where examples/sft_tiny/sft.toml looks for its shard
home=$VERIFACTORY_HOME
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

step "What this machine has"
verifactory doctor

step "Upstream releases → environments → validated, certified, published tasks"
verifactory run swe --source releases --package cachetools --package parse --limit 2

step "What became of every candidate"
verifactory funnel
verifactory tasks ls

step "A shard of supervised examples, and a few training steps on it"
rm -rf "$home/demo"
verifactory export sft "$home/demo/shard"
verifactory train sft examples/sft_tiny/sft.toml

step "Done. Look around:"
cat <<TXT
  .venv/bin/verifactory tasks show \$(.venv/bin/verifactory sql --csv "SELECT task_id FROM task_overview LIMIT 1" | tail -1)
  .venv/bin/verifactory sql "SELECT * FROM yield_by_source"
  .venv/bin/verifactory export harbor $home/demo/harbor
TXT

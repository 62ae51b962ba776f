#!/usr/bin/env bash
# Build, test, sanitize and measure kronla on a machine with a GPU, in at most 9 minutes and without a network:
#
#   bench/gpu.sh              everything; ends with a short table
#   bench/gpu.sh --dry-run    what can be done without a GPU, on small inputs
#   bench/gpu.sh --help       the stages, and how to choose some
#
# OUT     where logs and results.json go (default: bench/results/<device>)
# PYTHON  the Python that has torch (default: python3)
# KRONLA_COMMIT  what results.json says of the version where there is no git (default: unknown)
# WHEELS  a folder of wheels of packages that this Python lacks (pybind11, pytest, ...)
set -u
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=${PYTHON:-python3}
if ! command -v -- "$PYTHON" > /dev/null; then
  echo "bench/gpu.sh: there is no '$PYTHON'; set PYTHON to one that has torch." >&2
  exit 1
fi
export PYTHONUNBUFFERED=1
exec "$PYTHON" -m bench.gpu "$@"

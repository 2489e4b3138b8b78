#!/bin/sh
# Builds TensorRT plans of the named networks for the GPU that is here, and leaves those alone that it built before.
# Usage: plans.sh NETWORK...
set -eu
for network in "$@"; do
  if [ -e "$REELTAG_MODEL_REPOSITORY/$network/passport.json" ]; then
    reeltag export "$network" --rebuild-stale
  else
    reeltag export "$network" --runtime tensorrt
  fi
done

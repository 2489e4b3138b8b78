#!/bin/sh
# Builds TensorRT plans of the named networks for the GPU that is here, and leaves those alone that it built before.
# Usage: plans.sh [--edge] NETWORK...
set -eu
profile=
if [ "$1" = --edge ]; then
  # For one picture at a time; in fp32, because fp16 is chosen on pictures, which are not here.
  profile="--profile edge --precision fp32"
  shift
fi
for network in "$@"; do
  if [ -e "$REELTAG_MODEL_REPOSITORY/$network/passport.json" ]; then
    reeltag export "$network" --rebuild-stale
  else
    # shellcheck disable=SC2086  # two options, or none
    reeltag export "$network" --runtime tensorrt $profile
  fi
done

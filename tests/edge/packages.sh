#!/bin/sh
# Installs what the tests of the edge use of Debian: GStreamer with an RTSP server, and an MQTT broker.
# Does nothing where it cannot; those tests then skip and say what is missing.
set -u
command -v apt-get >/dev/null || exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
packages="python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-libav mosquitto"
# shellcheck disable=SC2086  # several words
dpkg -s $packages >/dev/null 2>&1 && exit 0
export DEBIAN_FRONTEND=noninteractive
# A broker that Debian starts by itself would be in nobody's way, but nobody asked for it.
install() { RUNLEVEL=1 $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1; }
install || { $as_root apt-get update -qq >/dev/null 2>&1 && install; } ||
  echo "not all could be installed; as root: apt-get install $packages"

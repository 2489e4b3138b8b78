#!/bin/sh
# Installs the shared libpython that Triton's Python backend needs, where the Python of Debian or Ubuntu came without.
# Usage: libpython.sh PYTHON. Does nothing where it cannot; `reeltag` then says what is missing.
set -u
version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $("$1" -c 'import sys; print(sys.base_prefix)') in /usr) ;; *) exit 0 ;; esac
command -v apt-get >/dev/null || exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
echo "Installing libpython$version, which Triton's Python backend needs"
$as_root apt-get install -y -qq "libpython$version" >/dev/null 2>&1 ||
  { $as_root apt-get update -qq && $as_root apt-get install -y -qq "libpython$version"; } >/dev/null 2>&1 ||
  echo "libpython$version could not be installed; as root: apt-get install libpython$version"

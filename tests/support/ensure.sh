#!/bin/sh
# ensure.sh COMMAND WHAT [PACKAGE]: succeed when COMMAND is there; else install PACKAGE by apt-get where that is
# allowed; else say in one line what is needed and fail.
command=$1 what=$2 package=${3:-$1}
command -v "$command" >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing $package with apt-get"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null && exit 0
fi
echo "ktframe's tests need $what (Debian: apt-get install $package)"
exit 1

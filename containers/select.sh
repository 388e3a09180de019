#!/bin/sh
# Copy what containers/sources.txt lists for a component: select.sh COMPONENT FROM TO
set -eu
paths=$(awk -v component="$1" '!/^#/ { for (i = 2; i <= NF; i++) if ($i == component) print $1 }' \
    "$2/containers/sources.txt")
mkdir -p "$3"
for path in $paths; do
    mkdir -p "$3/$(dirname "$path")"
    cp -R "$2/$path" "$3/$path"
done

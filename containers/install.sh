#!/bin/sh
# Install a component's locked packages, each file by its hash: from the wheelhouse alone where it
# holds wheels, else from whatever index pip is set up for.
set -eu
if ls /build/wheelhouse/*.whl >/dev/null 2>&1; then
    set -- --no-index --find-links /build/wheelhouse "$@"
fi
exec python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --only-binary :all: --requirement "$@"

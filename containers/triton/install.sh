#!/bin/sh
# Install a Triton server without an image registry: the wheel's server in a virtual environment of
# its own (it needs numpy 1), and our `onnxruntime` backend. Tests, image and users all do it so:
#
#   sh containers/triton/install.sh [--gpu] FOLDER [pip option...]
#
# With --gpu the backend computes on a CUDA device, with CUDA's and cuDNN's wheels (some 2 GB).
# FOLDER/bin/tritonserver is then what `--tritonserver`, BUSBENCH_TRITONSERVER or PATH should name.
# PYTHON names the interpreter (python3.11 unless set).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
locked=triton-server
if [ "${1:-}" = --gpu ]; then locked=triton-server-gpu && shift; fi
mkdir -p "$1" && to=$(cd "$1" && pwd) && shift
"${PYTHON:-python3.11}" -m venv "$to"
# without dependencies: the wheel's own ask for a whole client, and for what its Python part needs
"$to/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps \
    --require-hashes --only-binary :all: --requirement "$here/../locks/$locked.txt" "$@"

eval "$("$to/bin/python" -c '
import sys, sysconfig
print("site=%s lib=%s version=%d.%d" % (
    sysconfig.get_path("purelib"), sysconfig.get_config_var("LIBDIR"), *sys.version_info[:2]))')"
wheel=$site/pytriton/tritonserver
mkdir -p "$to/backends/onnxruntime"
cp -R "$wheel/backends/python" "$to/backends/"
# the stub runs our backend; it must be the one made for this Python
stub=$to/backends/python/triton_python_backend_stub
cp "$wheel/python_backend_stubs/$version/triton_python_backend_stub" "$stub"
cp "$here/model.py" "$to/backends/onnxruntime/"

libraries=$lib:$site/nvidia_pytriton.libs
code=0 && LD_LIBRARY_PATH=$libraries "$stub" >/dev/null 2>&1 || code=$?
if [ "$code" != 1 ]; then # it asks for arguments, if it can start
    LD_LIBRARY_PATH=$libraries ldd "$stub" | grep 'not found' >&2 || true
    echo "Triton's stub does not start; Debian has libpython$version.so in libpython$version" >&2
    exit 1
fi

# The stub finds this environment as `python3` on the PATH would, and ignores PYTHONPATH.
cat >"$to/bin/tritonserver.new" <<EOF
#!/bin/sh
export PATH="$to/bin:\$PATH"
# what is there may name the folder of the GPU's driver
export LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "$wheel/bin/tritonserver" --backend-directory="$to/backends" "\$@"
EOF
chmod +x "$to/bin/tritonserver.new"
mv "$to/bin/tritonserver.new" "$to/bin/tritonserver" # last: its presence means done

#!/bin/sh
# triton.sh FOLDER    In a build stage: lay out the server of the wheel in FOLDER/python as it wants to be found: the
# program, its Python backend beside the stub for this Python, and the libraries of both. The wheel's rest goes.
set -eu
folder=$1
server=$folder/python/pytriton/tritonserver
mkdir -p "$folder/bin" "$folder/backends" "$folder/lib"
mv "$server/bin/tritonserver" "$folder/bin/"
mv "$server/backends/python" "$folder/backends/python"
mv "$server/python_backend_stubs/3.11/triton_python_backend_stub" "$folder/backends/python/"
mv "$folder"/python/nvidia_pytriton.libs/* "$folder/lib/"
rm -rf "$folder/python/pytriton" "$folder/python/nvidia_pytriton.libs"
rm -rf "$folder/backends/python/__pycache__"
# The stub loads this Python's shared library.
for place in /usr/local/lib /usr/lib/*-linux-gnu; do
  if [ -e "$place/libpython3.11.so.1.0" ]; then cp "$place/libpython3.11.so.1.0" "$folder/lib/"; fi
done
missing=$(LD_LIBRARY_PATH=$folder/lib ldd "$folder/bin/tritonserver" \
  "$folder/backends/python/triton_python_backend_stub" "$folder/backends/python/libtriton_python.so" | grep 'not found' || true)
if [ -n "$missing" ]; then echo "libraries that Triton needs are missing: $missing" >&2; exit 1; fi

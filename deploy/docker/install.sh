#!/bin/sh
# install.sh FOLDER LOCK    In a build stage: install what a lock file pins into FOLDER, from wheels alone, each with its
# hash; then take away what no program needs at run time, and compile what is left, because images are read-only.
set -eu
folder=$1 lock=$2

# Trust and package index of the machine that builds, from build secrets: they stay out of every layer.
if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi
if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi
python -m pip install --quiet --no-input --disable-pip-version-check --root-user-action ignore --no-compile \
  --no-deps --require-hashes --only-binary :all: --target "$folder" -r "$lock"

cd "$folder"
rm -rf bin
# Tests and their data, headers and libraries to build against, sources of compiled modules.
find . -depth -type d \( -name tests -o -name testing -path './sqlalchemy/*' -o -name include \) -exec rm -rf {} +
find . -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.a' \
  -o -name '*.pyi' -o -name '*.c' -o -name '*.cc' -o -name '*.cpp' \) -delete
rm -rf onnx/backend/test onnx/reference onnx/fuzz numpy/distutils
# A second copy of the runtime, for programs in C; tools that convert models.
rm -rf onnxruntime/capi/libonnxruntime.so* onnxruntime/tools onnxruntime/transformers onnxruntime/quantization
# Arrow's network protocol and stores elsewhere: Parquet is read and written on files.
rm -rf pyarrow/libarrow_flight* pyarrow/libarrow_python_flight* pyarrow/_flight* pyarrow/libarrow_s3* pyarrow/src
# The same library under two further names.
find pyarrow -name 'libarrow_python*.so' -o -name 'libarrow_python*.so.*.*.*' 2>/dev/null | while read -r name; do
  rm -f "$name"
done
python /strip.py .
python -m compileall -q -j 0 --invalidation-mode unchecked-hash . || true

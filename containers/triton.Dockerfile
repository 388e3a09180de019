# Inference with a Triton server in it: evaluator, client and server in one image, because the
# container that sees the test images has no network. Run with `tritonserver` as its entry point, it
# is the server alone. Build from the project's root:
#   docker build -f containers/triton.Dockerfile -t busbench/triton .
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${BASE_IMAGE} AS sources
COPY containers/select.sh containers/sources.txt /build/containers/
COPY evaluator /build/evaluator
RUN sh /build/containers/select.sh triton /build /app

FROM ${BASE_IMAGE}
COPY containers/wheelhouse /build/wheelhouse
COPY containers/triton /build/triton
COPY containers/locks/triton.txt containers/locks/triton-server.txt /build/locks/
COPY containers/install.sh containers/sbom.py /build/
RUN sh /build/install.sh /build/locks/triton.txt
# The server's Python backend needs the shared libpython, which Debian's own Python leaves out.
RUN python -c "import ctypes, sysconfig; ctypes.CDLL(sysconfig.get_config_var('INSTSONAME'))" || \
    { apt-get update && apt-get install --yes --no-install-recommends libpython3.11 && \
      rm -rf /var/lib/apt/lists/*; }
RUN if ls /build/wheelhouse/*.whl >/dev/null 2>&1; then \
        export PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheelhouse; \
    fi && \
    PYTHON=python sh /build/triton/install.sh /opt/triton && \
    ln -s /opt/triton/bin/tritonserver /usr/local/bin/ && \
    python /build/sbom.py busbench/triton /usr/share/busbench/sbom.cdx.json \
        /opt/triton/lib/python3.*/site-packages && rm -rf /build
COPY --from=sources /app /app
# As in evaluator.Dockerfile.
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN for level in x86-64-v3 generic; do \
        NUMBA_CPU_NAME=$level python -c "import evaluator.inference.resampling" || exit 1; done
USER 65532:65532
ENTRYPOINT ["python", "-m", "evaluator"]

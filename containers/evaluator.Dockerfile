# The evaluator's images: COMPONENT is `infer` (gate and inference: ONNX, no labels), `infer-gpu`
# (inference with CUDA and cuDNN) or `score` (metrics, no ONNX). Build from the project's root:
#   docker build -f containers/evaluator.Dockerfile --build-arg COMPONENT=score -t busbench/score .
# On a machine without a registry, name an image that it has: --build-arg BASE_IMAGE=NAME. What is
# installed is listed in /usr/share/busbench/sbom.cdx.json.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# Only the component's own modules go on to the image.
FROM ${BASE_IMAGE} AS sources
ARG COMPONENT
COPY containers/select.sh containers/sources.txt /build/containers/
COPY evaluator /build/evaluator
RUN sh /build/containers/select.sh "${COMPONENT}" /build /app

FROM ${BASE_IMAGE}
ARG COMPONENT
COPY containers/wheelhouse /build/wheelhouse
COPY containers/install.sh containers/sbom.py containers/locks/${COMPONENT}.txt /build/
RUN sh /build/install.sh /build/${COMPONENT}.txt && \
    python /build/sbom.py "busbench/${COMPONENT}" /usr/share/busbench/sbom.cdx.json && rm -rf /build
COPY --from=sources /app /app
# What is compiled is cached now, since the container cannot write it later, and for any processor
# (evaluator/compiled.py), since the image may move.
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN if [ "${COMPONENT}" = score ]; then loops=evaluator.metrics.kernel; \
    else loops=evaluator.inference.resampling; fi; \
    for level in x86-64-v3 generic; do \
        NUMBA_CPU_NAME=$level python -c "import $loops" || exit 1; done
USER 65532:65532
ENTRYPOINT ["python", "-m", "evaluator"]

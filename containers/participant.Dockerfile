# The reference networks as a participant: trains from the training bundle, leaves a submission.
# Build from the project's root:
#   docker build -f containers/participant.Dockerfile -t busbench/participant .
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${BASE_IMAGE}
COPY containers/wheelhouse /build/wheelhouse
COPY containers/install.sh containers/sbom.py containers/locks/participant.txt /build/
RUN sh /build/install.sh /build/participant.txt && \
    python /build/sbom.py busbench/participant /usr/share/busbench/sbom.cdx.json && rm -rf /build
COPY reference_models /app/reference_models
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python", "-m", "reference_models"]

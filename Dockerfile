# dropscribe as an image. Two targets: `cpu` (the default), with Whisper and sphinx, and `gpu`, with every stage; the
# latter runs without a GPU, too.
#   docker build --tag dropscribe:cpu .
#   docker build --tag dropscribe:gpu --target gpu .
# With weights inside; without, they are mounted or come from a bucket (docs/operations.md, Models):
#   docker build --build-context weights=FOLDER --build-arg MODELS=/opt/dropscribe/models .
#
# What changes rarely lies below what changes often: system, libraries, weights, code. A change of code alone makes the
# last layer anew, and that is all that is pushed. CUDA's libraries come in the wheels that were tested with them, so
# that no CUDA base image, with the same libraries once more, is needed; the driver is the host's.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

# ── libraries: each file by its hash, and nothing but what the lock file names ─────────────────────────────────────────

FROM ${PYTHON} AS cpu-libraries
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY infra/image/cpu.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --no-deps --require-hashes --only-binary :all: --no-compile -r cpu.txt
# The image is read-only when it runs, so Python's own cache is made here. By content, not by time: the same files in,
# the same layer out. What cannot be compiled (templates, other Pythons' syntax) is never imported.
RUN /opt/venv/bin/python -m compileall -qq --invalidation-mode unchecked-hash /opt/venv/lib || true

FROM ${PYTHON} AS gpu-libraries
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY infra/image/gpu.txt infra/image/gpu-sources.txt ./
# Second, without isolation, what has to be built: by the setuptools of gpu.txt, which has a hash, too.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --no-deps --require-hashes --only-binary :all: --no-compile -r gpu.txt \
    && pip --python /opt/venv/bin/python install --no-deps --require-hashes --no-build-isolation --no-compile \
    -r gpu-sources.txt
RUN /opt/venv/bin/python -m compileall -qq --invalidation-mode unchecked-hash /opt/venv/lib || true

# ── code ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

# An environment of the same name as the final one, so that the command that is installed names the right Python.
FROM ${PYTHON} AS code
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY infra/image/build.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --no-deps --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY handler handler
COPY pipeline pipeline
RUN pip --python /opt/venv/bin/python install --no-deps --no-index --no-build-isolation --no-compile --no-cache-dir \
    --prefix /code . \
    && /opt/venv/bin/python -m compileall -qq --invalidation-mode unchecked-hash -s /code -p /opt/venv /code/lib

# ── weights: `--build-context weights=FOLDER` puts a folder in this stage's place ──────────────────────────────────────

FROM scratch AS weights
COPY infra/image/models/ /

# ── what runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FROM ${PYTHON} AS runtime
RUN groupadd --gid 10001 dropscribe \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin dropscribe \
    && install --directory --owner dropscribe --group dropscribe /var/lib/dropscribe
ARG MODELS=""
# Writable must be /tmp (recordings that are being worked on: twice the largest one) and, where models are fetched,
# /var/lib/dropscribe. All else may be read-only.
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DROPSCRIBE_HOME=/var/lib/dropscribe \
    DROPSCRIBE_WORK_DIR=/tmp/dropscribe \
    DROPSCRIBE_MODELS=${MODELS} \
    DROPSCRIBE_HTTP_PORT=9981
WORKDIR /var/lib/dropscribe
# For `work` and `listen`, which answer on that port. A worker is alive while it loads its models, so five seconds do.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['DROPSCRIBE_HTTP_PORT']}/livez\", timeout=4)"]
ENTRYPOINT ["dropscribe"]
CMD ["--help"]

FROM runtime AS gpu
# What NVIDIA's container runtime reads: which GPUs, and which of the driver's libraries.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --link --from=gpu-libraries /opt/venv /opt/venv
COPY --link --from=weights / /opt/dropscribe/models/
COPY --link --from=code /code /opt/venv
USER 10001:10001

FROM runtime AS cpu
COPY --link --from=cpu-libraries /opt/venv /opt/venv
COPY --link --from=weights / /opt/dropscribe/models/
COPY --link --from=code /code /opt/venv
USER 10001:10001

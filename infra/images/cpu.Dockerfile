# Smoke tests and small studies on CPUs: docker build --file infra/images/cpu.Dockerfile --tag undertow:0.1.0-cpu .
FROM python:3.11-slim-bookworm
# Ray's liveness checks use wget.
RUN apt-get update && apt-get install --yes --no-install-recommends libnuma1 procps wget && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 ray
WORKDIR /home/ray/undertow
COPY requirements/cpu.lock requirements/cpu.lock
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements/cpu.lock
COPY . .
RUN pip install --no-cache-dir --no-deps . && chown -R ray /home/ray
USER ray
ENV OMP_NUM_THREADS=1 RAY_AUTH_MODE=token RAY_JOB_STOP_WAIT_TIME_S=90

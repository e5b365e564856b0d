# Clusters with GPUs: docker build --file infra/images/gpu.Dockerfile --tag undertow:0.1.0-gpu .
FROM nvidia/cuda:13.0.1-devel-ubuntu22.04
# The devel image brings nvcc, with which DeepSpeed builds its ops.
RUN apt-get update && apt-get install --yes --no-install-recommends software-properties-common \
    && add-apt-repository --yes ppa:deadsnakes/ppa \
    && apt-get install --yes --no-install-recommends g++ procps python3.11-dev python3.11-venv wget \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 ray
WORKDIR /home/ray/undertow
ENV PATH=/home/ray/venv/bin:$PATH
RUN python3.11 -m venv /home/ray/venv
COPY requirements/gpu.lock requirements/gpu.lock
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements/gpu.lock
COPY . .
RUN pip install --no-cache-dir --no-deps . && chown -R ray /home/ray
USER ray
ENV OMP_NUM_THREADS=1 RAY_AUTH_MODE=token RAY_JOB_STOP_WAIT_TIME_S=90

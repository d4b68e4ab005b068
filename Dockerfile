# CPU:   docker build -t mmprune .
# CUDA:  docker build -t mmprune --build-arg BASE=nvidia/cuda:12.8.1-devel-ubuntu22.04 --build-arg FORCE_CUDA=1 .
# Run:   docker run --rm mmprune make quickstart
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# 1 compiles mmcv's CUDA operators although no GPU is visible while the image is built
ARG FORCE_CUDA=0
ARG TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6 8.9 9.0"
ENV FORCE_CUDA=${FORCE_CUDA} TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST} \
    DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 \
    VENV=/opt/mmprune PYTHON=python3.11

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential git libgl1 libglib2.0-0 \
    && { command -v python3.11 || apt-get install -y --no-install-recommends python3.11-dev python3.11-venv; } \
    && rm -rf /var/lib/apt/lists/*

# The environment first: it changes less often than the code
WORKDIR /mmprune
COPY Makefile ./
COPY requirements ./requirements
RUN make deps

COPY . .
RUN make env
ENV PATH=/opt/mmprune/bin:${PATH}
CMD ["bash"]

# awsllm serve in a container: Python, PyTorch for the CPU, and two small models.
#
#     docker build -t awsllm .
#     docker run --rm -p 127.0.0.1:8900:8900 -e AWSLLM_API_KEY=... awsllm
#
# What listens at 0.0.0.0 needs a key (AWSLLM_API_KEY, or a file of it in AWSLLM_API_KEY_FILE). MODELS are baked in; with
# none, mount a cache at /var/cache/awsllm.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG MODELS="smollm2-135m-instruct all-minilm-l6-v2"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 AWSLLM_CACHE=/var/cache/awsllm
WORKDIR /src
RUN python -m venv /opt/awsllm
ENV PATH=/opt/awsllm/bin:$PATH
COPY constraints.txt ./
RUN pip install --constraint constraints.txt torch --index-url "${TORCH_INDEX}"
COPY pyproject.toml README.md LICENSE ./
COPY awsllm ./awsllm
RUN pip install --constraint constraints.txt '.[serve,cli]' \
    && mkdir -p "$AWSLLM_CACHE" \
    && for model in $MODELS; do awsllm models pull "$model" || exit 1; done

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin awsllm \
    && install -d -o awsllm -g awsllm /var/cache/awsllm /var/lib/awsllm
COPY --from=build /opt/awsllm /opt/awsllm
COPY --from=build --chown=awsllm:awsllm /var/cache/awsllm /var/cache/awsllm
ENV PATH=/opt/awsllm/bin:$PATH AWSLLM_CACHE=/var/cache/awsllm PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8900
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8900/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["awsllm", "serve", "--host", "0.0.0.0", "--port", "8900"]
CMD ["--access-log"]

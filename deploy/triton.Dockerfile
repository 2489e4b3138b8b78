# NVIDIA's Triton of the release that the wheel `nvidia-pytriton` carries (2.51), built from the project's root.
# Target `triton` serves; target `exporter` builds plans with the TensorRT that `triton` runs them with.
FROM nvcr.io/nvidia/tritonserver:24.10-py3 AS base

COPY requirements/serve.lock /opt/reeltag/requirements/serve.lock
# What the backends `decode`, `nms` and `areas` import.
RUN pip install --no-cache-dir --constraint /opt/reeltag/requirements/serve.lock \
      numpy opencv-python-headless pillow simplejpeg

FROM base AS triton

# What `decode` needs on the GPU, for this container's CUDA 12.6 and Python 3.10: 2.9 GiB of wheels, most of them torch's
# own CUDA libraries. Without them `decode` says so and decodes on the CPU.
RUN pip install --no-cache-dir --constraint /opt/reeltag/requirements/serve.lock \
      torch==2.7.1 nvidia-nvimgcodec-cu12==0.9.0.20 nvidia-nvjpeg-cu12==12.3.3.54
# Reads each plan's passport first: what this TensorRT, driver or GPU cannot run is left out by name.
COPY deploy/serve_plans.py /opt/reeltag/deploy/serve_plans.py
USER 1000:1000
# A socket in a folder that only this user can enter, and no port: whoever reaches Triton's protocols is its user.
CMD ["python3", "/opt/reeltag/deploy/serve_plans.py", "/models", \
     "tritonserver", "--model-repository=/models", "--model-control-mode=explicit", \
     "--allow-http=false", "--allow-metrics=false", "--grpc-address=unix:/run/triton/grpc", "--grpc-port=1"]

FROM base AS exporter

WORKDIR /opt/reeltag
COPY requirements/dev.lock requirements/dev.lock
# TensorRT's Python module in the version of this container, without libraries of its own: it finds the container's.
RUN pip install --no-cache-dir --constraint requirements/serve.lock --constraint requirements/dev.lock \
      'tritonclient[grpc]' googleapis-common-protos grpcio httpx ml-dtypes onnx onnxruntime pycocotools pydantic \
      pydantic-settings rich typer \
 && pip install --no-cache-dir tensorrt-cu12-bindings==10.5.0 \
 && printf 'from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n' \
      > "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tensorrt.py"
COPY pyproject.toml README.md LICENSE ./
COPY reeltag reeltag
COPY exporters exporters
COPY gateway gateway
COPY vod vod
COPY edge edge
COPY model_repository model_repository
COPY deploy/plans.sh deploy/plans.sh
RUN pip install --no-cache-dir --no-deps -e . \
 && install --directory --owner=1000 --group=1000 /models
USER 1000:1000
ENV REELTAG_MODEL_REPOSITORY=/models
CMD ["sh", "deploy/plans.sh", "nanodet_g", "efficientnet_lite0", "transnetv2"]

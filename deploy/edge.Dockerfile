# As triton.Dockerfile, for Jetson with JetPack 6: NVIDIA's container for the GPU that shares the CPU's memory.
# It was not built here, where no Jetson is.
FROM nvcr.io/nvidia/tritonserver:24.10-py3-igpu AS triton

COPY requirements/serve.lock /opt/reeltag/requirements/serve.lock
# What the backends `decode`, `nms` and `areas` import.
RUN pip install --no-cache-dir --constraint /opt/reeltag/requirements/serve.lock \
      numpy opencv-python-headless pillow simplejpeg
USER 1000:1000
# A socket in a folder that only this user can enter, and no port: whoever reaches Triton's protocols is its user.
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=explicit", "--load-model=*", \
     "--allow-http=false", "--allow-metrics=false", "--grpc-address=unix:/run/triton/grpc", "--grpc-port=1"]

FROM triton AS exporter

USER 0
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
CMD ["sh", "deploy/plans.sh", "--edge", "nanodet_g", "efficientnet_lite0"]

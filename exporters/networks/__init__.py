"""Networks of the catalogue, one file each; the catalogue names it.

A torch network's file has `load(folders) -> torch.nn.Module`, where `folders` are those of the unpacked packages by
name; one that was published in ONNX has `load_onnx(path) -> onnx.ModelProto`.
"""

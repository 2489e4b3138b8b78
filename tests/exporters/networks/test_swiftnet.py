"""SwiftNet against a reference that is written straight from the published description, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporters.catalogue import entries
from exporters.catalogue.entries import CHECKPOINT_MODELS
from exporters.catalogue.palettes import CITYSCAPES19
from reeltag.errors import InputError, InvalidOption

torch: Any = pytest.importorskip("torch")

NAMES = ["swiftnet_rn18", "swiftnet_rn18_pyramid", "swiftnet_mobilenetv2"]


def lively(name: str, classes: int = 5, **options: str) -> Any:
    """A network whose batch norms and biases are not those of a fresh one."""
    torch.manual_seed(4)
    network: Any = entries.network(name, classes, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return network


class Reference:
    """The published computation as functions of a state dict."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def norm(self, x: Any, key: str) -> Any:
        values = (self.state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return torch.nn.functional.batch_norm(x, *values, eps=1e-5)

    def conv(self, x: Any, key: str, stride: int = 1) -> Any:
        weight = self.state[f"{key}.weight"]
        bias = self.state.get(f"{key}.bias")
        return torch.nn.functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def norm_relu_conv(self, x: Any, key: str) -> Any:
        return self.conv(self.norm(x, f"{key}.norm").relu(), f"{key}.conv")

    def stages(self, x: Any, level: str = "") -> list[Any]:
        """Before the last ReLU; `level` is what the pyramid adds to the keys of batch norms."""
        x = self.norm(self.conv(x, "backbone.conv1", 2), f"backbone.bn1{level}").relu()
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        stages = []
        for stage in (1, 2, 3, 4):
            for block in (0, 1):
                key = f"backbone.layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                short = x
                if stride == 2:
                    short = self.norm(self.conv(x, f"{key}.downsample.0", 2), f"{key}.downsample.1")
                y = self.norm(self.conv(x, f"{key}.conv1", stride), f"{key}.bn1{level}").relu()
                total = self.norm(self.conv(y, f"{key}.conv2"), f"{key}.bn2{level}") + short
                x = total.relu()
            stages.append(total)
        return stages

    def resize(self, x: Any, like: Any) -> Any:
        return torch.nn.functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)

    def normalised(self, images: Any) -> Any:
        mean = torch.tensor([73.15, 82.90, 72.3]).view(1, 3, 1, 1)
        return (images - mean) / torch.tensor([47.67, 48.49, 47.73]).view(1, 3, 1, 1)

    def single_scale(self, images: Any) -> Any:
        features = [stage.relu() for stage in self.stages(self.normalised(images))]
        x = self.norm_relu_conv(features[3], "backbone.spp.spp.spp_bn")
        height, width = x.shape[-2:]
        parts = [x]
        for index, rows in enumerate((8, 4, 2)):
            grid = (rows, max(1, round(width / height * rows)))
            pooled = torch.nn.functional.adaptive_avg_pool2d(x, grid)
            parts.append(self.resize(self.norm_relu_conv(pooled, f"backbone.spp.spp.spp{index}"), x))
        x = self.norm_relu_conv(torch.cat(parts, 1), "backbone.spp.spp.spp_fuse")
        for index, skip in enumerate(features[2::-1]):
            lateral = self.norm_relu_conv(skip, f"backbone.upsample.{index}.bottleneck")
            x = self.norm_relu_conv(self.resize(x, lateral) + lateral, f"backbone.upsample.{index}.blend_conv")
        return self.resize(self.norm_relu_conv(x, "logits"), images)

    def pyramid(self, images: Any) -> Any:
        inputs = self.normalised(images)
        by_stride: dict[int, list[Any]] = {}
        for level, scale in enumerate((1.0, 0.5, 0.25)):
            scaled = inputs
            if level:
                scaled = torch.nn.functional.interpolate(inputs, scale_factor=scale, mode="bicubic")
            for index, stage in enumerate(self.stages(scaled, f".{level}")):
                features = self.conv(stage, f"backbone.upsample_bottlenecks.{3 - index}")
                by_stride.setdefault(4 * 2 ** (index + level), []).append(features)
        x = by_stride.pop(128)[0]
        for index, stride in enumerate((64, 32, 16, 8, 4)):
            total = sum(by_stride[stride])
            x = self.norm_relu_conv(self.resize(x, total) + total, f"backbone.upsample_blends.{index}.blend_conv")
        return self.resize(self.norm_relu_conv(x, "logits"), images)


@pytest.mark.parametrize("size", [(64, 128), (96, 160)])
@pytest.mark.parametrize("name", NAMES[:2])
def test_the_network_computes_what_was_published(name: str, size: tuple[int, int]) -> None:
    network = lively(name)
    images = torch.rand(2, 3, *size) * 255
    reference = Reference(network.state_dict())
    with torch.inference_mode():
        found = network(images)
        expected = reference.pyramid(images) if "pyramid" in name else reference.single_scale(images)
    assert found.shape == (2, 5, *size)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_as_many_as_the_catalogue_says(name: str) -> None:
    with torch.device("meta"):
        network = entries.network(name)
    assert sum(weights.numel() for weights in network.parameters()) == CHECKPOINT_MODELS[name].parameters


def test_the_papers_sizes_are_met() -> None:
    assert round(CHECKPOINT_MODELS["swiftnet_rn18"].parameters / 1e6, 1) == 11.8
    assert round(CHECKPOINT_MODELS["swiftnet_mobilenetv2"].parameters / 1e6, 1) == 2.4


def test_weights_of_torchvisions_mobilenet_fit_the_encoder() -> None:
    with torch.device("meta"):
        state = entries.network("swiftnet_mobilenetv2").state_dict()
    assert state["backbone.features.0.0.weight"].shape == (32, 3, 3, 3)
    assert state["backbone.features.1.conv.1.weight"].shape == (16, 32, 1, 1)
    assert state["backbone.features.17.conv.2.weight"].shape == (320, 960, 1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_any_size_divisible_by_32_and_no_other(name: str) -> None:
    network: Any
    with torch.device("meta"):
        network = entries.network(name, 3)
        for size in ((256, 512), (512, 1024), (1024, 2048), (32, 32), (416, 416)):
            assert network(torch.empty(1, 3, *size)).shape == (1, 3, *size)
        with pytest.raises(ValueError, match=r"256x500 pixels \(rows x columns\); both must be multiples of 32"):
            network(torch.empty(1, 3, 256, 500))


@pytest.mark.parametrize("name", NAMES)
def test_nearest_upsampling_repeats_scores_and_takes_the_same_weights(name: str) -> None:
    network = lively(name, upsampling="nearest")
    assert list(network.state_dict()) == list(lively(name).state_dict())
    with torch.inference_mode():
        scores = network(torch.rand(1, 3, 64, 64) * 255)
    blocks = scores.reshape(1, 5, 16, 4, 16, 4)
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()


def test_a_training_checkpoint_loads_and_one_of_another_dataset_is_explained(tmp_path: Path) -> None:
    from exporters.sources.checkpoint import load_network

    state = lively("swiftnet_rn18", 11).state_dict()
    path = tmp_path / "model_best.pt"
    torch.save(state | {"criterion.weight": torch.ones(3)}, path)
    loaded = load_network("swiftnet_rn18", path, 11)
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in state.items())
    with pytest.raises(InputError, match=r"logits\.conv\.weight has shape \(11, .*swiftnet_rn18 with 11 classes"):
        load_network("swiftnet_rn18", path)


def test_wrong_options_say_what_would_be_right() -> None:
    with pytest.raises(InvalidOption, match="there are: bilinear, nearest"):
        entries.network("swiftnet_rn18", upsampling="cubic")
    with pytest.raises(InvalidOption, match="at most 255"):
        entries.network("swiftnet_rn18", 257)
    with pytest.raises(InvalidOption, match=r"swiftnet_rn18 has no activation to choose; .* upsampling"):
        entries.network("swiftnet_rn18", activation="relu")
    with pytest.raises(InvalidOption, match="yolox_s has no upsampling to choose"):
        entries.network("yolox_s", upsampling="nearest")


def test_every_cityscapes_class_has_its_colour() -> None:
    labels = CHECKPOINT_MODELS["swiftnet_rn18"].labels
    assert len(labels) == len(CITYSCAPES19) == len(set(CITYSCAPES19)) == 19
    assert CITYSCAPES19[labels.index("car")] == (0, 0, 142)


@pytest.mark.parametrize(("size", "tolerance"), [((256, 256), 0.0022), ((128, 160), 0.0042)])
def test_int8_answers_alike_in_onnxruntime_and_openvino(
    size: tuple[int, int], tolerance: float, tmp_path: Path
) -> None:
    """With a free batch, as it is served: OpenVINO refused products of matrices, and mixed up odd concatenations."""
    from exporters.graphs.compare import sample_frames
    from exporters.precision.convert import int8_for_speed
    from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source

    openvino: Any = pytest.importorskip("openvino")
    onnxruntime: Any = pytest.importorskip("onnxruntime")
    torch.save({"model": lively("swiftnet_rn18", 19).state_dict()}, tmp_path / "weights.pth")
    source = checkpoint_source("swiftnet_rn18", Checkpoint(tmp_path / "weights.pth", size=size))
    frames = sample_frames(source.spec, 2)
    graph = int8_for_speed(source.graph, frames[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    expected = session.run(["CLASS_MAP"], {"FRAMES": frames})[0]
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    different = compiled([frames])[compiled.output("CLASS_MAP")] != expected
    assert different.mean() < tolerance

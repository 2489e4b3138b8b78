"""The manifests of deploy/kubernetes: valid, of one piece, true to the code, and what they start runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from reeltag.settings import Settings
from tests.deploy.containers import container
from tests.deploy.images import ROOT, stages
from tests.deploy.test_compose import SERVICES, triton_shim, wait_until_healthy
from tests.gateway.fakes import FakeTagger, encoded, gateway, wait_until

FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest Kubernetes that these are held against, and the newest."""
MANIFESTS: list[dict[str, Any]] = [
    manifest for path in sorted(FOLDER.glob("*.yaml")) for manifest in yaml.safe_load_all(path.read_text())
]
TAGS = {service["image"] for service in SERVICES.values() if "build" in service}


def of_kind(kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in MANIFESTS:
        if "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_manifest_fits_its_schema(version: str) -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)
    wrong = {**of_kind("Service", "reeltag"), "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_everything_that_is_named_is_there() -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS}
    readme = (FOLDER / "README.md").read_text()
    secrets = set(re.findall(r"create secret generic (\S+)", readme))
    labels = [pod["metadata"]["labels"] for _, pod in pods()]
    for manifest in MANIFESTS:
        text = yaml.safe_dump(manifest)
        assert {
            name for _, name in re.findall(r"(secretName|secretKeyRef:\n +key: secret\n +name): (\S+)", text)
        } <= secrets
        for selector in re.findall(r"(?:matchLabels|selector):\n +(app: \S+)", text):
            assert dict([selector.split(": ")]) in labels
        if manifest["kind"] not in ("Namespace",):
            assert manifest["metadata"]["namespace"] == of_kind("Namespace", "reeltag")["metadata"]["name"]
    for _, pod in pods():
        for volume in pod["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made
        names = {volume["name"] for volume in pod["spec"]["volumes"]}
        for one in containers(pod):
            assert {mount["name"] for mount in one["volumeMounts"]} <= names
            assert one["image"] in TAGS
    scaled = of_kind("HorizontalPodAutoscaler", "triton")["spec"]
    assert (scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"]) in made


def test_pods_keep_to_the_restricted_profile() -> None:
    for _, pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not spec.get("hostNetwork")
        for one in containers(pod):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["limits"]["memory"]


def test_settings_ports_and_probes_are_those_of_the_gateway() -> None:
    data = of_kind("ConfigMap", "reeltag")["data"]
    fields = {f"REELTAG_{field.upper()}": field for field in Settings.model_fields}
    settings = Settings(host="0.0.0.0", **{fields[name]: value for name, value in data.items()})
    (gateway_container,) = of_kind("Deployment", "reeltag")["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in gateway_container["ports"]] == [settings.port, settings.grpc_port]
    assert {env["name"] for env in gateway_container["env"]} <= set(fields)
    mounts = {mount["name"]: mount["mountPath"] for mount in gateway_container["volumeMounts"]}
    assert settings.keys_file is not None
    assert str(settings.keys_file.parent) == mounts["keys"]
    grace = of_kind("Deployment", "reeltag")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.drain_seconds + 10 <= grace
    assert settings.drain_seconds >= 2 * gateway_container["readinessProbe"]["periodSeconds"]
    with gateway(FakeTagger()) as client:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert client.get(gateway_container[probe]["httpGet"]["path"]).status_code == 200
    # A variable that Kubernetes sets for the Service `reeltag` would be taken for the port.
    assert of_kind("Deployment", "reeltag")["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_gateway_knows_every_triton_that_may_be_started() -> None:
    urls = of_kind("ConfigMap", "reeltag")["data"]["REELTAG_TRITON_URL"].split(",")
    scaled = of_kind("HorizontalPodAutoscaler", "triton")["spec"]
    (port,) = of_kind("Service", "triton")["spec"]["ports"]
    assert of_kind("StatefulSet", "triton")["spec"]["serviceName"] == "triton"
    assert urls == [f"triton-{number}.triton:{port['port']}" for number in range(scaled["maxReplicas"])]


def test_only_the_gateway_and_workers_reach_triton() -> None:
    spec = of_kind("NetworkPolicy", "triton")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    assert [peer["podSelector"]["matchLabels"] for rule in spec["ingress"] for peer in rule["from"]] == [
        {"app": "reeltag"},
        {"app": "worker"},
    ]


def test_the_metric_of_the_autoscaler_is_scraped() -> None:
    """The series in the adapter's rule are in what the gateway answers after a request."""
    rules = yaml.safe_load(of_kind("ConfigMap", "prometheus-adapter-reeltag")["data"]["config.yaml"])
    (rule,) = rules["externalRules"]
    (metric,) = of_kind("HorizontalPodAutoscaler", "triton")["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    with gateway(FakeTagger()) as client:
        assert client.post("/v1/images", content=encoded()).status_code == 200
        scraped = client.get("/metrics").text
    series = set(re.findall(r"(reeltag_\w+\{[^}]*\})", rule["seriesQuery"] + rule["metricsQuery"]))
    assert len(series) == 2
    for one in series:
        assert re.search(rf"^{re.escape(one)} ", scraped, re.MULTILINE), f"{one} is not in /metrics"


def test_both_pods_start_and_answer(tmp_path: Path, model_repository: Path) -> None:
    """Triton with its restricted protocols, and the gateway that knows the secret, as in test_compose."""
    plans, keys = tmp_path / "models", tmp_path / "keys"
    shutil.copytree(model_repository, plans)
    for path in (plans, *plans.rglob("*")):
        shutil.chown(path, 1000, 1000)
    keys.mkdir()
    (keys / "keys.json").write_text("[]")
    (triton,) = of_kind("StatefulSet", "triton")["spec"]["template"]["spec"]["containers"]
    arguments = [argument.replace("$(TRITON_SECRET)", "sesame") for argument in triton["args"]]
    stage = stages(ROOT / "deploy/triton.Dockerfile")["triton"]
    stage.runs.append("pip install openvino")
    pod = {"read_only": True, "user": "1000:1000", "tmpfs": ["/tmp:exec,mode=1777"]}
    served = {**pod, "command": [*triton["command"], *arguments], "shm_size": "1gb", "volumes": ["models:/models"]}
    data = of_kind("ConfigMap", "reeltag")["data"]
    # Both share one network here, so Triton is at the port, and the gateway's gRPC must be at another.
    environment = {
        **data,
        "REELTAG_TRITON_URL": "127.0.0.1:8001",
        "REELTAG_GRPC_PORT": "0",
        "REELTAG_DRAIN_SECONDS": "0",
    }
    asking = {**pod, "volumes": ["keys:/keys:ro"]}
    (tmp_path / "triton").mkdir()
    with container(served, stage, tmp_path / "triton", {"models": plans}, triton_shim(tmp_path)) as server:
        for number, secret in enumerate(("sesame", "open")):
            folder = tmp_path / str(number)
            folder.mkdir()
            asking["environment"] = {**environment, "REELTAG_TRITON_SECRET": secret}
            stage = stages(ROOT / "deploy/Dockerfile")["gateway"]
            with container(asking, stage, folder, {"keys": keys}, network_of=server) as client:
                if secret == "sesame":
                    wait_until_healthy(client)  # every task has answered an image
                    continue
                wait_until(lambda: b"serves" in client.log.read_bytes(), 60)
                refused = client.run(["python", "-m", "gateway.probe"])
                assert refused.returncode == 1
                assert b"Triton is not ready" in refused.stderr

"""What `/openapi.json` allows is taken, what it does not allow is refused, and it describes every answer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reeltag.errors import ReeltagError
from reeltag.settings import Settings
from tests.gateway.fake_jobs import FakeJobs
from tests.gateway.fakes import FakeTagger, gateway

WIDE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    with gateway(FakeTagger(("detect", "classify", "segment", "detect_classify")), settings, jobs=FakeJobs()) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def check(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Hold an answer against its description."""
    described = document["paths"][path][answer.request.method.lower()]["responses"]
    assert str(answer.status_code) in described, f"{answer.status_code} is not described: {answer.text}"
    response = described[str(answer.status_code)]
    if answer.status_code in (201, 204):
        assert not answer.content
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in response["content"]
    schema = {**response["content"][media_type]["schema"], "components": document["components"]}
    jsonschema.validate(answer.json() if media_type == "application/json" else answer.text, schema)
    assert ("retry-after" in answer.headers) <= ("Retry-After" in response.get("headers", {}))


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a parameter's schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "array":
            return st.lists(values_of(schema["items"]), min_size=1, max_size=4)
        case "string":
            return st.from_regex(schema["pattern"].replace("$", r"\Z"))
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(schema["minimum"], schema["maximum"])
        case "boolean":
            return st.sampled_from(["true", "false"])
    raise AssertionError(schema)


def picture(media_type: str) -> bytes:
    kind = media_type.partition("/")[2].upper()
    buffer = io.BytesIO()
    Image.new("RGB", (16, 9)).save(buffer, kind if kind in ("JPEG", "PNG", "WEBP", "BMP") else "JPEG")
    return buffer.getvalue()


@WIDE
@given(data=st.data())
def test_what_it_allows_is_taken(client: httpx.Client, document: dict[str, Any], data: st.DataObject) -> None:
    operation = document["paths"]["/v1/images"]["post"]
    parameters = [p for p in operation["parameters"] if p["name"] != "model"]  # the names of those that are served
    chosen, headers = (
        data.draw(st.fixed_dictionaries({}, optional={p["name"]: values_of(p["schema"]) for p in of_kind}))
        for of_kind in ([p for p in parameters if p["in"] == where] for where in ("query", "header"))
    )
    media_type = data.draw(st.sampled_from(sorted(operation["requestBody"]["content"])))
    url = f"/v1/images?{urlencode(chosen, doseq=True)}"
    if media_type == "multipart/form-data":
        schema = operation["requestBody"]["content"][media_type]["schema"]
        assert schema["additionalProperties"] is False
        least = schema["properties"]["file"]["minItems"]
        count = data.draw(st.integers(least, 4))
        answer = client.post(url, files=[("file", ("a", picture("image/png")))] * count, headers=headers)
    else:
        answer = client.post(url, content=picture(media_type), headers={"Content-Type": media_type, **headers})
    assert answer.status_code == 200, answer.text
    check(document, "/v1/images", answer)


@WIDE
@given(
    name=st.sampled_from(["tasks", "model", "score_threshold", "top_k", "class_map", "no_such_thing"]),
    value=st.one_of(
        st.text(max_size=8),
        st.integers().filter(lambda number: not -1 < number < 1001),
        st.floats().filter(lambda number: not 0 <= number <= 1 and not number.is_integer()),  # 2.0 is taken for 2
        st.sampled_from(["null", "None", "NaN", "inf", "1e999", "0x1", "[]", "\0", "detect;classify", "segment,"]),
    ),
)
def test_what_it_does_not_allow_is_refused(
    client: httpx.Client, document: dict[str, Any], name: str, value: object
) -> None:
    try:
        query = urlencode({name: value})
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    answer = client.post(f"/v1/images?{query}", content=picture("image/png"), headers={"Content-Type": "image/png"})
    check(document, "/v1/images", answer)
    if answer.status_code == 200:  # spaces around names, and every spelling of a truth value, are taken as well
        assert name in ("tasks", "class_map", "score_threshold", "top_k")
        assert str(value).strip().lower() in ("detect", "0", "1", "t", "f", "y", "n", "yes", "no", "on", "off", "true")
    else:
        assert answer.status_code == 422 or (name, answer.status_code) == ("model", 404)


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "image/jxl", "*/*", "image/jpeg2", "a"])
def test_other_content_types_are_refused(client: httpx.Client, document: dict[str, Any], media_type: str) -> None:
    headers = {"Content-Type": media_type}
    answer = client.post("/v1/images", content=picture("image/jpeg"), headers=headers)
    assert answer.status_code == 415
    check(document, "/v1/images", answer)


def test_bad_bodies_have_described_answers(client: httpx.Client, document: dict[str, Any]) -> None:
    png = picture("image/png")
    assert len(png) > 60
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for content, headers, status in (
        (b"", {}, 400),
        (b"text", {}, 415),
        (png[:50], {}, 422),
        (b"--x--\r\n", form, 422),
        (b"--x", form, 400),
        (png, {"Content-Type": "multipart/form-data"}, 400),
    ):
        answer = client.post("/v1/images", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        check(document, "/v1/images", answer)


def test_each_operation_takes_its_methods_and_no_others(client: httpx.Client, document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        described = {method.upper() for method in operations}
        taken = described | ({"HEAD"} if "GET" in described else set())
        for method in METHODS:
            answer = client.request(method, path)
            if method in taken:
                # Without a body, and of a job and an upload that are not there.
                expected = (404, 412, 415) if path.startswith(("/v1/jobs/", "/v1/uploads")) else (200, 400, 415)
                assert answer.status_code in (*expected, 204), (method, path)
                if method in described:
                    check(document, path, answer)
            else:
                assert answer.status_code == 405, (method, path)
                assert set(answer.headers["Allow"].split(", ")) == taken


def test_head_is_get_without_a_body(client: httpx.Client) -> None:
    for path in ("/", "/healthz", "/readyz", "/v1/models", "/docs", "/openapi.json"):
        got, headed = client.get(path), client.head(path)
        assert (headed.status_code, headed.content) == (got.status_code, b"")
        for header in ("content-length", "content-type", "location"):
            assert headed.headers.get(header) == got.headers.get(header)
    assert 'method="HEAD",route="/healthz",status="200"' in client.get("/metrics").text


def test_every_example_is_one_of_its_schema(document: dict[str, Any]) -> None:
    seen = 0
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if int(status) >= 400:
                    assert "example" in content["application/json"], (operation["operationId"], status)
                for described in content.values():
                    if "example" in described:
                        schema = {**described["schema"], "components": document["components"]}
                        jsonschema.validate(described["example"], schema)
                        seen += 1
    assert seen > 40


def test_errors_are_described_by_those_that_exist(document: dict[str, Any]) -> None:
    codes = {code_of(kind): kind.status for kind in _kinds(ReeltagError)}
    codes |= {"not_an_image": 415, "outside_roots": 422, "internal_error": 500}
    for operations in document["paths"].values():
        for operation in operations.values():
            described = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
            for status, answer in described.items():
                assert codes[answer["content"]["application/json"]["example"]["error"]["code"]] == status
                assert ("Retry-After" in answer.get("headers", {})) == (status in (429, 503, 504))


def test_operations_have_short_names_and_say_where_keys_go(document: dict[str, Any]) -> None:
    operations = {path: next(iter(those.values())) for path, those in document["paths"].items()}
    assert {path: operation["operationId"] for path, operation in operations.items()} == {
        "/v1/images": "tag_images",
        "/v1/models": "models",
        "/v1/jobs": "submit_job",
        "/v1/jobs/{job_id}": "get_job",
        "/v1/jobs/{job_id}/videos": "list_job_videos",
        "/v1/jobs/{job_id}/cancel": "cancel_job",
        "/v1/jobs/{job_id}/resume": "resume_job",
        "/v1/jobs/{job_id}/retry": "retry_job",
        "/v1/jobs/{job_id}/results": "job_results",
        "/v1/jobs/{job_id}/events": "job_events",
        "/v1/jobs/{job_id}/deliveries": "job_deliveries",
        "/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver": "redeliver",
        "/v1/webhooks/secret": "webhook_secret",
        "/v1/uploads": "upload_options",
        "/v1/uploads/{upload_id}": "get_upload",
        "/metrics": "metrics",
        "/healthz": "healthz",
        "/readyz": "readyz",
    }
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operation in operations.items():
        is_guarded = path.startswith(("/v1/", "/metrics"))
        assert operation.get("security", []) == ([{}, {"key": []}] if is_guarded else [])
        assert ("401" in operation["responses"]) == is_guarded


def _kinds(kind: type[ReeltagError]) -> set[type[ReeltagError]]:
    return {kind}.union(*(_kinds(below) for below in kind.__subclasses__()))


def code_of(kind: type[ReeltagError]) -> str:
    """The code of an error's kind."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")

"""NanoDet-g behind LitServe with its batching: `litserve_server.py PORT MODEL VIEW WORKERS`."""

import sys  # no annotations as strings here: LitServe gives that of `decode_request` to FastAPI
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Body

sys.path.insert(0, str(Path(__file__).parent))
from pipeline import Decoder, Network, cores


class Detect(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """One batch from the encoded pictures to the boxes."""

    def setup(self, device: str) -> None:
        """In each worker."""
        threads = max(1, cores() // WORKERS)
        self.decoder, self.network = Decoder(VIEW, threads), Network(MODEL, threads)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """The body as it is."""
        return request

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """As they are."""
        return inputs

    def predict(self, batch: list[bytes]) -> list[Any]:
        """The objects of each picture."""
        found: list[Any] = self.network(*self.decoder(batch))
        return found

    def unbatch(self, output: list[Any]) -> list[Any]:
        """As they are."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """JSON."""
        return {"detections": output}


PORT, MODEL, VIEW, WORKERS = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])

if __name__ == "__main__":
    server = litserve.LitServer(
        Detect(max_batch_size=8, batch_timeout=0.004), accelerator="cpu", workers_per_device=WORKERS, fast_queue=True
    )
    server.run(host="127.0.0.1", port=PORT, log_level="warning", generate_client_file=False)

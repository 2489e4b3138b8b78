"""Asks a running gateway, over REST or gRPC, from threads or from asyncio: one interface, typed results.

```python
from reeltag.client import Client

with Client("http://127.0.0.1:8000") as client:  # or grpc://127.0.0.1:8001
    for image in client.tag_images(["street.jpg", "beach.png"]):
        print(image.name, [tag.label for tag in image.tags])
    job = client.jobs.submit(client.jobs.upload("film.mp4"))
    for tags in client.jobs.results(client.jobs.wait(job.id).id):
        print([tag["label"] for tag in tags["tags"]])
```
"""

from reeltag.client.asking import AsyncClient
from reeltag.client.blocking import Client
from reeltag.client.images import Image, ImageInput
from reeltag.client.jobs import Gap, Job, JobError, JobProgress, JobState, JobVideo, ResultFormat
from reeltag.client.results import ClassMap, ClassShare, Model, TaggedImage
from reeltag.client.retrying import Refused

__all__ = [
    "AsyncClient",
    "ClassMap",
    "ClassShare",
    "Client",
    "Gap",
    "Image",
    "ImageInput",
    "Job",
    "JobError",
    "JobProgress",
    "JobState",
    "JobVideo",
    "Model",
    "Refused",
    "ResultFormat",
    "TaggedImage",
]

"""Make the bucket of `COCHLEAR_STORE_URL` on its S3 server, unless it is there."""

import fsspec

from worker.settings import Settings

file_system, path = fsspec.core.url_to_fs(Settings().artifacts_url)
bucket = path.partition("/")[0]
if not file_system.exists(bucket):
    file_system.mkdir(bucket)
print(f"bucket {bucket} is there")

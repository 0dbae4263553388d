"""boto3 with its defaults: checksums in headers and trailers, listings with encoding-type=url."""

import hashlib
import io
import urllib.request
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from common import BUCKET, ENDPOINT, KEY, check, refused, report

s3 = boto3.client("s3", endpoint_url=ENDPOINT, region_name="auto")
names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
check("list_buckets", BUCKET in names, True)
paged = [bucket["Name"] for page in s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 1}) for bucket in page["Buckets"]]
check("list_buckets in pages", paged, names)
check("list_buckets with Prefix", [bucket["Name"] for bucket in s3.list_buckets(Prefix=BUCKET)["Buckets"]], [BUCKET])
s3.create_bucket(Bucket="made-by-boto3")
s3.head_bucket(Bucket="made-by-boto3")
refused("create_bucket twice", lambda: s3.create_bucket(Bucket="made-by-boto3"), "BucketAlreadyOwnedByYou")
s3.delete_bucket(Bucket="made-by-boto3")
refused("delete_bucket", lambda: s3.head_bucket(Bucket="made-by-boto3"), "404")
check("get_bucket_location", s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"], "auto")

refused("get_bucket_cors of none", lambda: s3.get_bucket_cors(Bucket=BUCKET), "NoSuchCORSConfiguration")
cors = [{"AllowedOrigins": ["https://*.example.com"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]
s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": cors})
check("put_bucket_cors", s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"], cors)
asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
with urllib.request.urlopen(urllib.request.Request(f"{ENDPOINT}/{BUCKET}/a", method="OPTIONS", headers=asked)) as preflight:
    check("OPTIONS, not signed", (preflight.status, preflight.headers["Access-Control-Allow-Origin"]), (204, "https://app.example.com"))
wrong = [{"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}]
refused("put_bucket_cors of an unknown method", lambda: s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": wrong}), "InvalidArgument")
s3.delete_bucket_cors(Bucket=BUCKET)
rules = [{"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "boto3-logs/"}, "Expiration": {"Days": 1}}]
s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
check("put_bucket_lifecycle_configuration", s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"], rules)
colder = [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}]}]
refused("a transition", lambda: s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": colder}), "NotImplemented")
s3.delete_bucket_lifecycle(Bucket=BUCKET)
refused("delete_bucket_lifecycle", lambda: s3.get_bucket_lifecycle_configuration(Bucket=BUCKET), "NoSuchLifecycleConfiguration")
refused("delete_bucket_cors", lambda: s3.get_bucket_cors(Bucket=BUCKET), "NoSuchCORSConfiguration")

key = "boto3/a b+c ü%2F.txt"
body = b"hello"
put = s3.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="text/plain", Metadata={"author": "ada"})
check("put_object", put["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
check("put_object's checksum", put.get("ChecksumCRC32"), "NhCmhg==")
got = s3.get_object(Bucket=BUCKET, Key=key)
check("get_object", (got["Body"].read(), got["ContentType"], got["Metadata"]), (body, "text/plain", {"author": "ada"}))
check("get_object with Range", s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=-3")["Body"].read(), b"llo")
check("get_object with PartNumber", s3.get_object(Bucket=BUCKET, Key=key, PartNumber=1)["Body"].read(), body)
check("head_object", s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"], 5)
refused("get_object with IfMatch", lambda: s3.get_object(Bucket=BUCKET, Key=key, IfMatch='"x"'), "PreconditionFailed")
refused("get_object with IfNoneMatch", lambda: s3.get_object(Bucket=BUCKET, Key=key, IfNoneMatch=put["ETag"]), "304")
refused("put_object with IfNoneMatch", lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"x", IfNoneMatch="*"), "PreconditionFailed")
refused("get_object of no key", lambda: s3.get_object(Bucket=BUCKET, Key="boto3/none"), "NoSuchKey")
for algorithm in ["CRC32", "SHA1", "SHA256"]:
    s3.put_object(Bucket=BUCKET, Key="boto3/sum", Body=io.BytesIO(b"x" * 100_000), ChecksumAlgorithm=algorithm)
    check(f"put_object with {algorithm}", s3.head_object(Bucket=BUCKET, Key="boto3/sum")["ContentLength"], 100_000)
chunked = boto3.client("s3", endpoint_url=ENDPOINT, region_name="auto", config=Config(s3={"payload_signing_enabled": True}))
chunked.put_object(Bucket=BUCKET, Key="boto3/signed", Body=b"y" * 200_000)
check("put_object with a signed payload", s3.head_object(Bucket=BUCKET, Key="boto3/signed")["ContentLength"], 200_000)

s3.copy_object(Bucket=BUCKET, Key="boto3/copy", CopySource={"Bucket": BUCKET, "Key": key})
check("copy_object", s3.head_object(Bucket=BUCKET, Key="boto3/copy")["Metadata"], {"author": "ada"})
found = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="boto3/", PaginationConfig={"PageSize": 2}) for item in page["Contents"]]
check("list_objects_v2 in pages", found, ["boto3/a b+c ü%2F.txt", "boto3/copy", "boto3/signed", "boto3/sum"])
v1 = [item["Key"] for page in s3.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix="boto3/", PaginationConfig={"PageSize": 3}) for item in page["Contents"]]
check("list_objects in pages", v1, found)
groups = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")
check("list_objects_v2 with Delimiter", "boto3/" in [group["Prefix"] for group in groups["CommonPrefixes"]], True)

large = bytes(range(256)) * (13 * 4096)
config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
s3.upload_fileobj(io.BytesIO(large), BUCKET, "boto3/large", Config=config)
back = io.BytesIO()
s3.download_fileobj(BUCKET, "boto3/large", back, Config=config)
check("upload_fileobj and download_fileobj in parts", back.getvalue() == large, True)
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="boto3/parts")["UploadId"]
part = s3.upload_part_copy(Bucket=BUCKET, Key="boto3/parts", UploadId=upload, PartNumber=1, CopySource=f"{BUCKET}/boto3/large", CopySourceRange="bytes=0-99")
check("list_parts", [p["Size"] for p in s3.list_parts(Bucket=BUCKET, Key="boto3/parts", UploadId=upload)["Parts"]], [100])
s3.complete_multipart_upload(Bucket=BUCKET, Key="boto3/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
check("upload_part_copy", s3.get_object(Bucket=BUCKET, Key="boto3/parts")["Body"].read(), large[:100])
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="boto3/gone")["UploadId"]
s3.abort_multipart_upload(Bucket=BUCKET, Key="boto3/gone", UploadId=upload)
refused("abort_multipart_upload", lambda: s3.upload_part(Bucket=BUCKET, Key="boto3/gone", UploadId=upload, PartNumber=1, Body=b""), "NoSuchUpload")

url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
check("generate_presigned_url of get", urllib.request.urlopen(url).read(), body)
url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "boto3/by-url"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(url, data=b"by URL", method="PUT", headers={"Content-Type": ""}))
check("generate_presigned_url of put", s3.get_object(Bucket=BUCKET, Key="boto3/by-url")["Body"].read(), b"by URL")

found = [{"Key": item["Key"]} for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="boto3/")["Contents"]]
gone = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": found})
check("delete_objects", len(gone["Deleted"]), len(found))
check("list_objects_v2 of nothing", s3.list_objects_v2(Bucket=BUCKET, Prefix="boto3/")["KeyCount"], 0)
s3.delete_object(Bucket=BUCKET, Key="boto3/none")
wrong = boto3.client("s3", endpoint_url=ENDPOINT, region_name="auto", aws_secret_access_key="wrong", aws_access_key_id=KEY)
refused("a wrong secret", lambda: wrong.list_buckets(), "SignatureDoesNotMatch")
report()

// AWS's SDK for JavaScript and S3: streams, parts, checksums, addresses, and what browsers send.
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { attempt } from "./report.mjs";

const client = new s3.S3Client({
  endpoint: process.argv[2],
  region: "us-east-1",
  maxAttempts: 1,
  credentials: { accessKeyId: "any", secretAccessKey: "any" },
});
const Bucket = `storage-${randomBytes(8).toString("hex")}`;
const Key = "a b/ü+&=?.txt";
const data = randomBytes(6 * 1024 * 1024 + 7);
const place = mkdtempSync(join(tmpdir(), "storage-"));
const file = join(place, "data");
const hash = (bytes) => createHash("sha256").update(bytes).digest("hex");
const read = (key) => client.send(new s3.GetObjectCommand({ Bucket, Key: key, ChecksumMode: "ENABLED" }));
const whole = async (key) => hash(await (await read(key)).Body.transformToByteArray()) === hash(data);

writeFileSync(file, data);
await client.send(new s3.CreateBucketCommand({ Bucket }));
await attempt("text", async () => {
  await client.send(new s3.PutObjectCommand({ Bucket, Key, Body: "hällo" }));
  return (await read(Key)).Body.transformToString();
});
for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
  await attempt(`stream ${ChecksumAlgorithm}`, async () => {
    const Body = createReadStream(file);
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "stream", Body, ContentLength: data.length, ChecksumAlgorithm }));
    return whole("stream"); // the SDK verifies the checksum that it is told
  });
}
await attempt("parts", async () => {
  await new Upload({ client, params: { Bucket, Key: "parts", Body: createReadStream(file) } }).done();
  return whole("parts");
});
await attempt("address", async () => {
  const put = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: "signed" }));
  await fetch(put, { method: "PUT", body: new URLSearchParams({ a: "b" }) });
  const got = await fetch(await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: "signed" })));
  return got.text();
});
await attempt("form", async () => {
  const { url, fields } = await createPresignedPost(client, { Bucket, Key: "posted" });
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", new Blob(["posted"]), "f.txt");
  const { status } = await fetch(url, { method: "POST", body: form });
  return { status, text: await (await read("posted")).Body.transformToString() };
});
await attempt("pages", async () => {
  let count = 0;
  for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket })) count += page.Contents.length;
  return count;
});
await attempt("missing", () => read("no such key"));
client.destroy();
rmSync(place, { recursive: true });

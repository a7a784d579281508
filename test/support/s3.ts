import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { openHasher } from "../../src/engine/kernel/hash.ts";
import type { Scope } from "../../src/engine/kernel/scope.ts";
import { type S3Settings, systemClock } from "../../src/engine/settings.ts";
import { openS3Store, type S3StoreSettings } from "../../src/engine/store/s3.ts";
import type { Store } from "../../src/engine/store/store.ts";
import { CEPH_KEYS } from "./ceph.ts";

/** A client of the test's own, for looking at a bucket behind the lake's back. */
export function s3Client(endpoint: string, keys = CEPH_KEYS): S3Client {
  return new S3Client({
    endpoint,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: keys,
    requestChecksumCalculation: "WHEN_REQUIRED",
  });
}

export async function newBucket(endpoint: string, keys = CEPH_KEYS): Promise<string> {
  const bucket = `lake-${randomUUID()}`;
  const client = s3Client(endpoint, keys);
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return bucket;
}

/** Settings for a new bucket. Credentials come from a file, as a user may do it. */
export async function s3Settings(
  folder: string,
  endpoint: string,
  overrides: Partial<S3Settings> = {},
  keys = CEPH_KEYS,
): Promise<S3Settings> {
  const credentialsFile = join(folder, `credentials-${randomUUID()}`);
  await writeFile(
    credentialsFile,
    `[default]\naws_access_key_id = ${keys.accessKeyId}\naws_secret_access_key = ${keys.secretAccessKey}\n`,
  );
  return {
    bucket: overrides.bucket ?? (await newBucket(endpoint, keys)),
    prefix: "lake/one",
    endpoint,
    region: "us-east-1",
    pathStyle: true,
    credentialsFile,
    profile: undefined,
    timeoutMs: 10_000,
    singleWriter: false,
    cacheBytes: 2 ** 30,
    ...overrides,
  };
}

export function openTestStore(scope: Scope, folder: string, settings: S3Settings): Promise<Store> {
  const { sha256 } = openHasher(scope);
  const all: S3StoreSettings = {
    ...settings,
    folder: join(folder, "local"),
    sha256,
    clock: systemClock,
    log: () => {},
  };
  return openS3Store(scope, all);
}

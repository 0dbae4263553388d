//! Each of R2's errors by its code: the operation and the words are R2's, in memory and on disk. (That R2 inside workerd has the
//! same codes is the kit's and the random sequences' to show.)

use bytes::Bytes;
use futures_util::stream;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::{
    Body, Checksum, ChecksumAlgorithm, GetOptions, Key, ListOptions, MultipartOptions, ObjectStore, ObjectStoreExt,
    Part, PutOptions, Range, UploadId,
};

use crate::local::key;

#[tokio::test]
async fn each_code_has_its_operation_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalStore::open(folder.path()).await.unwrap();
    for store in [&local as &dyn ObjectStore, &MemoryStore::new()] {
        told(store).await;
    }
}

/// Does what each error is for.
async fn told(store: &dyn ObjectStore) {
    let says = |error: isobar_storage::Error, text: &str| assert_eq!(error.to_string(), text);
    store.write(&key("a"), "abc").await.unwrap();

    let refused = Key::new("k".repeat(1025)).unwrap_err();
    assert_eq!(refused.code(), Some(10020));

    let over = PutOptions::default().with_custom("k", "v".repeat(8192));
    let refused = store.put(&key("b"), "x".into(), over).await.unwrap_err();
    says(refused, "put: Your metadata headers exceed the maximum allowed metadata size. (10012)");

    let refused = store.list(ListOptions::default().with_limit(1001)).await.unwrap_err();
    says(refused, "list: MaxKeys params must be positive integer <= 1000. (10022)");

    let wrong = PutOptions::default().with_checksum(Checksum::of(ChecksumAlgorithm::Md5, b"other"));
    let refused = store.put(&key("b"), "x".into(), wrong).await.unwrap_err();
    assert_eq!(refused.code(), Some(10037));
    let words = "put: The MD5 checksum you specified did not match what we received.\n\
        You provided a MD5 checksum with value: 795f3202b17cb6bc3d4b771d8c6c9eaf\n\
        Actual MD5 was: 9dd4e461268c8034f5c8564e155c67a6 (10037)";
    says(refused, words);

    let past = GetOptions::default().with_range(Range::From { offset: 3, length: None });
    let refused = store.get(&key("a"), past).await.unwrap_err();
    says(refused, "get: The requested range is not satisfiable (10039)");

    // Nothing of it is asked for: its length alone is too much.
    let huge = Body::from_stream(5 << 30, stream::iter([Ok(Bytes::from("x"))]));
    let refused = store.put(&key("b"), huge, PutOptions::default()).await.unwrap_err();
    says(refused, "put: Your proposed upload exceeds the maximum allowed object size. (100100)");

    uploads(store).await;
    let names: Vec<_> = store.list(ListOptions::default()).await.unwrap().objects;
    assert_eq!(names.iter().map(|meta| meta.key.as_str()).collect::<Vec<_>>(), ["a"], "what is refused leaves nothing");
}

async fn uploads(store: &dyn ObjectStore) {
    const PART: usize = 5 << 20;
    let completed = async |sizes: &[usize], change: fn(&mut Vec<Part>)| {
        let id = store.create_multipart(&key("m"), MultipartOptions::default()).await.unwrap();
        let mut parts = Vec::new();
        for (number, size) in (1..).zip(sizes) {
            parts.push(store.upload_part(&key("m"), &id, number, vec![7; *size].into()).await.unwrap());
        }
        change(&mut parts);
        let refused = store.complete_multipart(&key("m"), &id, parts).await.unwrap_err();
        store.abort_multipart(&key("m"), &id).await.unwrap();
        refused.to_string()
    };
    assert_eq!(
        completed(&[PART - 1, 1], |_| ()).await,
        "completeMultipartUpload: Your proposed upload is smaller than the minimum allowed object size. (10011)"
    );
    assert_eq!(
        completed(&[PART, PART + 1, 1], |_| ()).await,
        "completeMultipartUpload: There was a problem with the multipart upload. (10048)"
    );
    assert_eq!(
        completed(&[1], |parts| parts[0].etag.push('x')).await,
        "completeMultipartUpload: One or more of the specified parts could not be found. (10025)"
    );
    assert_eq!(
        completed(&[PART, 1], |parts| parts[1] = parts[0].clone()).await,
        "completeMultipartUpload: We encountered an internal error. Please try again. (10001)"
    );
    let unknown = UploadId::new("unknown");
    let refused = store.upload_part(&key("m"), &unknown, 1, "x".into()).await.unwrap_err();
    assert_eq!(refused.to_string(), "uploadPart: The specified multipart upload does not exist. (10024)");
}

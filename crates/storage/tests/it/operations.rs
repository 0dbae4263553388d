//! One name for an operation: in errors, in what is observed, and in the scripts of mocks.

use std::time::Duration;

use isobar_storage::layers::{Counters, Observed};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{Error, ErrorKind, Key, ObjectStore, Operation, PresignMethod, PresignOptions, Result, UploadId};

/// Calls the method of this operation, and gives its error.
async fn error_of(store: &dyn ObjectStore, operation: Operation) -> Error {
    fn failed<T>(result: Result<T>) -> Error {
        result.err().expect("the operation was scripted to fail")
    }
    let key = Key::new("a").unwrap();
    let upload = UploadId::new("upload".to_owned());
    match operation {
        Operation::Head => failed(store.head(&key).await),
        Operation::Get => failed(store.get(&key, Default::default()).await),
        Operation::Put => failed(store.put(&key, "a".into(), Default::default()).await),
        Operation::Delete => failed(store.delete(std::slice::from_ref(&key)).await),
        Operation::List => failed(store.list(Default::default()).await),
        Operation::CreateMultipart => failed(store.create_multipart(&key, Default::default()).await),
        Operation::UploadPart => failed(store.upload_part(&key, &upload, 1, "a".into()).await),
        Operation::CompleteMultipart => failed(store.complete_multipart(&key, &upload, Vec::new()).await),
        Operation::AbortMultipart => failed(store.abort_multipart(&key, &upload).await),
        Operation::ListParts => failed(store.list_parts(&key, &upload).await),
        Operation::ListUploads => failed(store.list_uploads(Default::default()).await),
        Operation::Copy => failed(store.copy(&key, &key, Default::default()).await),
        Operation::Presign => {
            let options = PresignOptions::new(key, PresignMethod::Get, Duration::from_secs(60));
            failed(store.presign(options).await)
        }
        other => panic!("no case for {other}"),
    }
}

#[tokio::test]
async fn an_operation_has_one_name_in_errors_observations_and_scripts() {
    let mock = MockStore::new(MemoryStore::new());
    let counters = Counters::default();
    let store = Observed::new(mock.clone(), counters.clone());
    for operation in Operation::ALL {
        mock.script().fail_next(operation, Error::new(ErrorKind::Unavailable, "as scripted"));
        let error = error_of(&store, operation).await;
        assert_eq!(error.to_string(), format!("{operation}: as scripted"));
        assert_eq!((error.operation(), mock.script().count(operation)), (operation.name(), 1));
        assert_eq!(counters.stats()[&operation].errors, 1, "{operation}");
    }
    assert!(mock.script().unplayed().is_empty());
    assert_eq!(mock.script().calls().len(), Operation::ALL.len());
}

#[tokio::test]
async fn a_backend_names_its_errors_as_the_operations_are_named() {
    let store = MemoryStore::new();
    let unknown = [Operation::UploadPart, Operation::CompleteMultipart];
    for operation in unknown.into_iter().chain([Operation::AbortMultipart, Operation::ListParts]) {
        let error = error_of(&store, operation).await;
        assert_eq!((error.kind(), error.operation()), (ErrorKind::NoSuchUpload, operation.name()), "{error}");
    }
    let error = error_of(&store, Operation::Presign).await;
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, "presign"));
}

#[test]
#[should_panic(
    expected = "the mock has no operation \"create_multipart\"; it has: head, get, put, delete, list, createMulti"
)]
fn a_script_refuses_an_operation_that_the_store_does_not_have() {
    MockStore::new(MemoryStore::new()).script().fail_next("create_multipart", Error::new(ErrorKind::Internal, "never"));
}

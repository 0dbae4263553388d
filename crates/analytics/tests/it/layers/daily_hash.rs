use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use isobar_analytics::ErrorKind;
use isobar_analytics::layers::{DailyHash, DailyHashOptions};

/// 2026-11-29, a little after midnight.
const DAY: i64 = 1_795_911_000;

fn options(clock: &Arc<AtomicI64>) -> DailyHashOptions {
    let clock = Arc::clone(clock);
    DailyHashOptions::default().with_clock(move || DateTime::from_timestamp(clock.load(Ordering::SeqCst), 0).unwrap())
}

fn go_to(clock: &Arc<AtomicI64>, days: i64) {
    clock.store(DAY + days * 86_400, Ordering::SeqCst);
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(DAY))
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn hash_holds_for_a_day_and_never_comes_back() {
    let clock = clock();
    let hash = DailyHash::new(options(&clock)).unwrap();
    let first = hash.hash(b"a").unwrap();
    assert!(first.len() == 32 && first.bytes().all(|byte| b"0123456789abcdef".contains(&byte)), "{first}");
    clock.store(DAY + 80_000, Ordering::SeqCst);
    let clone = hash.clone();
    let of_thread = std::thread::spawn(move || clone.hash(b"a").unwrap()).join().unwrap();
    assert_eq!((&hash.hash(b"a").unwrap(), &of_thread), (&first, &first));
    assert_ne!(hash.hash(b"b").unwrap(), first);
    assert_ne!(DailyHash::new(options(&clock)).unwrap().hash(b"a").unwrap(), first, "its salt is another one");

    go_to(&clock, 1);
    let second = hash.hash(b"a").unwrap();
    go_to(&clock, 0);
    let again = hash.hash(b"a").unwrap();
    assert!(second != first && again != first && again != second, "{first} {second} {again}");
}

#[test]
fn file_keeps_the_salt_of_the_day_and_of_no_other_one() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("state/salt");
    let clock = clock();
    let open = || DailyHash::new(options(&clock).with_file(&file)).unwrap();
    let running = open();
    let first = running.hash(b"a").unwrap();
    let kept = fs::read_to_string(&file).unwrap();
    assert_eq!(open().hash(b"a").unwrap(), first, "a process that is started again");
    assert_eq!(fs::read_to_string(&file).unwrap(), kept);

    go_to(&clock, 1);
    running.rotate().unwrap();
    let replaced = fs::read_to_string(&file).unwrap();
    let salt = |text: &str| text.lines().nth(2).unwrap().to_owned();
    assert!(salt(&kept).len() == 64 && !replaced.contains(&salt(&kept)), "{replaced}");
    assert!(replaced.contains("2026-11-30"), "{replaced}");
    assert_ne!(running.hash(b"a").unwrap(), first);
    assert_eq!(open().hash(b"a").unwrap(), running.hash(b"a").unwrap());

    go_to(&clock, 2);
    open();
    assert!(
        !fs::read_to_string(&file).unwrap().contains(&salt(&replaced)),
        "one that starts on another day replaces it"
    );
    assert_eq!(names(&home.path().join("state")), ["salt"]);
}

#[cfg(unix)]
#[test]
fn file_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("salt");
    let clock = clock();
    let open = || DailyHash::new(options(&clock).with_file(&file));
    fs::write(home.path().join("salt.new"), "left by a killed process, and readable").unwrap();
    open().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = open().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::PermissionDenied, "salt"));
    assert!(error.message().contains("may be read by others (mode 640)"), "{error}");
    go_to(&clock, 1);
    open().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "that of another day is replaced");
}

/// A rename would replace the link, and leave the salt in its target.
#[cfg(unix)]
#[test]
fn link_to_a_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("target");
    let clock = clock();
    DailyHash::new(options(&clock).with_file(&target)).unwrap();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let error = DailyHash::new(options(&clock).with_file(&link)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("is a symbolic link"), "{error}");
}

#[test]
fn salt_of_a_day_that_is_over_goes_also_where_no_other_can_be_kept() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("salt");
    let clock = clock();
    let hash = DailyHash::new(options(&clock).with_file(&file)).unwrap();
    fs::create_dir(home.path().join("salt.new")).unwrap(); // in the way of the next one
    hash.rotate().unwrap();
    assert!(file.exists());
    go_to(&clock, 1);
    assert_eq!(hash.rotate().unwrap_err().operation(), "salt");
    assert!(!file.exists());
}

/// Computed by Python's hmac.
#[cfg(unix)]
#[test]
fn hash_is_hmac_sha_256_cut_to_128_bits() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("salt");
    let salt: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
    fs::write(&file, format!("isobar-analytics salt 1\n2026-11-29\n{salt}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let hash = DailyHash::new(options(&clock()).with_file(&file)).unwrap();
    assert_eq!(hash.hash(b"203.0.113.7").unwrap(), "9df8158b5794e6e827f0d42e6fcc4669");
    assert!(!format!("{hash:?}").contains("0001"), "a log does not have the salt");
}

#[test]
fn file_of_something_else_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("notes.txt");
    for text in ["my notes", "isobar-analytics salt 1\n2026-11-29\nabc\n", "isobar-analytics salt 1\nsoon\n"] {
        fs::write(&file, text).unwrap();
        let error = DailyHash::new(options(&clock()).with_file(&file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().starts_with("salt: ") && error.message().contains("notes.txt"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    fs::write(&file, "").unwrap();
    DailyHash::new(options(&clock()).with_file(&file)).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("2026-11-29"), "an empty one is what a power loss leaves");
}

#[test]
fn salt_that_cannot_be_kept_is_used_and_reported() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let clock = clock();
    let hash = DailyHash::new(options(&clock).with_file(folder.join("salt"))).unwrap();
    let first = hash.hash(b"a").unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "a file in place of the folder").unwrap();
    hash.rotate().unwrap(); // nothing to do yet
    go_to(&clock, 1);
    let second = hash.hash(b"a").unwrap();
    assert_ne!(second, first);
    assert_eq!(hash.rotate().unwrap_err().operation(), "salt");
    assert_eq!(hash.hash(b"a").unwrap(), second);
    fs::remove_file(&folder).unwrap();
    go_to(&clock, 2);
    hash.rotate().unwrap();
    assert_eq!(names(&folder), ["salt"]);
}

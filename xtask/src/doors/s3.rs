//! Clients of S3: boto3, awscli, s3cmd, minio-py, s3fs, rclone, object_store's S3 store, OpenDAL and chDB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::project::{Project, Result};
use crate::{Outcome, python, readers, run as execute};

const COMMON: &str = include_str!("../../py/doors/common.py");
/// Packages of PyPI with the scripts that use them.
const LIBRARIES: [(&str, &str, &str); 5] = [
    ("boto3", "1.44.8", include_str!("../../py/doors/with_boto3.py")),
    ("minio", "7.2.20", include_str!("../../py/doors/with_minio.py")),
    ("s3fs", "2026.9.0", include_str!("../../py/doors/with_s3fs.py")),
    ("obstore", "0.12.1", include_str!("../../py/doors/with_obstore.py")),
    ("opendal", "0.47.12", include_str!("../../py/doors/with_opendal.py")),
];
/// ClickHouse in a Python process, of the environment that has it for `analytics`, too.
const CHDB: &str = include_str!("../../py/doors/with_chdb.py");
const AWSCLI: &str = "1.46.3";
const S3CMD: &str = "2.4.0";
/// A name that would be a path of the application, had the door no listener of its own.
const BUCKET: &str = "client";

/// A door, and a key to it.
struct Door {
    project: Project,
    id: String,
    secret: String,
}

pub(super) fn run() -> Outcome {
    let door = Door::open()?;
    let folder = &door.project.folder;
    fs::write(folder.join("common.py"), COMMON)?;
    let mut clients = 0;
    for (name, version, script) in LIBRARIES {
        let python = python::package(name, "", version)?.join("python");
        door.script(name, &python, script)?;
        clients += 1;
    }
    door.script("chdb", &readers::python()?, CHDB)?;
    clients += 1;
    let tree = tree(folder)?;
    for with in [Door::awscli, Door::s3cmd, Door::rclone] {
        with(&door, &tree)?;
        clients += 1;
    }
    println!("{clients} clients of S3 work with the door");
    Ok(())
}

impl Door {
    fn open() -> Result<Self> {
        let project = Project::serve("s3")?;
        let key = project.key(&["--name", "doors", "--scope", "r2:read,r2:write"])?;
        let text = |name: &str| key[name].as_str().map(str::to_owned).ok_or_else(|| format!("the key has no {name}"));
        Ok(Self { id: text("access_key_id")?, secret: text("secret_access_key")?, project })
    }

    /// Runs a client, and returns its output. An error names the client and the operation.
    fn client(&self, name: &str, operation: &str, command: &mut Command) -> Result<String> {
        command
            .current_dir(&self.project.folder)
            .env("AWS_ACCESS_KEY_ID", &self.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command
            .env("AWS_DEFAULT_REGION", "auto")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", &self.project.folder);
        command
            .env("AWS_ENDPOINT_URL", &self.project.s3)
            .env("DOOR_ENDPOINT", &self.project.s3)
            .env("DOOR_BUCKET", BUCKET);
        // rclone refuses it in this combination, and the door speaks no TLS here.
        command.env_remove("AWS_CA_BUNDLE");
        let output = command.output().map_err(|error| format!("{name}: {error}"))?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(shown);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name}: {operation} failed, expected success:\n{shown}{errors}").into())
    }

    /// Runs the script of a library, which prints what it did.
    fn script(&self, name: &str, python: &Path, script: &str) -> Outcome {
        let file = self.project.folder.join(format!("with_{name}.py"));
        fs::write(&file, script)?;
        print!("{}", self.client(name, &path(&file), Command::new(python).arg(&file))?);
        Ok(())
    }

    /// Runs the line that the server has printed for a client, as it is, with these commands on the path.
    fn printed(&self, client: &str, commands: &Path) -> Outcome {
        let line = self.project.line(client, &[("ID", &self.id), ("SECRET", &self.secret)])?;
        let path = format!("{}:{}", commands.display(), std::env::var("PATH").unwrap_or_default());
        let shown = self.client(client, &line, Command::new("sh").args(["-c", &line]).env("PATH", path))?;
        if !shown.contains(BUCKET) {
            return Err(format!("{client}: {line}: expected {BUCKET:?} in {shown:?}").into());
        }
        println!("{client}: the line that isobar serve prints");
        Ok(())
    }

    /// Runs the steps of a command; each is an operation and its arguments, and what its output must contain.
    fn steps(&self, name: &str, program: &Path, options: &[&str], steps: &[(&str, &[&str], &str)]) -> Outcome {
        for (operation, arguments, expected) in steps {
            let shown = self.client(name, operation, Command::new(program).args(*arguments).args(options))?;
            if !shown.contains(expected) {
                return Err(format!("{name}: {operation}: expected {expected:?} in {shown:?}").into());
            }
        }
        let operations: Vec<&str> = steps.iter().map(|(operation, ..)| *operation).collect();
        println!("{name}: {} operations: {}", operations.len(), operations.join(", "));
        Ok(())
    }

    fn awscli(&self, tree: &Path) -> Outcome {
        let commands = python::package("awscli", "", AWSCLI)?;
        let aws = commands.join("aws");
        let from = path(tree);
        let back = path(&self.project.folder.join("back-aws"));
        let to = format!("s3://{BUCKET}/aws");
        let copy = format!("s3://{BUCKET}/aws-copy");
        self.steps(
            "awscli",
            &aws,
            &[],
            &[
                ("s3 mb", &["s3", "mb", "s3://made-by-awscli"], "make_bucket"),
                ("s3 rb", &["s3", "rb", "s3://made-by-awscli"], "remove_bucket"),
                ("s3 sync to the door", &["s3", "sync", &from, &to], "upload"),
                ("s3 sync again", &["s3", "sync", &from, &to], ""),
                // A large object is copied by parts with a condition on the source, which R2 does not have.
                ("s3 sync between prefixes", &["s3", "sync", "--exclude", "large.bin", &to, &copy], "copy"),
                ("s3 sync from the door", &["s3", "sync", &to, &back], "download"),
                ("s3 ls", &["s3", "ls", "--recursive", &to], "aws/large.bin"),
                ("s3 presign", &["s3", "presign", &format!("{to}/a.txt")], "X-Amz-Signature"),
                ("s3 rm", &["s3", "rm", "--recursive", &copy], "delete"),
                ("s3 rm", &["s3", "rm", "--recursive", &to], "delete"),
            ],
        )?;
        self.printed("aws", &commands)?;
        same("awscli", tree, Path::new(&back))
    }

    fn s3cmd(&self, tree: &Path) -> Outcome {
        let s3cmd = python::package("s3cmd", "", S3CMD)?.join("s3cmd");
        let back = self.project.folder.join("back-s3cmd");
        fs::create_dir_all(&back)?;
        let host = self.project.s3.trim_start_matches("http://");
        let to = format!("s3://{BUCKET}/s3cmd/");
        let from = format!("{}/", path(tree));
        let into = format!("{}/", path(&back));
        let options = [
            "--no-ssl",
            "--host",
            host,
            "--host-bucket",
            host,
            "--access_key",
            &self.id,
            "--secret_key",
            &self.secret,
            "--region",
            "auto",
            "--multipart-chunk-size-mb",
            "5",
            "--no-progress",
        ];
        self.steps(
            "s3cmd",
            &s3cmd,
            &options,
            &[
                ("ls", &["ls"], BUCKET),
                ("put", &["put", &format!("{from}a.txt"), &format!("s3://{BUCKET}/s3cmd-one")], "upload"),
                ("info", &["info", &format!("s3://{BUCKET}/s3cmd-one")], "File size: 5"),
                (
                    "cp",
                    &["cp", &format!("s3://{BUCKET}/s3cmd-one"), &format!("s3://{BUCKET}/s3cmd-two")],
                    "remote copy",
                ),
                ("sync to the door", &["sync", &from, &to], "upload"),
                ("sync from the door", &["sync", &to, &into], "download"),
                ("ls --recursive", &["ls", "--recursive", &to], "s3cmd/large.bin"),
                ("del", &["del", "--recursive", "--force", &to], "delete"),
                ("del", &["del", &format!("s3://{BUCKET}/s3cmd-one"), &format!("s3://{BUCKET}/s3cmd-two")], "delete"),
            ],
        )?;
        same("s3cmd", tree, &back)
    }

    fn rclone(&self, tree: &Path) -> Outcome {
        if Command::new("rclone").arg("version").output().is_err() {
            println!("installing rclone");
            execute(Command::new("apt-get").args(["install", "-y", "-q", "rclone"]))?;
        }
        let back = self.project.folder.join("back-rclone");
        let remote = format!(":s3:{BUCKET}/rclone");
        let from = path(tree);
        let into = path(&back);
        let options = [
            "--s3-provider",
            "Other",
            "--s3-env-auth",
            "--s3-endpoint",
            &self.project.s3,
            "--s3-region",
            "auto",
            "--s3-chunk-size",
            "5Mi",
            "--s3-upload-cutoff",
            "5Mi",
            "--config",
            "/dev/null",
        ];
        self.steps(
            "rclone",
            Path::new("rclone"),
            &options,
            &[
                ("lsd", &["lsd", ":s3:"], BUCKET),
                ("sync to the door", &["sync", &from, &remote], ""),
                ("check", &["check", &from, &remote], ""),
                ("check by content", &["check", "--download", &from, &remote], ""),
                ("sync from the door", &["sync", &remote, &into], ""),
                ("lsf", &["lsf", "-R", &remote], "large.bin"),
                ("moveto", &["moveto", &format!("{remote}/a.txt"), &format!("{remote}/b.txt")], ""),
                ("cat", &["cat", &format!("{remote}/b.txt")], "hello"),
                ("link", &["link", &format!("{remote}/b.txt")], "X-Amz-Signature"),
                ("purge", &["purge", &remote], ""),
            ],
        )?;
        self.printed("rclone", Path::new("/usr/bin"))?;
        same("rclone", tree, &back)
    }
}

/// A folder with names and sizes that clients treat differently.
fn tree(folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("deep/er"))?;
    fs::write(tree.join("a.txt"), "hello")?;
    fs::write(tree.join("empty"), "")?;
    fs::write(tree.join("deep/b c+d.txt"), "spaces and plus")?;
    fs::write(tree.join("deep/er/ünï.txt"), "letters")?;
    let large: Vec<u8> = (0..11u32 << 20).map(|at| (at ^ (at >> 8)) as u8).collect();
    fs::write(tree.join("large.bin"), large)?;
    Ok(tree)
}

/// Compares a folder with the one that has come back.
fn same(client: &str, from: &Path, back: &Path) -> Outcome {
    for name in ["a.txt", "empty", "deep/b c+d.txt", "deep/er/ünï.txt", "large.bin"] {
        if fs::read(from.join(name))? != fs::read(back.join(name)).unwrap_or_default() {
            return Err(format!("{client}: {name} came back otherwise than it went").into());
        }
    }
    Ok(())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

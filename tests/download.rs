//! Data that the command downloads by itself, from a server on this machine.

mod common;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{runtime, within};
use tempfile::TempDir;

/// A server of the files in a folder, which hangs up after so many bytes of the first answer.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(folder: &Path, first: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, folder) = (asked.clone(), folder.to_owned());
        let mut most = first;
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, folder) = (log.clone(), folder.clone());
                let most = std::mem::replace(&mut most, u64::MAX);
                // Whoever asked may have gone away.
                thread::spawn(move || serve(stream?, &folder, most, &log));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    folder: &Path,
    most: u64,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut start = 0;
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    log.lock().expect("no panic").push(format!("{path} {start}"));
    let name = path.rsplit('/').next().unwrap_or_default();
    let Ok(mut file) = File::open(folder.join(name)) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let total = file.metadata()?.len();
    file.seek(SeekFrom::Start(start))?;
    match start {
        0 => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        _ => write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}\r\n",
            total - 1
        )?,
    }
    write!(stream, "Content-Length: {}\r\n\r\n", total - start)?;
    std::io::copy(&mut file.take(most), &mut stream).map(drop)
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn command(&self, mirror: &str, arguments: &[&str]) -> Command {
        let mut command = runtime(Path::new(env!("CARGO_MANIFEST_DIR")), arguments);
        command
            .env_remove("GRADFLOW_OFFLINE")
            .env("GRADFLOW_CACHE", self.cache())
            .env("GRADFLOW_MIRROR", mirror)
            .env("GRADFLOW_RUNS", self.0.path().join("runs"))
            // What is on this machine is not asked of another.
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    /// Exit status and everything that was printed.
    fn runtime(&self, mirror: &str, arguments: &[&str]) -> (i32, String) {
        let mut command = self.command(mirror, arguments);
        let output = within(common::PATIENCE, move || command.output()).expect("it starts");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(!text.contains("panicked"), "{text}");
        (output.status.code().unwrap_or(-1), text)
    }
}

/// An address where nobody listens.
fn nowhere() -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    format!("http://{port}")
}

const QUICK: [&str; 7] = [
    "run",
    "pipeline.yaml",
    "--adapter=cpu",
    "--set=steps=1",
    "--set=stages.batch.batcher.size=8",
    "--set=stages.read.reader.otherwise.synthetic={ train: 20, test: 8 }",
    "--set=stages.read_test.reader.otherwise.synthetic={ train: 20, test: 8 }",
];

#[test]
fn what_cannot_be_downloaded_is_told_before_drawings_stand_in() {
    let place = Place::new();
    let (status, told) = place.runtime(&nowhere(), &QUICK);
    assert_eq!(status, 0, "{told}");
    let parts = ["this is not CIFAR-10", "does not answer", "cifar-10-binary.tar.gz", "drawings"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");

    let (status, told) = place.runtime(&nowhere(), &[&QUICK[..], &["--offline"]].concat());
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("switched off by --offline") && !told.contains("answer"), "{told}");

    // Without a stand-in it is an error.
    let alone = ["run", "examples/svhn.yaml", "--adapter=cpu", "--set=steps=1"];
    let (status, told) = place.runtime(&nowhere(), &alone);
    assert_eq!(status, 1, "{told}");
    let parts = ["SVHN was not found", "does not answer", "train_32x32.mat", "--data FOLDER"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn fetch_knows_its_data_sets() {
    let place = Place::new();
    let (status, told) = place.runtime(&nowhere(), &["fetch"]);
    assert_eq!(status, 0, "{told}");
    for name in ["cifar10 ", "cifar100", "svhn"] {
        assert!(told.contains(name), "{told}");
    }
    let (status, told) = place.runtime(&nowhere(), &["fetch", "cifar11"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("known are cifar10, cifar100, svhn"), "{told}");
    let (status, told) = place.runtime(&nowhere(), &["fetch", "cifar10", "--mirror", "my.server"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("such as http://my.server/data"), "{told}");
    let (status, told) = place.runtime("my.server", &["fetch", "cifar10"]);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("such as http://my.server/data"), "{told}");

    let some = place.cache().join("data/cifar10/cifar-10-batches-bin");
    fs::create_dir_all(&some).expect("made");
    fs::write(some.join("data_batch_1.bin"), [0; 3073]).expect("written");
    let (status, told) = place.runtime("", &["fetch"]);
    assert_eq!(status, 0, "{told}");
    let parts = ["data_batch_1.bin has 3073 bytes", "and 5 more", "`runtime fetch cifar10`"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn wrong_data_is_refused() {
    let (place, files) = (Place::new(), Place::new());
    for name in ["train_32x32.mat", "cifar-10-binary.tar.gz"] {
        fs::write(files.0.path().join(name), "<html>log in</html>").expect("written");
    }
    let server = Server::new(files.0.path(), u64::MAX);
    let (status, told) = place.runtime(&server.url, &["fetch", "svhn"]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("SHA-256") && told.contains("web page"), "{told}");
    // The command line counts more than the environment.
    let (status, told) = place.runtime(&nowhere(), &["fetch", "cifar10", "--mirror", &server.url]);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("not the archive that it should be"), "{told}");
    assert_eq!(server.asked(), ["/train_32x32.mat 0", "/cifar-10-binary.tar.gz 0"]);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let place = Place::new();
    let empty = Place::new();
    let proxy = Server::new(empty.0.path(), u64::MAX);
    let mut command = place.command("http://data.invalid/sets", &["fetch", "svhn"]);
    command.env_remove("NO_PROXY").env("http_proxy", &proxy.url).env("HTTP_PROXY", &proxy.url);
    let output = within(common::PATIENCE, move || command.output()).expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("proxy server responded 404"), "{told}");
    // It is asked to connect.
    assert_eq!(proxy.asked(), ["data.invalid:80 0"]);
}

/// The folder with the real archive, if this machine has it.
fn real_archive() -> Option<PathBuf> {
    let folder = std::env::var_os("GRADFLOW_DATA").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.join("cifar-10-binary.tar.gz").is_file());
    if folder.is_none() {
        common::skip("folder with cifar-10-binary.tar.gz in GRADFLOW_DATA");
    }
    folder
}

fn wait_for(child: &mut Child, file: &Path) {
    let start = Instant::now();
    while fs::metadata(file).map_or(0, |found| found.len()) < 1 << 20 {
        assert!(start.elapsed() < common::PATIENCE, "nothing comes");
        assert!(child.try_wait().expect("a child").is_none(), "it ended early");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The real archive, cut once by the server and once by a killed process; then two runs at once.
#[test]
fn the_real_data_arrives_whatever_happens() {
    let Some(files) = real_archive() else { return };
    let (place, server) = (Place::new(), Server::new(&files, 3_000_000));
    let part = place.cache().join("data/cifar10/cifar-10-binary.tar.gz.part");
    let mut command = place.command(&server.url, &["fetch", "cifar10"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    wait_for(&mut child, &part);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let kept = fs::metadata(&part).expect("kept").len();

    let runs = thread::scope(|scope| {
        let run = || place.runtime(&server.url, &QUICK);
        [scope.spawn(run), scope.spawn(run)].map(|run| run.join().expect("no panic"))
    });
    for (status, told) in runs {
        assert_eq!(status, 0, "{told}");
        assert!(told.contains("data: CIFAR-10 train, 50,000 images"), "{told}");
        assert!(!told.contains("NOT CIFAR-10"), "{told}");
    }
    assert_eq!(server.asked()[1], format!("/cifar-10-binary.tar.gz {kept}"));
    let (status, told) = place.runtime(&nowhere(), &["fetch", "cifar10"]);
    assert_eq!(status, 0, "what is there is not asked for again: {told}");
    let member = place.cache().join("data/cifar10/cifar-10-batches-bin/test_batch.bin");
    assert!(!part.exists());

    // What was damaged since is found when somebody asks.
    let right = fs::read(&member).expect("there");
    let mut damaged = right.clone();
    damaged[5000..5004].fill(0xff);
    fs::write(&member, &damaged).expect("written");
    let (status, told) = place.runtime(&server.url, &["fetch", "cifar10"]);
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("test_batch.bin is damaged"), "{told}");
    assert!(fs::read(&member).expect("there") == right, "it is not repaired");
}

//! Downloads from a server on this machine that behaves as servers do on a bad day.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::*;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As it should.
    Right,
    /// Sends the whole file, whatever part it was asked for.
    Everything,
    /// Hangs up after so many bytes.
    Cut(usize),
    /// Goes quiet after so many bytes.
    Stall(usize),
    /// Says that there are more bytes than it has.
    SaysMore,
    /// Says that there are fewer.
    SaysFewer,
    /// Sends other bytes.
    Wrong,
    /// Sends another part than it was asked for.
    OtherPart,
    /// Sends to where the file is.
    Redirect,
    /// Has trouble, or has nothing.
    Status(u16),
    /// Never ends.
    Endless,
    /// Takes the question and says nothing.
    Silent,
    /// Takes the question and hangs up.
    HangUp,
    /// Throws the question away half-read, which resets the connection.
    Reset,
}

/// A server that answers each request as listed, and then rightly.
struct Server {
    url: String,
    /// What each request asked for: the path and the range.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(content: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, mut answers) = (asked.clone(), VecDeque::from(answers.to_vec()));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = answers.pop_front().unwrap_or(Answer::Right);
                let (content, log) = (content.clone(), log.clone());
                // A connection that ends early is what is tested.
                thread::spawn(move || serve(stream?, answer, &content, &log));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// Each connection is for one question: the client is not to ask another one on it.
const LAST: &str = "Connection: close\r\n";

fn serve(
    stream: TcpStream,
    answer: Answer,
    content: &[u8],
    log: &Mutex<Vec<String>>,
) -> io::Result<()> {
    if let Answer::Reset = answer {
        log.lock().expect("no panic").push("reset".to_owned());
        return (&stream).read_exact(&mut [0]);
    }
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut start = None;
    for line in lines.by_ref() {
        let line = line?.to_ascii_lowercase();
        if let Some(from) = line.strip_prefix("range: bytes=") {
            start = from.trim_end_matches('-').parse::<usize>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let range = start.map_or(String::new(), |start| format!(" from {start}"));
    log.lock().expect("no panic").push(format!("{path}{range}"));
    let mut out = stream;
    let total = content.len();
    match answer {
        Answer::HangUp => return Ok(()),
        Answer::Silent => return wait_for_the_end(&mut out),
        _ => {}
    }
    if let Answer::Status(status) = answer {
        return write!(out, "HTTP/1.1 {status} No\r\n{LAST}Content-Length: 0\r\n\r\n");
    }
    if let Answer::Redirect = answer {
        return write!(
            out,
            "HTTP/1.1 302 Found\r\n{LAST}Location: /else\r\nContent-Length: 0\r\n\r\n"
        );
    }
    if let Answer::Endless = answer {
        write!(out, "HTTP/1.1 200 OK\r\n{LAST}\r\n")?;
        loop {
            out.write_all(&[7; 4096])?;
        }
    }
    let start = start.filter(|_| !matches!(answer, Answer::Everything));
    if start.is_some_and(|start| start >= total) {
        let head =
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes";
        return write!(out, "{head} */{total}\r\n{LAST}\r\n");
    }
    let first = start.unwrap_or(0);
    let mut body = content[first..].to_vec();
    if let Answer::Wrong = answer {
        body.iter_mut().for_each(|byte| *byte ^= 0xff);
    }
    let said = match answer {
        Answer::SaysMore => body.len() + 1000,
        Answer::SaysFewer => body.len() - 1000,
        _ => body.len(),
    };
    let shown = if let Answer::OtherPart = answer { first + 1 } else { first };
    match start {
        Some(_) => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {shown}-{}/{total}\r\n",
            total - 1
        )?,
        None => write!(out, "HTTP/1.1 200 OK\r\n")?,
    }
    write!(out, "{LAST}Content-Length: {said}\r\n\r\n")?;
    match answer {
        Answer::Cut(bytes) => out.write_all(&body[..bytes.min(body.len())]),
        Answer::Stall(bytes) => {
            out.write_all(&body[..bytes.min(body.len())])?;
            out.flush()?;
            wait_for_the_end(&mut out)
        }
        _ => out.write_all(&body),
    }
}

/// Until the other side gives up.
fn wait_for_the_end(stream: &mut TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).map(drop)
}

/// Bytes that do not repeat.
fn content() -> Vec<u8> {
    (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn hexadecimal(bytes: &[u8]) -> &'static str {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Box::leak(text.into_boxed_str())
}

/// A data set of the one file that the server has.
fn one_file(content: &[u8]) -> &'static Download {
    let check = Check::Sha256(hexadecimal(&Sha256::digest(content)));
    let file = Remote { name: "data.mat", most_bytes: 400_000, check, optional: false };
    Box::leak(Box::new(Download {
        name: "one",
        title: "ONE",
        terms: "free",
        base: "http://127.0.0.1:9/",
        files: Box::leak(Box::new([file])),
        archive: None,
    }))
}

struct Place {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Place {
    fn new(url: &str) -> Self {
        Self::with_read_timeout(url, Duration::from_secs(600))
    }

    /// For a server that goes quiet. What it does answer on a busy machine may come too late as
    /// well, and is asked for again.
    fn impatient(url: &str) -> Self {
        Self::with_read_timeout(url, Duration::from_secs(2))
    }

    fn with_read_timeout(url: &str, read: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let connect = Duration::from_secs(600);
        let patience = Patience { connect, read, pause: Duration::from_millis(1) };
        let cache = Some(folder.path().join("cache"));
        let settings = Settings { patience, ..Settings::new(cache, Some(url.to_owned()), false) };
        Self { folder, settings }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("cache").join(name)
    }

    /// Another start, and what it says on the way.
    fn fetch(&self, download: &Download) -> (Result<PathBuf, String>, Vec<String>) {
        self.start(|fetcher| fetcher.fetch(download, &[]))
    }

    /// Another start that looks at contents.
    fn check(&self, download: &Download) -> (Result<PathBuf, String>, Vec<String>) {
        self.start(|fetcher| fetcher.fetch_checked(download, &[]))
    }

    fn start(
        &self,
        work: impl Fn(&Fetcher<'_>) -> Result<PathBuf>,
    ) -> (Result<PathBuf, String>, Vec<String>) {
        let notes = Mutex::new(Vec::new());
        let progress = |progress: Progress| {
            if let Progress::Note(text) = progress {
                notes.lock().expect("no panic").push(text);
            }
        };
        let cache = self.settings.cache.clone();
        let settings = Settings {
            patience: self.settings.patience,
            ..Settings::new(cache, self.settings.mirror.clone(), false)
        };
        let stop = Stop::default();
        let fetcher = Fetcher { settings: &settings, stop: &stop, progress: &progress };
        let done = work(&fetcher).map_err(|error| format!("{error:#}"));
        (done, notes.into_inner().expect("no panic"))
    }
}

/// A place for downloads from a server that answers like this.
fn place_for(server: &Server, answers: &[Answer]) -> Place {
    let is_quiet = |answer: &Answer| matches!(answer, Answer::Stall(_) | Answer::Silent);
    match answers.iter().any(is_quiet) {
        true => Place::impatient(&server.url),
        false => Place::new(&server.url),
    }
}

/// Fetches from a server that answers like this; gives what it was asked for.
fn arrives(answers: &[Answer]) -> Vec<String> {
    let content = content();
    let server = Server::new(content.clone(), answers);
    let place = place_for(&server, answers);
    let (folder, notes) = place.fetch(one_file(&content));
    let folder = folder.unwrap_or_else(|told| panic!("{answers:?}: {told} {notes:?}"));
    assert_eq!(fs::read(folder.join("data.mat")).expect("there"), content, "{answers:?}");
    assert!(!place.file("one/data.mat.part").exists());
    server.asked()
}

/// Fails to fetch from a server that answers like this, telling this.
fn fails(answers: &[Answer], parts: &[&str]) -> Vec<String> {
    let content = content();
    let server = Server::new(content.clone(), answers);
    let place = place_for(&server, answers);
    let (done, _) = place.fetch(one_file(&content));
    let told = done.expect_err("it fails");
    for part in parts.iter().chain(&[&*server.url, "GRADFLOW_MIRROR", "data.mat"]) {
        assert!(told.contains(part), "{answers:?}: {part:?} is not in: {told}");
    }
    assert!(!place.file("one/data.mat").exists(), "{answers:?}");
    let empty = fs::metadata(place.file("one/data.mat.part")).is_ok_and(|part| part.len() == 0);
    assert!(!empty, "{answers:?}: nothing came and something is kept");
    server.asked()
}

#[test]
fn what_was_lost_on_the_way_is_asked_for_again_and_no_more() {
    assert_eq!(arrives(&[]), ["/data.mat"]);
    let cut = [Answer::Cut(100_000), Answer::Cut(50_000)];
    assert_eq!(arrives(&cut), ["/data.mat", "/data.mat from 100000", "/data.mat from 150000"]);
    let stalled = arrives(&[Answer::Stall(70_000)]);
    assert_eq!(stalled[..2], ["/data.mat", "/data.mat from 70000"]);
    assert_eq!(arrives(&[Answer::SaysMore]), ["/data.mat", "/data.mat from 300000"]);
    assert_eq!(arrives(&[Answer::Redirect]), ["/data.mat", "/else"]);
    assert_eq!(arrives(&[Answer::Status(503), Answer::Status(429)]).len(), 3);
    assert_eq!(arrives(&[Answer::Cut(0), Answer::Cut(0)]).len(), 3);
    assert!(arrives(&[Answer::Silent, Answer::HangUp]).len() >= 3);
    assert_eq!(arrives(&[Answer::Reset, Answer::Reset]), ["reset", "reset", "/data.mat"]);
}

#[test]
fn a_server_that_cannot_send_parts_sends_the_whole() {
    let asked = arrives(&[Answer::Cut(100_000), Answer::Everything]);
    assert_eq!(asked, ["/data.mat", "/data.mat from 100000"]);
    let asked = arrives(&[Answer::Cut(100_000), Answer::OtherPart]);
    assert_eq!(asked, ["/data.mat", "/data.mat from 100000", "/data.mat"]);
}

#[test]
fn wrong_bytes_are_never_used() {
    assert_eq!(fails(&[Answer::Wrong], &["300000 bytes came", "SHA-256"]).len(), 1);
    fails(&[Answer::SaysFewer], &["299000 bytes came", "SHA-256"]);
}

#[test]
fn what_cannot_be_had_is_told() {
    assert_eq!(fails(&[Answer::Status(404)], &["answered 404"]).len(), 1);
    let six = fails(&[Answer::Status(500); 9], &["answered 500", "after 6 attempts"]);
    assert_eq!(six.len(), 6);
    let three = fails(&[Answer::Silent; 9], &["does not answer", "after 3 attempts"]);
    assert!(three.len() <= 3, "{three:?}");
    fails(&[Answer::Endless], &["400000 at most", "is the address right?"]);
    fails(&[Answer::Cut(1000); 9], &["the first 6000 bytes are kept", "next start goes on"]);
}

#[test]
fn a_machine_without_a_network_does_not_wait() {
    // Nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    // A label of more than 63 letters is in no network, and none is asked for it.
    let nowhere = "a".repeat(64);
    for host in [port.to_string(), format!("{nowhere}.invalid")] {
        let place = Place::new(&format!("http://{host}"));
        let (done, notes) = place.fetch(one_file(&content()));
        let told = done.expect_err("nobody answers");
        assert!(told.contains("does not answer"), "{told}");
        assert_eq!(notes.len(), 1, "there is no second attempt: {notes:?}");
    }
}

#[test]
fn a_mirror_that_is_no_address_is_told() {
    let place = Place::new("notaurl");
    let told = place.fetch(one_file(&content())).0.expect_err("nowhere");
    let parts = ["GRADFLOW_MIRROR", "notaurl", "such as http://my.server/data"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}

#[test]
fn offline_nothing_is_asked_for_and_what_is_missing_is_told() {
    let content = content();
    let server = Server::new(content.clone(), &[]);
    let place = Place::new(&server.url);
    let download = one_file(&content);
    place.fetch(download).0.expect("it arrives");
    fs::write(place.file("one/data.mat"), &content[..1000]).expect("written");
    let settings = Settings { offline: true, ..place.settings.clone() };
    let fetcher = Fetcher { settings: &settings, stop: &Stop::default(), progress: &drop };
    let told = format!("{:#}", fetcher.fetch(download, &[]).expect_err("cut"));
    let parts =
        ["switched off", "data.mat has 1000 bytes instead of 300000", "`runtime fetch one`"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    assert!(settings.incomplete(download, &[]).is_some());
    fs::remove_file(place.file("one/data.mat")).expect("removed");
    assert_eq!(settings.incomplete(download, &[]), None, "nothing of it is there");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_is_damaged_is_had_again_and_kept_until_then() {
    let content = content();
    let download = one_file(&content);
    let server = Server::new(content.clone(), &[Answer::Right, Answer::Status(404)]);
    let place = Place::new(&server.url);
    let file = place.file("one/data.mat");
    place.fetch(download).0.expect("it arrives");
    let mut damaged = content.clone();
    damaged[1000] ^= 1;
    fs::write(&file, &damaged).expect("written");
    // Runs do not look that closely.
    assert_eq!(place.fetch(download), (Ok(place.file("one")), Vec::new()));
    place.check(download).0.expect_err("the server has trouble");
    assert!(fs::read(&file).expect("kept") == damaged);
    let (done, notes) = place.check(download);
    done.expect("it arrives again");
    assert!(notes[0].contains("data.mat is damaged") && notes[0].contains("SHA-256"), "{notes:?}");
    assert!(fs::read(&file).expect("there") == content);
    let (_, notes) = place.check(download);
    assert_eq!(notes, ["ONE is here; checked 1 file"]);
    // What was cut off is seen at once.
    fs::write(&file, &content[..1000]).expect("written");
    assert_eq!(place.settings.cached(download, &[]), None);
    place.fetch(download).0.expect("it arrives again");
    assert!(fs::read(&file).expect("there") == content);
    assert!(!place.file("one/data.mat.kept").exists(), "the cache's own is replaced");
    assert_eq!(server.asked().len(), 4);
}

#[test]
fn what_somebody_else_put_there_is_kept_beside_what_is_right() {
    let content = content();
    let server = Server::new(content.clone(), &[]);
    let place = Place::new(&server.url);
    fs::create_dir_all(place.file("one")).expect("made");
    fs::write(place.file("one/data.mat"), "mine").expect("written");
    fs::write(place.file("one/data.mat.kept"), "older").expect("written");
    place.check(one_file(&content)).0.expect("it arrives");
    let read = |name| fs::read(place.file(name)).expect("there");
    assert!(read("one/data.mat") == content);
    assert_eq!(read("one/data.mat.kept"), b"older");
    assert_eq!(read("one/data.mat.kept2"), b"mine");
}

#[test]
fn the_second_stage_that_wants_it_is_told_at_once() {
    let content = content();
    let server = Server::new(content.clone(), &[Answer::Status(404)]);
    let place = Place::new(&server.url);
    let stop = Stop::default();
    let fetcher = Fetcher { settings: &place.settings, stop: &stop, progress: &drop };
    let download = one_file(&content);
    let first = format!("{:#}", fetcher.fetch(download, &[]).expect_err("not there"));
    assert_eq!(format!("{:#}", fetcher.fetch(download, &[]).expect_err("not there")), first);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_start_goes_on_where_the_last_was_killed_at_any_byte() {
    let content = content();
    let download = one_file(&content);
    for kept in [0, 1, 65_536, 299_999, 300_000] {
        let server = Server::new(content.clone(), &[]);
        let place = Place::new(&server.url);
        fs::create_dir_all(place.file("one")).expect("made");
        fs::write(place.file("one/data.mat.part"), &content[..kept]).expect("written");
        place.fetch(download).0.expect("it arrives");
        assert_eq!(fs::read(place.file("one/data.mat")).expect("there"), content);
        let range = if kept == 0 { String::new() } else { format!(" from {kept}") };
        assert_eq!(server.asked(), [format!("/data.mat{range}")]);
    }
    // What was kept is of something else, or longer than the file.
    for kept in [vec![9; 1000], vec![9; 300_000], vec![9; 300_001]] {
        let server = Server::new(content.clone(), &[]);
        let place = Place::new(&server.url);
        fs::create_dir_all(place.file("one")).expect("made");
        fs::write(place.file("one/data.mat.part"), &kept).expect("written");
        place.fetch(download).0.expect("it arrives");
        assert_eq!(fs::read(place.file("one/data.mat")).expect("there"), content);
        assert_eq!(server.asked().last().map(String::as_str), Some("/data.mat"));
    }
}

#[test]
fn a_download_that_is_asked_to_stop_keeps_what_came() {
    let content = content();
    let server = Server::new(content.clone(), &[Answer::Stall(100_000)]);
    let place = Place::impatient(&server.url);
    let stop = Stop::default();
    let words = AtomicUsize::new(0);
    let progress = |progress| {
        if let Progress::Note(text) = progress {
            // The second is that the connection was lost.
            if words.fetch_add(1, Ordering::Relaxed) == 1 {
                assert!(text.contains("going on after byte 100000"), "{text}");
                stop.stop();
            }
        }
    };
    let fetcher = Fetcher { settings: &place.settings, stop: &stop, progress: &progress };
    let error = fetcher.fetch(one_file(&content), &[]).expect_err("stopped");
    assert!(error.root_cause().is::<Interrupted>(), "{error:#}");
    assert_eq!(fs::metadata(place.file("one/data.mat.part")).expect("kept").len(), 100_000);
}

#[test]
fn two_at_once_download_it_once() {
    let content = content();
    let download = one_file(&content);
    let server = Server::new(content.clone(), &[Answer::Cut(200_000)]);
    let place = Place::new(&server.url);
    thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| place.fetch(download).0)).collect();
        for one in both {
            one.join().expect("no panic").expect("it arrives");
        }
    });
    assert_eq!(server.asked(), ["/data.mat", "/data.mat from 200000"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let place = Place::new("http://127.0.0.1:9");
    fs::write(place.folder.path().join("cache"), "a file").expect("written");
    let told = place.fetch(one_file(&content())).0.expect_err("no folder");
    assert!(
        told.contains("cannot write to the cache") && told.contains("GRADFLOW_CACHE"),
        "{told}"
    );
    let none = Place { settings: Settings::default(), ..place };
    let told = none.fetch(one_file(&content())).0.expect_err("no place");
    assert!(told.contains("no place for downloads"), "{told}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let content = content();
    let server = Server::new(content.clone(), &[]);
    let place = Place::new(&server.url);
    fs::create_dir_all(place.file("one")).expect("made");
    std::os::unix::fs::symlink("/dev/full", place.file("one/data.mat.part")).expect("linked");
    let told = place.fetch(one_file(&content)).0.expect_err("full");
    assert!(told.contains("make room there") && told.contains("No space left"), "{told}");
    assert_eq!(server.asked().len(), 1, "more attempts make no room");
}

mod archives {
    use super::*;

    fn download() -> (&'static Download, Vec<u8>) {
        let content = content();
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "data/train.bin", content.as_slice()).expect("memory");
        header.set_size(3);
        tar.append_data(&mut header, "data/names.txt", b"a\nb".as_slice()).expect("memory");
        let packed = tar.into_inner().and_then(GzEncoder::finish).expect("memory");
        let check = Check::Sha256(hexadecimal(&Sha256::digest(&content)));
        let members = [
            Member { name: "train.bin", most_bytes: 300_000, check: Some(check) },
            Member { name: "names.txt", most_bytes: 1000, check: None },
        ];
        let download = Download {
            name: "packed",
            title: "PACKED",
            terms: "free",
            base: "http://127.0.0.1:9/",
            files: &[],
            archive: Some(Archive {
                name: "data.tar.gz",
                most_bytes: 1 << 20,
                check: None,
                folder: "data",
                members: Box::leak(Box::new(members)),
            }),
        };
        (Box::leak(Box::new(download)), packed)
    }

    fn is_there(place: &Place) {
        assert_eq!(fs::read(place.file("packed/data/train.bin")).expect("there"), content());
        let left = fs::read_dir(place.file("packed")).expect("there");
        let mut left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["data", "received.txt"], "only what is unpacked is left");
    }

    #[test]
    fn an_archive_is_unpacked_and_removed() {
        let (download, packed) = download();
        let server = Server::new(packed, &[Answer::Cut(1000)]);
        let place = Place::new(&server.url);
        assert_eq!(place.settings.cached(download, &[]), None);
        let folder = place.fetch(download).0.expect("it arrives");
        is_there(&place);
        assert_eq!(place.settings.cached(download, &[]), Some(folder));
        assert_eq!(place.fetch(download).1, Vec::<String>::new());
        assert_eq!(server.asked().len(), 2);
    }

    #[test]
    fn a_start_goes_on_wherever_the_last_was_killed() {
        let (download, packed) = download();
        let begin = |make: &dyn Fn(&Path)| {
            let server = Server::new(packed.clone(), &[]);
            let place = Place::new(&server.url);
            let folder = place.file("packed");
            fs::create_dir_all(&folder).expect("made");
            make(&folder);
            place.fetch(download).0.expect("it arrives");
            is_there(&place);
            server.asked().len()
        };
        let write = |path: PathBuf, bytes: &[u8]| fs::write(path, bytes).expect("written");
        // While it was unpacked.
        let asked = begin(&|folder| {
            write(folder.join("data.tar.gz"), &packed);
            fs::create_dir(folder.join("data.unpacking")).expect("made");
            write(folder.join("data.unpacking/train.bin"), b"some");
        });
        assert_eq!(asked, 0);
        // What was kept is wrong, packed or half-way.
        let wrong: Vec<u8> = packed.iter().map(|byte| !byte).collect();
        assert_eq!(begin(&|folder| write(folder.join("data.tar.gz"), &wrong)), 1);
        assert_eq!(begin(&|folder| write(folder.join("data.tar.gz.part"), &wrong[..9000])), 2);
    }

    #[test]
    fn what_was_lost_or_damaged_in_the_cache_is_had_again_and_all_else_stays() {
        let (download, packed) = download();
        let server = Server::new(packed, &[]);
        let place = Place::new(&server.url);
        place.fetch(download).0.expect("it arrives");
        let own = place.file("packed/data/own.txt");
        fs::write(&own, "mine").expect("written");
        let [member, names] =
            ["train.bin", "names.txt"].map(|name| place.file("packed/data").join(name));

        fs::remove_file(&member).expect("removed");
        let told = place.settings.incomplete(download, &[]).expect("it is");
        assert!(told.contains("data/train.bin is missing") && told.contains("packed`"), "{told}");
        let (done, notes) = place.fetch(download);
        done.expect("it arrives again");
        assert!(notes[0].contains("data/train.bin is missing"), "{notes:?}");
        is_there(&place);

        let mut damaged = content();
        damaged[1000] ^= 1;
        fs::write(&member, &damaged).expect("written");
        let (done, notes) = place.check(download);
        done.expect("it arrives a third time");
        assert!(notes[0].contains("data/train.bin is damaged"), "{notes:?}");
        is_there(&place);

        // No checksum of it is published, and what came is known.
        fs::write(&names, "a\nc").expect("written");
        let (done, notes) = place.check(download);
        done.expect("it arrives a fourth time");
        assert!(notes[0].contains("data/names.txt is damaged"), "{notes:?}");
        assert_eq!(fs::read(&names).expect("there"), b"a\nb");
        assert_eq!(place.check(download).1, ["PACKED is here; checked 2 files"]);
        assert_eq!(fs::read(own).expect("there"), b"mine");
        assert_eq!(server.asked().len(), 4);
    }

    #[test]
    fn sizes_are_known_of_files_that_somebody_else_put_there() {
        let (download, packed) = download();
        let server = Server::new(packed, &[]);
        let place = Place::new(&server.url);
        let member = place.file("packed/data/train.bin");
        fs::create_dir_all(place.file("packed/data")).expect("made");
        fs::write(place.file("packed/data/names.txt"), "c\nd").expect("written");
        fs::write(&member, content()).expect("written");
        assert_eq!(place.check(download).1, ["PACKED is here; checked 1 of 2 files"]);
        fs::write(&member, &content()[..299_999]).expect("written");
        place.fetch(download).0.expect("it arrives");
        assert!(fs::read(&member).expect("there") == content());
        let kept = fs::metadata(place.file("packed/data/train.bin.kept")).expect("kept");
        assert_eq!(kept.len(), 299_999);
        // Nothing was wrong with it.
        assert_eq!(fs::read(place.file("packed/data/names.txt")).expect("there"), b"c\nd");
    }

    #[test]
    #[cfg(unix)]
    fn a_linked_folder_is_left_as_it_is() {
        let (download, packed) = download();
        let server = Server::new(packed, &[]);
        let place = Place::new(&server.url);
        let own = place.folder.path().join("own");
        fs::create_dir_all(&own).expect("made");
        fs::create_dir_all(place.file("packed")).expect("made");
        fs::write(own.join("train.bin"), "mine").expect("written");
        std::os::unix::fs::symlink(&own, place.file("packed/data")).expect("linked");
        let told = place.check(download).0.expect_err("it is a link");
        assert!(told.contains("is a link") && told.contains("4 bytes instead of"), "{told}");
        assert_eq!(fs::read(own.join("train.bin")).expect("there"), b"mine");
        assert_eq!(fs::read_dir(own).expect("there").count(), 1);
        assert_eq!(server.asked().len(), 0);
    }

    #[test]
    fn an_archive_with_wrong_files_is_refused_and_not_kept() {
        let (download, packed) = download();
        let server = Server::new(packed, &[Answer::Wrong]);
        let place = Place::new(&server.url);
        let told = place.fetch(download).0.expect_err("wrong");
        assert!(told.contains("not the archive that it should be"), "{told}");
        assert_eq!(fs::read_dir(place.file("packed")).expect("there").count(), 0);
    }
}
